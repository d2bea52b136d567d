// A DISTILL job that goes on from a whole student: the student's own config decides, and a job that says otherwise is
// refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/file.h"
#include "tests/runs/trained_golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A student with tied embeddings, HypeNet's own blocks, and attention in layers 1 and 3.
class WholeStudentTest : public TrainedGoldenCase {
 protected:
  /// A DISTILL job that says `fields` of its student.
  [[nodiscard]] ProgramResult distill_again(const std::string& fields) const {
    const std::string config =
        str("precision: FP64 threads: 1 job { name: \"again\" train { stage: DISTILL teacher: \"",
            golden_.teacher().string(), "\" student: \"", student_.string(), "\" ", fields,
            " data { tokens: \"", golden_.tokens().string(), "\" sequence_length: ", golden_.T(),
            " } batch { sequences: 1 } steps: 1 optimizer { lr: 1e-4 min_lr: 1e-5 } } }\n");
    write_file_atomically(folder_ / "again.textproto", config);
    fs::remove_all(again_);
    return run_program(train_command(0, {"--config", (folder_ / "again.textproto").string(),
                                         "--output", again_.parent_path().string()}));
  }

  fs::path student_ = folder_ / "made/distill", again_ = folder_ / "out/again";
};

TEST_F(WholeStudentTest, IsTakenAsItIs) {
  for (const char* same : {"",
                           "keep_attention: [3, 1] attn_use_rope: false attn_use_output_gate: true "
                           "lightning_use_rope: true lightning_nkv: 4 tie_word_embeddings: true"}) {
    SCOPED_TRACE(same);
    const ProgramResult result = distill_again(same);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(read_file(again_ / "config.json"), read_file(student_ / "config.json"));
  }
}

TEST_F(WholeStudentTest, OtherBlocksLayersAndEmbeddingsAreRefused) {
  const std::string options = " was trained with other attn_* or lightning_* options";
  const std::vector<std::pair<std::string, std::string>> others{
      {"attn_use_rope: true", options},
      {"attn_use_output_gate: false", options},
      {"lightning_use_rope: false", options},
      {"lightning_use_qk_norm: false", options},
      {"lightning_use_output_norm: false", options},
      {"lightning_use_output_gate: false", options},
      {"lightning_nkv: 2", options},
      {"keep_attention: [0, 3]", " keeps attention in layers [1,3], this job's are [0,3]"},
      {"keep_attention: 3", " keeps attention in layers [1,3], this job's are [3]"},
      {"tie_word_embeddings: false", " was made with the other tie_word_embeddings"}};
  for (const auto& [said, told] : others) {
    SCOPED_TRACE(said);
    const ProgramResult result = distill_again(said);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("error: job again: student " + student_.string() + told));
    EXPECT_FALSE(fs::exists(again_));
  }
}

}  // namespace
}  // namespace halo::test
