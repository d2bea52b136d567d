#include "checkpoints/checkpoint_folder.h"

#include <gtest/gtest.h>

#include <fstream>

#include "checkpoints/checkpoint_reader.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/expect_input_error.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

using Names = std::vector<std::string>;

class CheckpointFolderTest : public testing::Test {
 protected:
  void save(std::int64_t step, int keep_last, int version = 0) {
    save_sample(root(), step, DType::kFloat32, Cut::kRows, *self_, version, keep_last);
  }
  [[nodiscard]] std::filesystem::path root() const { return folder_.path() / "a" / "checkpoints"; }
  void leave(const std::string& name) {
    std::filesystem::create_directories(root() / name);
    std::ofstream(root() / name / "rank_00000.h5") << "half";
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<comm::Communicator> self_ = comm::make_self_communicator("self");
};

TEST_F(CheckpointFolderTest, KeepsTheLast) {
  for (std::int64_t step = 1; step <= 5; ++step) save(step, 2);
  EXPECT_EQ(names_in(root()), (Names{"step_00000004", "step_00000005"}));
  save(6, 1);
  EXPECT_EQ(names_in(root()), (Names{"step_00000006"}));
  save(7, 0);
  save(8, 0);
  EXPECT_EQ(names_in(root()), (Names{"step_00000006", "step_00000007", "step_00000008"}));
}

TEST_F(CheckpointFolderTest, ALaterStepNeverCostsTheOneJustSaved) {
  save(10, 0);
  save(20, 0);
  save(15, 1);  // resumed from 10, for 20 was damaged
  EXPECT_EQ(names_in(root()), (Names{"step_00000015", "step_00000020"}));
}

TEST_F(CheckpointFolderTest, LaterStepsThanAskedForAreNotThere) {
  for (const std::int64_t step : {2, 5, 9}) save(step, 0);
  const auto newest = [&](std::int64_t step) {
    return latest_good(root(), nullptr, *self_, {}, step);
  };
  EXPECT_EQ(newest(100)->info().step, 9);
  EXPECT_EQ(newest(9)->info().step, 9);
  EXPECT_EQ(newest(8)->info().step, 5);
  EXPECT_EQ(newest(1), nullptr);
}

TEST_F(CheckpointFolderTest, ACourseThatWasGivenUpGoes) {
  for (const std::int64_t step : {2, 5, 7, 9}) save(step, 0);
  remove_folders(root(), 2, 9);
  EXPECT_EQ(names_in(root()), (Names{"step_00000002", "step_00000009"}));
}

TEST_F(CheckpointFolderTest, TheSameStepIsReplaced) {
  save(3, 0, 1);
  save(3, 0, 2);
  EXPECT_EQ(names_in(root()), (Names{"step_00000003"}));
  CheckpointReader reader(root() / "step_00000003");
  SampleState(DType::kFloat32, Cut::kRows, 0, 1, 2).expect_equal(reader);
}

TEST_F(CheckpointFolderTest, LeftoversOfACrashGoAtTheNextSave) {
  save(1, 0);
  leave(".step_00000002.writing");
  leave(".step_00000000.deleted");
  leave(".step_00000001.replaced");
  leave(".something");
  leave("step_2");
  EXPECT_EQ(latest_good(root(), nullptr)->info().step, 1) << "leftovers are not seen";
  save(2, 0);
  EXPECT_EQ(names_in(root()), (Names{".something", "step_00000001", "step_00000002", "step_2"}));
}

TEST_F(CheckpointFolderTest, ACheckpointMovedAsideWhenTheCrashCameReturns) {
  save(1, 0);
  std::filesystem::rename(root() / "step_00000001", root() / ".step_00000001.replaced");
  save(2, 0);
  EXPECT_EQ(names_in(root()), (Names{"step_00000001", "step_00000002"}));
  EXPECT_NO_THROW(CheckpointReader(root() / "step_00000001").verify_files());
}

TEST_F(CheckpointFolderTest, FindsNewestFirstAndOnlyCheckpoints) {
  EXPECT_TRUE(find_checkpoints(root()).empty()) << "no such folder";
  for (const char* name :
       {"step_00000010", "step_00000009", "step_100000000", "step_0000010", "step_000000011",
        "step_", "step_-0000001", "step_0000000x", "step_99999999999999999999", "other"}) {
    std::filesystem::create_directories(root() / name);
  }
  std::ofstream(root() / "step_00000099") << "a file";
  Names names;
  for (const auto& folder : find_checkpoints(root())) names.push_back(folder.filename().string());
  EXPECT_EQ(names, (Names{"step_100000000", "step_00000010", "step_00000009"}));
}

TEST_F(CheckpointFolderTest, OpensWhatAPersonNames) {
  save(1, 0);
  save(2, 0);
  const auto step = [](const std::filesystem::path& path) {
    return open_checkpoint(path, nullptr)->info().step;
  };
  EXPECT_EQ(step(root() / "step_00000001"), 1);
  EXPECT_EQ(step(root()), 2);
  EXPECT_EQ(step(root().parent_path()), 2);
  EXPECT_TRUE(holds_checkpoint(root().parent_path()));
  EXPECT_FALSE(holds_checkpoint(folder_.path()));
  expect_input_error([&] { step(folder_.path()); }, "holds no checkpoint");
}

TEST_F(CheckpointFolderTest, WhatDoesNotFitIsToldWithNumbers) {
  EXPECT_NO_THROW(require_space(folder_.path(), 1));
  try {
    require_space(folder_.path(), std::int64_t{1} << 60);
    FAIL() << "an exbibyte fits";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("does not fit into " + folder_.path().string()), std::string::npos) << text;
  }
}

TEST_F(CheckpointFolderTest, AFolderThatCannotBeMadeIsAReasonNotACrash) {
  std::ofstream(folder_.path() / "a") << "a file in the way";
  const SampleState state(DType::kFloat32, Cut::kRows, 0, 1);
  const SaveResult result =
      save_checkpoint(root(), sample_info(1, DType::kFloat32), state.pieces(), *self_);
  EXPECT_FALSE(result.saved);
  EXPECT_NE(result.reason.find("Not a directory"), std::string::npos) << result.reason;
}

}  // namespace
}  // namespace halo::checkpoints
