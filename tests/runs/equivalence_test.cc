// What only decides when or with what memory something is computed changes no bit; what changes the order of sums changes
// results by rounding.
#include <gtest/gtest.h>

#include "tests/runs/layout_golden.h"

namespace halo::test {
namespace {

struct Change {
  const char* name;
  std::vector<std::string> settings;
  double tolerance;  // of the largest number of a series or tensor
};
void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }

constexpr double kRounding = 1e-11;

/// Pipeline 2 x context 2 x data 2 on batches of 8 sequences, so that each rank has several micro-batches.
std::vector<TrainingResult> run(const std::string& output,
                                const std::vector<std::string>& settings) {
  const LayoutCase layout{{2, 2, 2, 1}, 1, "RING", "RING", false, true, 1 << 20};
  LayoutGolden::Options options;
  options.settings = {"train.batch.sequences=8"};
  options.settings.insert(options.settings.end(), settings.begin(), settings.end());
  return LayoutGolden::of("tied").run(layout, output, options);
}

std::string name_of(const testing::TestParamInfo<Change>& info) { return info.param.name; }

class EquivalenceTest : public testing::TestWithParam<Change> {};

TEST_P(EquivalenceTest, GivesTheSameResults) {
  static const std::vector<TrainingResult> reference = run("reference", {});
  expect_near(run(GetParam().name, GetParam().settings), reference, GetParam().tolerance);
}

INSTANTIATE_TEST_SUITE_P(
    Golden, EquivalenceTest,
    testing::Values(Change{"again", {}, 0}, Change{"apart", {"layout.overlap=false"}, 0},
                    Change{"recompute", {"train.recompute=true"}, 0},
                    Change{"recompute_apart", {"train.recompute=true", "layout.overlap=false"}, 0},
                    Change{"small_buckets", {"layout.bucket_elements=1000"}, kRounding},
                    Change{"micro_batches_of_two", {"train.batch.micro_sequences=2"}, kRounding},
                    Change{"chunks", {"layout.chunks=2"}, kRounding}),
    name_of);

}  // namespace
}  // namespace halo::test
