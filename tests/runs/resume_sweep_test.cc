// More moments, seeds and numbers of ranks than resume_test.cc has time for.
#include <gtest/gtest.h>

#include "tests/runs/resume_case.h"

namespace halo::test {
namespace {

class KillSweep : public testing::TestWithParam<std::tuple<int, bool, unsigned>> {};

TEST_P(KillSweep, AKilledRunGoesOnToTheSameBits) {
  const auto [ranks, one_rank, seed] = GetParam();
  expect_equal_after_kills(ResumeCase(40), {ranks, one_rank, seed, /*tries=*/9});
}

INSTANTIATE_TEST_SUITE_P(Seeds, KillSweep,
                         testing::Combine(testing::Values(0, 2, 3), testing::Bool(),
                                          testing::Range(1U, 5U)));

class StopSweep : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(StopSweep, ARunStoppedOftenGoesOnToTheSameBits) {
  const auto [ranks, every] = GetParam();
  const ResumeCase resume(40);
  std::ignore = resume.run(ranks, "unbroken");
  for (const char* stage : kStages) {
    // From the first step on: a signal before the program is up ends it at once, with nothing begun.
    for (std::size_t lines = 1; lines < 36; lines += static_cast<std::size_t>(every)) {
      std::ignore = resume.stop(ranks, "stopped", stage, lines, /*one_rank=*/lines % 2 == 1);
    }
  }
  std::ignore = resume.run(ranks, "stopped");
  resume.expect_equal("stopped", "unbroken");
}

INSTANTIATE_TEST_SUITE_P(Moments, StopSweep,
                         testing::Combine(testing::Values(0, 2, 3), testing::Values(5, 8)));

class RanksSweep : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(RanksSweep, AnotherNumberOfRanksGoesOnToTheSameNumbers) {
  const auto [before, after] = GetParam();
  const ResumeCase resume(40);
  std::ignore = resume.run(before, "unbroken");
  for (const char* stage : kStages) {
    std::ignore = resume.stop(before, "moved", stage, 2);
    std::ignore = resume.stop(after, "moved", stage, 15);
  }
  std::ignore = resume.run(after, "moved");
  resume.expect_equal("moved", "unbroken", 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Moves, RanksSweep,
                         testing::Values(std::tuple(2, 3), std::tuple(3, 0), std::tuple(2, 4),
                                         std::tuple(4, 2)));

}  // namespace
}  // namespace halo::test
