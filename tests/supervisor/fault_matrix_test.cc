// Every kind of failure at every place, on rank 0 and on another: the run goes on by itself to the unbroken run's bits.
// halo_launch_test meets every kind and every place on both, but not every pair, in a run that fails again and again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "tests/runs/guard_case.h"
#include "tests/supervisor/supervised_run.h"

namespace halo::test {
namespace {

using testing::HasSubstr;

class FaultMatrixTest : public testing::TestWithParam<const char*> {};

/// A step where each place is passed: 6 ends with a checkpoint. Outside of steps the second time is taken.
std::string step_of(const std::string& place) {
  if (place.starts_with("checkpoint")) return "6";
  return place == "loading" || place == "job_ended" ? "1" : place == "starting" ? "0" : "4";
}

bool is_rank_0s_alone(const std::string& place) {
  return place == "checkpoint_files" || place == "checkpoint_manifest";
}

/// What is thrown while files are written is a checkpoint that cannot be written: the run goes on without it.
bool is_dropped_checkpoint(const std::string& kind, const std::string& place) {
  return kind == "throw" && (place == "checkpoint_file" || is_rank_0s_alone(place));
}

TEST_P(FaultMatrixTest, TheRunGoesOnToTheSameBits) {
  const SupervisedRun run(4, 8);
  const std::string kind = GetParam();
  for (const std::string place : {"starting", "loading", "forward", "collective", "optimizer",
                                  "checkpoint_begun", "checkpoint_file", "checkpoint_files",
                                  "checkpoint_manifest", "checkpoint_saved", "job_ended"}) {
    for (const char* rank : {"0", "1"}) {  // ranks 2 and 3 have no sequences
      if (is_rank_0s_alone(place) && std::string(rank) != "0") continue;
      const std::string drill = str(rank, ':', step_of(place), ':', kind, ':', place);
      const bool restarts = !is_dropped_checkpoint(kind, place);
      const double begin = steady_seconds();
      const std::string told = run.expect_survives(
          drill, {"--hang_timeout", "5", "--step_timeout", "8", "--phase_timeout", "8"}, restarts);
      std::cout << drill << ": " << steady_seconds() - begin << " s for the whole of it\n";
      EXPECT_TRUE(!restarts || is_named(told, rank)) << drill << '\n' << told;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, FaultMatrixTest,
                         testing::Values("kill", "stop", "abort", "segv", "throw", "exit", "hang"));

/// In a job's first step, in the middle, and in one that ends with a checkpoint.
TEST(NanMatrixTest, APassingFaultEndsNothing) {
  const SupervisedRun run(4, 8);
  for (const char* rank : {"0", "1"}) {
    for (const char* step : {"0", "4", "6"}) {
      const std::string drill = str(rank, ':', step);
      const Environment nan("HALO_DRILL_NAN", drill.c_str());
      const std::string output = str("nan_", rank, '_', step);
      const ProgramResult result = run.run(output);
      EXPECT_EQ(result.exit_code, 0) << result.output;
      EXPECT_THAT(result.output, HasSubstr("a passing fault"));
      EXPECT_THAT(result.output, HasSubstr(str(" of rank ", rank, ')')));
      EXPECT_THAT(result.output, testing::Not(HasSubstr("; restart ")));
      run.resume().expect_equal(output, "unbroken");
    }
  }
}

}  // namespace
}  // namespace halo::test
