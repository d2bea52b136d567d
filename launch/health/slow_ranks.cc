#include "launch/health/slow_ranks.h"

#include <algorithm>
#include <vector>

namespace halo::launch {
namespace {

constexpr double kSlowerThanMedian = 1.5;
constexpr double kSlowBySeconds = 0.02;  // less is noise
constexpr int kSteadily = 10;            // steps

bool counts(const RankTable::Rank& rank) {
  return rank.beat.own_seconds() >= 0 && !rank.has_ended() && !rank.is_idle();
}

/// Of each job with two ranks at least: the median of its ranks' own times, the smaller of two.
std::map<std::string, double> medians_of(const RankTable& table) {
  std::map<std::string, std::vector<double>> own;
  for (const auto& [number, rank] : table.ranks())
    if (counts(rank)) own[rank.beat.job()].push_back(rank.beat.own_seconds());
  std::map<std::string, double> medians;
  for (auto& [job, times] : own) {
    if (times.size() < 2) continue;
    std::ranges::sort(times);
    medians[job] = times[(times.size() - 1) / 2];
  }
  return medians;
}

}  // namespace

void SlowRanks::look(const RankTable& table) {
  const std::map<std::string, double> medians = medians_of(table);
  for (const auto& [number, rank] : table.ranks()) {
    const proto::Heartbeat& beat = rank.beat;
    Seen& seen = seen_[number];
    const auto median = medians.find(beat.job());
    if (seen.job != beat.job() || !counts(rank) || median == medians.end()) {
      seen = {beat.job(), -1, 0};
      slow_.erase(number);
    }
    if (seen.step == beat.step() || !counts(rank) || median == medians.end()) continue;
    seen.step = beat.step();
    const bool slow = beat.own_seconds() > kSlowerThanMedian * median->second &&
                      beat.own_seconds() - median->second > kSlowBySeconds;
    seen.times = slow ? seen.times + 1 : 0;
    if (seen.times >= kSteadily)
      slow_[number] = beat.own_seconds() / median->second;
    else
      slow_.erase(number);
  }
}

}  // namespace halo::launch
