#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "core/base/progress_point.h"

namespace halo::launch {

/// A failure on demand, to try out what happens after one: HALO_DRILL="RANK:STEP:KIND[:PLACE[:always]]" in the environment.
///
/// KIND is throw, abort, hang, kill, stop (SIGSTOP), segv, exit (without a word, code 3) or term (SIGTERM, which asks to stop). PLACE is a ProgressPoint's
/// name and "step", a step's beginning, by default. In a step it is the first of that name in step STEP, counted as in
/// metrics.jsonl, of any training job: step, forward, backward, collective, optimizer, step_done, validating, saving,
/// checkpoint_begun, checkpoint_file (this rank's is written), checkpoint_files (all are; rank 0), checkpoint_manifest (rank 0),
/// checkpoint_saved. Outside of steps STEP counts how often the place was passed before: starting, loading, job, sweeping (a
/// batch of a layer sweep), job_ended.
/// A run that a supervisor has started again is struck no more, unless `always` asks for it, or more drills follow, separated
/// by ";": each is for one start.
class Drill {
 public:
  enum class Kind : std::uint8_t { kThrow, kAbort, kHang, kKill, kStop, kSegv, kExit, kTerm };

  /// Throws InputError for another text.
  [[nodiscard]] static Drill parse(const std::string& text);
  /// None when the variable is not set, or has none for this start. Throws InputError.
  [[nodiscard]] static std::optional<Drill> from_environment(int ranks);

  /// Whether this is the rank, the place and the time; true once. One thread at a time.
  [[nodiscard]] bool is_due(int own_rank, const ProgressPoint& point);
  /// Fails.
  void strike() const;
  /// Both.
  void on_point(int own_rank, const ProgressPoint& point);

  int rank = 0;
  std::int64_t step = 0;
  Kind kind = Kind::kThrow;
  std::string place = "step";
  bool always = false;

 private:
  std::int64_t step_ = -1;   // under way
  std::int64_t passed_ = 0;  // times, of a place outside of steps
  bool done_ = false;
};

}  // namespace halo::launch
