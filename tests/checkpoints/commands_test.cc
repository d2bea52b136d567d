#include "launch/commands/commands.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <numeric>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/weight_files.h"
#include "core/base/file.h"
#include "data/token_file.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/expect_input_error.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using checkpoints::expect_input_error;

class CommandsTest : public testing::Test {
 protected:
  /// What `halo COMMAND ...` prints.
  static std::string run(const std::vector<std::string>& arguments) {
    Program app("halo", "", "");
    add_inspect(app);
    add_verify(app);
    testing::internal::CaptureStdout();
    try {
      app.run(arguments);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    return testing::internal::GetCapturedStdout();
  }
  static void expect_contains(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in:\n" << text;
  }
  static std::string inspect(const fs::path& path) { return run({"inspect", path.string()}); }
  static std::string verify(const fs::path& path) { return run({"verify", path.string()}); }

  void save_job() {
    comm::run_ranks(2, [&](comm::Communicator& ranks) {
      for (const int step : {10, 20}) {
        checkpoints::save_sample(job() / "checkpoints", step, DType::kFloat32,
                                 checkpoints::Cut::kRows, ranks, step);
      }
    });
  }
  [[nodiscard]] fs::path job() const { return folder_.path() / "distill"; }

  test::TemporaryFolder folder_;
  std::vector<float> values_ = std::vector<float>(12, 0.5f);
};

TEST_F(CommandsTest, WeightsAreShownAndVerified) {
  const std::vector<checkpoints::OutputTensor> tensors = {
      {"model.norm.weight", DType::kBFloat16, {12}, view(values_.data(), {12}), {}},
      {"lm_head.weight", DType::kFloat32, {3, 4}, view(values_.data(), {3, 4}), {}}};
  checkpoints::write_weight_files(folder_.path(), tensors, 1);
  const std::string text = inspect(folder_.path());
  expect_contains(text, "safetensors, 2 files");
  expect_contains(text, "model.norm.weight  bfloat16  (12)");
  expect_contains(text, "lm_head.weight     float32   (3, 4)");
  expect_contains(text, "total: 2 tensors, 24 parameters, 72.0 B");
  expect_contains(verify(folder_.path()), "good: 2 tensors, ");
  expect_contains(verify(folder_.path() / "model-00001-of-00002.safetensors"), "good: 1 tensor, ");

  values_[5] = std::numeric_limits<float>::quiet_NaN();
  checkpoints::write_weight_files(folder_.path(), tensors);
  expect_input_error([&] { verify(folder_.path()); }, "1 of 12 values are NaN or infinite");
}

TEST_F(CommandsTest, AJobsNewestCheckpointIsShown) {
  save_job();
  const std::string text = inspect(job());
  expect_contains(text, "step_00000020: checkpoint of step 20");
  expect_contains(text, "stage DISTILL, float32, AdamW updates 19");
  expect_contains(text, "skipped steps 3 to 4");
  expect_contains(text, "teacher: models/qwen3-tiny");
  expect_contains(text, "rank_00001.h5: ");
  expect_contains(text, "(2, 3, 1, 2, 3)");
  expect_contains(inspect(job() / "checkpoints" / "step_00000010"), "checkpoint of step 10");
  EXPECT_EQ(run({"inspect", "--config", job().string()}),
            checkpoints::sample_info(20, DType::kFloat32).config_text);
}

TEST_F(CommandsTest, EveryCheckpointOfAJobIsVerified) {
  save_job();
  const std::string text = verify(job());
  expect_contains(text, "step_00000010: good");
  expect_contains(text, "step_00000020: good");
  const fs::path file = job() / "checkpoints" / "step_00000010" / "rank_00001.h5";
  std::string bytes = read_file(file);
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 8);
  std::ofstream(file, std::ios::binary) << bytes;
  expect_input_error([&] { verify(job()); }, "step_00000010/rank_00001.h5: is damaged");
  expect_contains(verify(job() / "checkpoints" / "step_00000020"), "good");
}

TEST_F(CommandsTest, NonfiniteMastersFailVerification) {
  std::vector<float> large(6, 1.0f);
  large[2] = std::numeric_limits<float>::infinity();
  const auto self = comm::make_self_communicator("self");
  const std::vector<checkpoints::CheckpointPiece> pieces = {
      {"w", {6}, parallel::whole({6}), view(large.data(), {6}), {}, {}}};
  const auto result = checkpoints::save_checkpoint(
      folder_.path(), checkpoints::sample_info(1, DType::kFloat32), pieces, *self);
  ASSERT_TRUE(result.saved);
  expect_input_error([&] { verify(folder_.path()); }, "master of 'w': 1 of 6 values are NaN");
}

TEST_F(CommandsTest, TokenFilesAreShownAndVerified) {
  const fs::path path = folder_.path() / "x.h5";
  {
    data::TokenFileWriter writer(path, {100, 99, "abc"});
    const std::vector<std::int32_t> document = {1, 2, 99};
    writer.add_document(document);
    writer.add_document(document);
    writer.finish();
  }
  const std::string text = inspect(path);
  expect_contains(text, "tokens        6");
  expect_contains(text, "documents     2");
  expect_contains(text, "end of text   99");
  expect_contains(verify(path), "good: 6 tokens in 2 documents, all ids below 100");
  std::ofstream(path, std::ios::binary | std::ios::trunc) << "no HDF5";
  expect_input_error([&] { verify(path); }, "x.h5");
}

TEST_F(CommandsTest, NothingThereIsSaidPlainly) {
  expect_input_error([&] { inspect(folder_.path() / "none"); }, "none: no such file or folder");
  expect_input_error([&] { verify(folder_.path()); }, "holds neither model.safetensors");
  expect_input_error([] { run({"verify"}); }, "required");
}

}  // namespace
}  // namespace halo::launch
