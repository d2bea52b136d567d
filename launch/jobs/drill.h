#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace halo::launch {

/// A failure on demand, to try out what happens after one: HALO_DRILL="RANK:STEP:KIND" in the environment, KIND one of
/// throw, abort and hang. It comes before that step of every training job, steps as in metrics.jsonl.
struct Drill {
  enum class Kind : std::uint8_t { kThrow, kAbort, kHang };
  int rank = 0;
  std::int64_t step = 0;
  Kind kind = Kind::kThrow;

  /// Throws InputError for another text.
  [[nodiscard]] static Drill parse(const std::string& text);
  /// None when the variable is not set.
  [[nodiscard]] static std::optional<Drill> from_environment(int ranks);
  void before_step(int own_rank, std::int64_t own_step) const;
};

}  // namespace halo::launch
