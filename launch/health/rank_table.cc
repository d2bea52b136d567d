#include "launch/health/rank_table.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {
namespace {

constexpr std::size_t kMostNamed = 4;  // ranks in a line

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string call_of(const RankTable::Rank& rank) {
  if (rank.waits()) return "waits for " + rank.beat.waits_for();
  if (!rank.beat.unfinished().empty()) return "works; unfinished: " + rank.beat.unfinished();
  return "works";
}

std::string where(const proto::Heartbeat& beat) {
  std::string text = beat.job().empty() ? "" : beat.job() + ", ";
  if (beat.step() >= 0) text += str("step ", beat.step(), ", ");
  return text + beat.phase();
}

}  // namespace

void RankTable::keep(const proto::Heartbeat& beat, double at, double gone_at) {
  const auto [found, is_new] = ranks_.try_emplace(beat.rank());
  Rank& rank = found->second;
  if (!is_new && at < rank.at) return;
  const bool gets_on = is_new || beat.points() != rank.beat.points() ||
                       beat.calls() != rank.beat.calls() || beat.phase() != rank.beat.phase() ||
                       beat.pid() != rank.beat.pid();
  if (gets_on) rank.progress_at = at;
  rank.beat = beat;
  rank.at = at;
  rank.gone_at = gone_at;
}

void RankTable::forgive(double seconds) {
  for (auto& [number, rank] : ranks_) {
    rank.at += seconds;
    rank.progress_at += seconds;
  }
}

int RankTable::size() const { return ranks_.empty() ? 0 : ranks_.begin()->second.beat.size(); }

std::vector<int> RankTable::missing() const {
  std::vector<int> all;
  for (int r = 0; r < size(); ++r)
    if (!ranks_.contains(r)) all.push_back(r);
  return all;
}

std::vector<int> RankTable::silent(double now, double seconds) const {
  std::vector<int> all;
  for (const auto& [number, rank] : ranks_)
    if (!rank.has_ended() && now - rank.at > seconds) all.push_back(number);
  return all;
}

std::string RankTable::text(double now) const {
  std::string text =
      "  rank  host              pid      job           step      last beat  no progress for  "
      "phase and call\n";
  for (const auto& [number, rank] : ranks_) {
    char line[160];
    const std::string step = rank.beat.step() < 0 ? "-" : std::to_string(rank.beat.step());
    std::snprintf(line, sizeof line, "  %4d  %-16.16s  %-7lld  %-12.12s  %-8s  %7.1f s  %13.1f s  ",
                  number, or_dash(rank.beat.host()).c_str(),
                  static_cast<long long>(rank.beat.pid()), or_dash(rank.beat.job()).c_str(),
                  step.c_str(), now - rank.at, now - rank.progress_at);
    text += str(line, or_dash(rank.beat.phase()), "; ", call_of(rank), '\n');
  }
  for (const int rank : missing()) text += str("  ", rank, " has sent no beat\n");
  return text;
}

std::string RankTable::last_calls() const {
  std::string text;
  for (const auto& [number, rank] : ranks_)
    text += str("the last calls of rank ", number, ":\n", rank.beat.last_calls());
  return text;
}

std::string RankTable::describe(int rank) const {
  const auto found = ranks_.find(rank);
  if (found == ranks_.end()) return str("rank ", rank, ", which has sent no beat");
  const proto::Heartbeat& beat = found->second.beat;
  return str("rank ", rank, " (host ", or_dash(beat.host()), ", pid ", beat.pid(),
             "): ", where(beat));
}

std::string RankTable::names(const std::vector<int>& some) const {
  std::string text;
  for (std::size_t i = 0; i < std::min(some.size(), kMostNamed); ++i)
    text += (i == 0 ? "" : "; ") + describe(some[i]);
  if (some.size() > kMostNamed) text += str("; and ", some.size() - kMostNamed, " more");
  return text;
}

std::vector<int> RankTable::behind(const std::vector<int>& among) const {
  const auto place = [&](int rank) {
    const proto::Heartbeat& beat = ranks_.at(rank).beat;
    return std::tuple(beat.saved(), beat.step(), beat.calls());
  };
  std::vector<int> last;
  for (const int rank : among) {
    if (!last.empty() && place(rank) < place(last.front())) last.clear();
    if (last.empty() || place(rank) == place(last.front())) last.push_back(rank);
  }
  return last.size() == among.size() ? std::vector<int>() : last;
}

RankTable::Culprits RankTable::who_holds_up(double now, double silent_after,
                                            const std::string& job) const {
  if (const auto quiet = silent(now, silent_after); !quiet.empty())
    return {quiet, "no beat any more from " + names(quiet)};
  if (const Culprits failed = who_died_first(); !failed.ranks.empty()) return failed;
  std::vector<int> working, waiting;
  for (const auto& [number, rank] : ranks_) {
    if (rank.beat.job() != job || rank.has_ended() || rank.is_idle()) continue;
    (rank.waits() ? waiting : working).push_back(number);
  }
  if (!working.empty() && !waiting.empty()) {
    const std::string call = ranks_.at(waiting.front()).beat.waits_for();
    return {working, str("not in the call that others wait for (", call, "): ", names(working))};
  }
  if (const auto never = missing(); working.empty() && !never.empty())
    return {never, "others wait, and never heard of was " + names(never)};
  const std::vector<int> last = behind(working.empty() ? waiting : working);
  if (!last.empty()) return {last, "behind the others: " + names(last)};
  if (working.empty())
    return {{},
            job.empty() ? "all ranks wait for each other"
                        : str("all ranks of job ", job, " wait for each other")};
  return {working, "does not get on: " + names(working)};
}

RankTable::Culprits RankTable::who_died_first() const {
  int first = -1;
  for (const auto& [number, rank] : ranks_) {
    if (!rank.beat.failure().empty() && !rank.beat.peer_failed())
      return {{number}, str(names({number}), ": ", rank.beat.failure())};
    if (rank.gone_at <= 0 || rank.has_ended() || rank.beat.peer_failed()) continue;
    if (first < 0 || rank.gone_at < ranks_.at(first).gone_at) first = number;
  }
  if (first < 0) return {};
  return {{first}, "first to go without a word: " + names({first})};
}

}  // namespace halo::launch
