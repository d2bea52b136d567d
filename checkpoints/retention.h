#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace halo::checkpoints {

/// Which checkpoints stay once a newer one is whole: what any of the rules keeps.
struct Retention {
  int keep_last = 0;            // the newest so many; 0: all of them
  std::int64_t keep_every = 0;  // those of a step that divides by it, for good; 0: none for that
  bool keep_best = false;       // the one with the lowest validation loss
};

/// What the rules know of a checkpoint.
struct KeptCheckpoint {
  std::int64_t step = 0;
  std::optional<double> validation_loss;  // of its weights; NaN counts as none
};

/// The steps, ascending, of the checkpoints that go when the one of step `newest` has become whole. It is never one of
/// them, nor are later ones, of a run that was resumed from before them: those are left to be replaced. Of equal
/// validation losses the later is the best. `stored` is in any order, each step once.
[[nodiscard]] std::vector<std::int64_t> steps_to_remove(std::span<const KeptCheckpoint> stored,
                                                        std::int64_t newest,
                                                        const Retention& retention);

}  // namespace halo::checkpoints
