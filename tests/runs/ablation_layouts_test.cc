// What the paper ablates of the blocks, on layouts of every axis: one rank's numbers, to rounding.
#include <gtest/gtest.h>

#include "tests/runs/small_run.h"

namespace halo::test {
namespace {

constexpr parallel::Layout kFourAxes{2, 1, 2, 2};  // pipeline, data, context, tensor
constexpr parallel::Layout kDataAndTensor{1, 3, 1, 2};

struct Ablation {
  const char* name;
  std::vector<std::string> settings;
  parallel::Layout layout;
};
void PrintTo(const Ablation& ablation, std::ostream* out) { *out << ablation.name; }
std::string name_of(const testing::TestParamInfo<Ablation>& info) { return info.param.name; }

std::vector<Ablation> ablations() {
  return {{"NoNormsNoGatesNoRotation",
           {"train.lightning_use_qk_norm=false", "train.lightning_use_output_norm=false",
            "train.lightning_use_output_gate=false", "train.attn_use_output_gate=false",
            "train.lightning_use_rope=false"},
           kFourAxes},
          {"RotationEverywhereAndGroupedKeyHeads",
           {"train.attn_use_rope=true", "train.lightning_nkv=3"},
           kFourAxes},
          {"NoLightningGate", {"train.lightning_use_output_gate=false"}, kDataAndTensor},
          {"NoAlignedMixers", {"job[distill].train.student="}, kDataAndTensor}};
}

class AblationLayoutsTest : public testing::TestWithParam<Ablation> {};

TEST_P(AblationLayoutsTest, EqualOneRank) {
  SmallModelOptions options;
  options.layers = 4;
  options.keep = "[1]";
  options.T = 24;
  const SmallRun small(options, GetParam().settings);
  small.expect_one_ranks_results({GetParam().layout, 1, "RING", "RING", false, true, 1000});
}

INSTANTIATE_TEST_SUITE_P(Blocks, AblationLayoutsTest, testing::ValuesIn(ablations()), name_of);

}  // namespace
}  // namespace halo::test
