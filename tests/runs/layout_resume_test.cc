// Checkpoints of one layout under another.
#include <gtest/gtest.h>

#include "tests/runs/layout_golden.h"

namespace halo::test {
namespace {

/// A step on one layout, one on the next, and so on: the weights and all steps are those of one rank.
TEST(LayoutResumeTest, AnotherLayoutGoesOn) {
  const LayoutGolden& golden = LayoutGolden::of("tied");
  const std::vector<LayoutCase> cases = layout_cases(8, 4, 4);
  LayoutGolden::Options options;
  options.steps = 4;
  const std::vector<TrainingResult> reference = golden.run({}, "long", options);
  for (const std::size_t first : {std::size_t{3}, cases.size() / 2, cases.size() - 1}) {
    std::vector<TrainingResult> last;
    for (int part = 0; part < 4; ++part) {
      const LayoutCase& c = cases[(first + static_cast<std::size_t>(part) * 11) % cases.size()];
      SCOPED_TRACE(testing::PrintToString(c));
      options.steps = part + 1;
      last = golden.run(c, str("parts", first), options);
    }
    expect_near(last, reference, kLayoutTolerance);
  }
}

}  // namespace
}  // namespace halo::test
