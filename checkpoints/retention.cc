#include "checkpoints/retention.h"

#include <algorithm>
#include <cmath>

namespace halo::checkpoints {
namespace {

/// The step of the lowest loss; nothing when none has one.
std::optional<std::int64_t> best_step(std::span<const KeptCheckpoint> newest_first) {
  const KeptCheckpoint* best = nullptr;
  for (const KeptCheckpoint& c : newest_first) {
    if (!c.validation_loss || std::isnan(*c.validation_loss)) continue;
    if (best == nullptr || *c.validation_loss < *best->validation_loss) best = &c;
  }
  return best == nullptr ? std::nullopt : std::optional(best->step);
}

}  // namespace

std::vector<std::int64_t> steps_to_remove(std::span<const KeptCheckpoint> stored,
                                          std::int64_t newest, const Retention& retention) {
  if (retention.keep_last <= 0) return {};
  std::vector<KeptCheckpoint> candidates;
  std::ranges::copy_if(stored, std::back_inserter(candidates),
                       [&](const KeptCheckpoint& c) { return c.step <= newest; });
  std::ranges::sort(candidates, std::greater(), &KeptCheckpoint::step);
  const std::optional<std::int64_t> best =
      retention.keep_best ? best_step(candidates) : std::nullopt;
  std::vector<std::int64_t> doomed;
  int kept = 0;
  for (const KeptCheckpoint& c : candidates) {
    const bool recent = ++kept <= retention.keep_last;
    const bool nth = retention.keep_every > 0 && c.step % retention.keep_every == 0;
    if (!recent && !nth && c.step != best && c.step != newest) doomed.push_back(c.step);
  }
  std::ranges::reverse(doomed);
  return doomed;
}

}  // namespace halo::checkpoints
