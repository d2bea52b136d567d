// What halo exports is what the transformers package loads. Needs python3 with transformers and torch.
#include <gtest/gtest.h>

#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

class TransformersTest : public testing::TestWithParam<const char*> {};

TEST_P(TransformersTest, AnExportedTeacherGivesTheSameLogits) {
  const TestFolder folder;
  const GoldenCase golden(GetParam(), folder.path());
  const std::string exported = folder / "exported", logits = folder / "logits.safetensors";
  const ProgramResult written = run_program(
      {program("halo").string(), "export", "--from", golden.teacher().string(), "--to", exported});
  ASSERT_EQ(written.exit_code, 0) << written.output;
  const ProgramResult evaluated =
      run_program({program("halo").string(), "evaluate", "--model", exported, "--tokens",
                   golden.tokens().string(), "--sequences", std::to_string(golden.B()),
                   "--sequence_length", std::to_string(golden.T()), "--logits", logits});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  const ProgramResult compared = run_program(
      {"python3", source_file("tests/runs/transformers_parity.py").string(), exported, logits,
       data_file(std::string("golden/") + GetParam() + "/tokens.safetensors").string()});
  EXPECT_EQ(compared.exit_code, 0) << compared.output;
}

INSTANTIATE_TEST_SUITE_P(Golden, TransformersTest, testing::Values("tied", "untied"));

}  // namespace
}  // namespace halo::test
