// `halo export` into a folder that holds something else: a whole model and mixers are never mixed up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/file.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class ExportTest : public testing::Test {
 protected:
  void SetUp() override {
    const ProgramResult made =
        run_program(train_command(0, {"--config", golden_.config().string(), "--output",
                                      (folder_ / "made").string(), "--set", "train.steps=1"}));
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  [[nodiscard]] ProgramResult export_job(const std::string& job, const std::string& to) const {
    return run_program({program("halo").string(), "export", "--from",
                        (folder_ / ("made/" + job)).string(), "--to", (folder_ / to).string()});
  }
  void expect_refused(const ProgramResult& result, const std::string& holds) const {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr(holds), HasSubstr("give another folder")));
  }

  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

TEST_F(ExportTest, AWholeModelIsNotWrittenBesideMixers) {
  ASSERT_EQ(export_job("align", "to").exit_code, 0);
  const std::string config = read_file(folder_ / "to/config.json");
  expect_refused(export_job("distill", "to"), "holds mixers alone");
  EXPECT_EQ(read_file(folder_ / "to/config.json"), config);
  EXPECT_FALSE(fs::exists(folder_ / "to/model.safetensors"));
  EXPECT_EQ(export_job("align", "to").exit_code, 0) << "its own kind may be written again";
}

TEST_F(ExportTest, MixersAreNotWrittenBesideAWholeModel) {
  ASSERT_EQ(export_job("distill", "to").exit_code, 0);
  const std::string config = read_file(folder_ / "to/config.json");
  expect_refused(export_job("align", "to"), "holds a whole model");
  EXPECT_EQ(read_file(folder_ / "to/config.json"), config);
  EXPECT_FALSE(fs::exists(folder_ / "to/mixers.safetensors"));
  EXPECT_EQ(export_job("finetune", "to").exit_code, 0) << "its own kind may be written again";
}

}  // namespace
}  // namespace halo::test
