#include "checkpoints/weight_files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/file.h"
#include "tests/checkpoints/expect_input_error.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

using parallel::whole;

class WeightFilesTest : public testing::Test {
 protected:
  WeightFilesTest() { std::iota(values_.begin(), values_.end(), 0.0f); }
  /// Tensors t0 ... t4, the i-th filled with its own values.
  std::vector<OutputTensor> tensors() {
    std::vector<OutputTensor> all;
    for (int i = 0; i < 5; ++i) {
      all.push_back({"t" + std::to_string(i),
                     DType::kFloat32,
                     {10},
                     view(&values_[static_cast<std::size_t>(i) * 10], {10}),
                     {}});
    }
    return all;
  }
  void expect_all(const WeightFiles& weights) {
    ASSERT_EQ(weights.names(), (std::vector<std::string>{"t0", "t1", "t2", "t3", "t4"}));
    for (std::size_t i = 0; i < 5; ++i) {
      std::vector<float> got(10);
      weights.read(weights.names()[i], whole({10}), view(got.data(), {10}));
      EXPECT_TRUE(std::equal(got.begin(), got.end(),
                             values_.begin() + static_cast<std::ptrdiff_t>(i) * 10));
    }
    EXPECT_EQ(weights.bytes(), 200);
  }
  void write_index(const nlohmann::json& weight_map) {
    write_text("model.safetensors.index.json", nlohmann::json{{"weight_map", weight_map}}.dump());
  }
  void write_text(const std::string& name, const std::string& text) {
    std::ofstream(path() / name) << text;
  }
  [[nodiscard]] const std::filesystem::path& path() const { return folder_.path(); }

  test::TemporaryFolder folder_;
  std::vector<float> values_ = std::vector<float>(50);
};

TEST_F(WeightFilesTest, ASmallModelIsOneFile) {
  write_weight_files(path(), tensors());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path()), {}), 1);
  expect_all(WeightFiles(path()));
  expect_all(WeightFiles(path() / "model.safetensors"));
}

TEST_F(WeightFilesTest, ALargeModelIsShardedWithAnIndex) {
  write_weight_files(path() / "new", tensors(), 80);
  const nlohmann::json index =
      nlohmann::json::parse(read_file(path() / "new" / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 200);
  EXPECT_EQ(index["weight_map"]["t0"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["t1"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["t4"], "model-00003-of-00003.safetensors");
  expect_all(WeightFiles(path() / "new"));
  expect_all(WeightFiles(path() / "new" / "model.safetensors.index.json"));
}

TEST_F(WeightFilesTest, ATensorLargerThanAShardHasOneOfItsOwn) {
  write_weight_files(path(), tensors(), 1);
  EXPECT_TRUE(std::filesystem::exists(path() / "model-00005-of-00005.safetensors"));
  expect_all(WeightFiles(path()));
}

TEST_F(WeightFilesTest, AnExportOverAnotherIsWhatIsReadAfterwards) {
  write_weight_files(path(), tensors());
  for (float& value : values_) value += 100;
  write_weight_files(path(), tensors(), 80);
  expect_all(WeightFiles(path()));
  for (float& value : values_) value += 100;
  write_weight_files(path(), tensors());
  expect_all(WeightFiles(path()));
  EXPECT_FALSE(std::filesystem::exists(path() / "model.safetensors.index.json"));
}

TEST_F(WeightFilesTest, HostileIndexesAreRefused) {
  write_weight_files(path(), tensors(), 80);
  const std::string shard = "model-00001-of-00003.safetensors";
  const auto expect_refused = [&](const std::string& message) {
    expect_input_error([&] { WeightFiles weights(path()); }, message);
  };
  for (const std::string outside :
       {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\x.safetensors", "..", "",
        ".hidden.safetensors", "model.safetensors.index.json", "config.json"}) {
    write_index({{"t0", outside}});
    expect_refused("is no plain name of a .safetensors file");
  }
  write_index({{"t0", "missing.safetensors"}});
  expect_refused("missing.safetensors: No such file or directory");
  write_index({{"t0", shard}, {"t4", shard}});
  expect_refused(
      "weight_map: 't4': the shard model-00001-of-00003.safetensors holds no such tensor");
  write_index({{"t0", 7}});
  expect_refused("expected a string");
  write_index(nlohmann::json::array());
  expect_refused("expected an object");
  write_index(nlohmann::json::object());
  expect_refused("lists no tensor");
  write_text("model.safetensors.index.json", "{}");
  expect_refused("has no \"weight_map\"");
  write_text("model.safetensors.index.json", "{\"weight_map\":");
  expect_refused("model.safetensors.index.json: line");
}

TEST_F(WeightFilesTest, AShardThatLeadsBackToTheIndexOrToItselfIsRefused) {
  write_index({{"t0", "loop.safetensors"}});
  std::filesystem::create_symlink("loop.safetensors", path() / "loop.safetensors");
  expect_input_error([&] { WeightFiles weights(path()); }, "loop.safetensors: Too many levels");
  std::filesystem::remove(path() / "loop.safetensors");
  std::filesystem::create_symlink("model.safetensors.index.json", path() / "loop.safetensors");
  expect_input_error([&] { WeightFiles weights(path()); }, "loop.safetensors: header:");
}

TEST_F(WeightFilesTest, SaysWhatAFolderLacks) {
  expect_input_error([&] { WeightFiles weights(path() / "none"); }, "none: no such file or folder");
  expect_input_error([&] { WeightFiles weights(path()); }, "holds neither model.safetensors nor");
  write_text("pytorch_model.bin", "");
  expect_input_error([&] { WeightFiles weights(path()); }, "pytorch_model.bin is not read");
}

TEST_F(WeightFilesTest, RequireFiniteNamesTheTensor) {
  write_weight_files(path(), tensors(), 80);
  EXPECT_NO_THROW(WeightFiles(path()).require_finite());
  values_[33] = std::numeric_limits<float>::infinity();
  write_weight_files(path(), tensors(), 80);
  expect_input_error([&] { WeightFiles(path()).require_finite(); },
                     "model-00002-of-00003.safetensors: tensor 't3': 1 of 10 values");
}

}  // namespace
}  // namespace halo::checkpoints
