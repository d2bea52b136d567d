#include "launch/supervisor/supervision.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/program.h"

namespace halo::launch {
namespace {

constexpr double kLongestBackoff = 300;
constexpr double kHeldUp =
    10;  // seconds between ticks, after which the supervisor itself was stopped
constexpr int kSameFailures = 3;
constexpr double kShortestStepLimit = 60;
constexpr double kTellSlowEvery = 300;  // seconds

bool is_in_step(const std::string& phase) {
  static const std::set<std::string> kPhases{"step", "forward", "backward", "optimizer",
                                             "step_done"};
  return kPhases.contains(phase);
}

std::string seconds(double value) { return formatted("%.0f s", value); }

}  // namespace

void Supervision::began(double now) {
  table_ = {};
  complaint_ = {};
  paces_.clear();
  slow_ranks_ = {};
  told_slow_.clear();
  began_ = ticked_ = now;
}

void Supervision::beat(const proto::Heartbeat& beat, double at, double gone_at) {
  table_.keep(beat, at, gone_at);
  measure(beat, at);
}

/// Steps are timed by when a rank's number of steps is seen to change, so that no rank's clock counts.
void Supervision::measure(const proto::Heartbeat& beat, double at) {
  if (beat.step() < 0) return;
  Pace& pace = paces_[beat.rank()];
  if (pace.job != beat.job() || pace.step > beat.step() || pace.step < 0) {
    pace = {beat.job(), beat.step(), -1};
    return;
  }
  if (pace.step == beat.step()) return;
  // The first step that is seen was under way already.
  if (pace.since >= 0) {
    const auto steps = static_cast<double>(beat.step() - pace.step);
    double& slowest = slowest_step_[beat.job()];
    slowest = std::max(slowest, (at - pace.since) / steps);
  }
  pace.step = beat.step();
  pace.since = at;
}

double Supervision::step_limit(const std::string& job) const {
  if (limits_.step_timeout > 0) return limits_.step_timeout;
  const auto slowest = slowest_step_.find(job);
  if (slowest == slowest_step_.end()) return std::max(limits_.start_timeout, kShortestStepLimit);
  return std::max(kShortestStepLimit, 10 * slowest->second);
}

/// Jobs other than training pass no points while they work: of them only beats are asked, and calls have deadlines.
double Supervision::limit_of(const RankTable::Rank& rank) const {
  const std::string& phase = rank.beat.phase();
  if (is_in_step(phase)) return step_limit(rank.beat.job());
  if (phase == "job" || rank.has_ended()) return INFINITY;
  return limits_.phase_timeout;
}

RankTable::Culprits Supervision::complaint(double now) const {
  const auto told = [&](const std::string& what, const std::string& job) {
    RankTable::Culprits culprits = table_.who_holds_up(now, limits_.hang_timeout, job);
    culprits.reason = str(what, ": ", culprits.reason);
    return culprits;
  };
  if (const auto quiet = table_.silent(now, limits_.hang_timeout); !quiet.empty())
    return told(str("no beat for ", seconds(limits_.hang_timeout)), "");
  for (const auto& [number, rank] : table_.ranks()) {
    const double limit = limit_of(rank);
    if (now - rank.progress_at > limit)
      return told(str("no progress for ", seconds(limit)), rank.beat.job());
  }
  if (now - began_ <= limits_.start_timeout) return {};
  if (table_.size() == 0)
    return {{}, str("no rank has sent a beat within ", seconds(limits_.start_timeout))};
  const std::vector<int> missing = table_.missing();
  if (missing.empty()) return {};
  return {missing, str(missing.size(), " of ", table_.size(), " ranks have sent no beat within ",
                       seconds(limits_.start_timeout), ", rank ", missing.front(), " among them")};
}

std::optional<std::string> Supervision::tick(double now) {
  if (now - ticked_ > kHeldUp) {
    table_.forgive(now - ticked_);
    began_ += now - ticked_;
  }
  ticked_ = now;
  if (!complaint_.reason.empty()) return std::nullopt;
  complaint_ = complaint(now);
  if (complaint_.reason.empty()) return std::nullopt;
  return complaint_.reason;
}

std::optional<std::string> Supervision::slow_rank(double now) {
  slow_ranks_.look(table_);
  for (const auto& [number, times] : slow_ranks_.slow()) {
    const auto told = told_slow_.find(number);
    if (told != told_slow_.end() && now - told->second < kTellSlowEvery) continue;
    told_slow_[number] = now;
    return str("slow: ", table_.describe(number), ": its own work takes ",
               formatted("%.3g s a step, ", table_.ranks().at(number).beat.own_seconds()),
               formatted("%.1f times the median of its job's ranks", times));
  }
  return std::nullopt;
}

bool Supervision::has_saved() const {
  return std::ranges::any_of(table_.ranks(),
                             [](const auto& entry) { return entry.second.beat.saved() > 0; });
}

std::string Supervision::cause(const Ending& ending) const {
  if (!complaint_.reason.empty()) return complaint_.reason;
  const RankTable::Culprits first = table_.who_died_first();
  if (!first.reason.empty()) return first.reason;
  return ending.signal != 0 ? str("it was ended by signal ", ending.signal)
                            : str("it ended with code ", ending.code);
}

/// What two failures have in common that are the same one.
std::string Supervision::kind_of(const Ending& ending) const {
  if (!complaint_.reason.empty()) return "no progress";
  for (const auto& [number, rank] : table_.ranks())
    if (!rank.beat.failure().empty() && !rank.beat.peer_failed()) return rank.beat.failure();
  return str("code ", ending.code, ", signal ", ending.signal);
}

/// Who held the run up or died first; all ranks where nothing tells.
std::vector<int> Supervision::culprits() const {
  std::vector<int> ranks =
      complaint_.reason.empty() ? table_.who_died_first().ranks : complaint_.ranks;
  std::erase_if(ranks, [&](int rank) { return !table_.ranks().contains(rank); });
  if (ranks.empty())
    for (const auto& [number, rank] : table_.ranks()) ranks.push_back(number);
  return ranks;
}

/// The furthest step that a culprit has told of; empty before the first.
std::string Supervision::place() const {
  const proto::Heartbeat* furthest = nullptr;
  for (const int number : culprits()) {
    const proto::Heartbeat& beat = table_.ranks().at(number).beat;
    if (beat.step() < 0) continue;
    if (furthest == nullptr || beat.step() > furthest->step()) furthest = &beat;
  }
  return furthest == nullptr ? "" : str("step ", furthest->step(), " of job ", furthest->job());
}

Supervision::Next Supervision::ended(const Ending& ending) {
  if (ending.is_good() && complaint_.reason.empty())
    return {};  // else it saved what it was ended for
  const int code = ending.signal != 0 ? 128 + ending.signal : ending.code;
  if (stops_) {
    const bool never_began = ending.signal != 0 && table_.size() == 0;
    return {false, 0, never_began ? 0 : code,
            never_began ? "" : "it failed after it was asked to stop: " + cause(ending)};
  }
  if (complaint_.reason.empty() && ending.code == kExitBadInput)
    return {false, 0, kExitBadInput, "bad input, as told above: it is not started again"};
  if (table_.size() == 0 && (ending.code == 126 || ending.code == 127))
    return {false, 0, ending.code, "the command cannot be run"};

  if (has_saved()) failures_ = 0;
  ++failures_;
  const std::string at = place();
  const std::string failure = at + ", " + kind_of(ending);
  same_failures_ = !at.empty() && failure == last_failure_ ? same_failures_ + 1 : 1;
  last_failure_ = failure;
  if (same_failures_ >= kSameFailures) {
    return {false, 0, kExitFailure,
            str("given up: it failed ", same_failures_, " times in a row at ", at, ": ",
                cause(ending))};
  }
  if (failures_ > limits_.max_restarts) {
    return {false, 0, kExitFailure,
            str("given up after ", limits_.max_restarts,
                " restarts without a checkpoint: ", cause(ending))};
  }
  const double after = std::min(limits_.backoff * std::pow(2.0, failures_ - 1), kLongestBackoff);
  return {true, after, 0,
          str("it failed", at.empty() ? "" : " at ", at, ": ", cause(ending), "; restart ",
              failures_, " of at most ", limits_.max_restarts, " in ", formatted("%.3g s", after))};
}

}  // namespace halo::launch
