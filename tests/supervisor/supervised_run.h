#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tests/runs/resume_case.h"

namespace halo::test {

/// Runs of the golden case's stages under halo_launch, beside one that was never disturbed.
class SupervisedRun {
 public:
  SupervisedRun(int ranks, std::int64_t steps);

  /// halo_launch with `options` before the run's command, and HALO_DRILL, unless it is empty, for the ranks.
  [[nodiscard]] ProgramResult run(const std::string& output,
                                  const std::vector<std::string>& options = {},
                                  const std::string& drill = "") const;
  [[nodiscard]] std::vector<std::string> command(const std::string& output,
                                                 const std::vector<std::string>& options) const;
  /// Ends by itself, after one restart if any is expected, with the unbroken run's numbers, bit for bit; returns what was told.
  std::string expect_survives(const std::string& drill,
                              const std::vector<std::string>& options = {},
                              bool restarts = true) const;
  /// Likewise after one restart for each of many drills.
  std::string expect_survives_all(const std::string& output, const std::vector<std::string>& drills,
                                  const std::vector<std::string>& options = {}) const;
  [[nodiscard]] const ResumeCase& resume() const { return resume_; }

 private:
  int ranks_;
  ResumeCase resume_;
};

/// Whether what was told names this rank: halo_launch does, or mpirun, which sees who went first.
[[nodiscard]] bool is_named(const std::string& told, const std::string& rank);

}  // namespace halo::test
