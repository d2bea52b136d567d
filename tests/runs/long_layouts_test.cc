// A long sequence on a pipeline with context ranks: fragments of several chunks of lightning attention, and more
// micro-batches than the pipeline holds.
#include <gtest/gtest.h>

#include "tests/runs/small_run.h"

namespace halo::test {
namespace {

TEST(LongLayoutsTest, ManyChunksAFragmentAndManyMicroBatches) {
  SmallModelOptions options;
  options.T = 1031;
  options.sequences = 5;  // 2 P + 1
  const SmallRun small(options);
  for (const char* attention : {"RING", "ALL_GATHER"})
    small.expect_one_ranks_results({{2, 1, 2, 1}, 2, attention, "RING", false, true, 1000});
  small.expect_one_ranks_results({{2, 1, 2, 1}, 2, "RING", "SCAN", true, false, 1000});
}

}  // namespace
}  // namespace halo::test
