#include "checkpoints/safetensors.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <numeric>
#include <vector>

#include "checkpoints/safetensors_writer.h"
#include "core/base/file.h"
#include "core/base/tensor_view.h"
#include "tests/checkpoints/expect_input_error.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

using parallel::Region;
using parallel::whole;

class SafetensorsTest : public testing::Test {
 protected:
  SafetensorsTest() { std::iota(values_.begin(), values_.end(), -20.5); }
  OutputTensor tensor(std::string name, DType dtype) {
    return {std::move(name), dtype, {6, 8}, view(values_.data(), {6, 8}), {}};
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "x.safetensors";
  std::vector<double> values_ = std::vector<double>(48);
};

TEST_F(SafetensorsTest, TheBytesAreTheFormats) {
  std::vector<float> one = {1.0f, -2.0f};
  std::vector<std::int64_t> ids = {7};
  const std::vector<OutputTensor> tensors = {
      {"w", DType::kFloat32, {2, 1}, view(one.data(), {2, 1}), {}},
      {"half", DType::kBFloat16, {2}, view(one.data(), {2}), {}},
      {"ids", DType::kInt64, {1}, view(ids.data(), {1}), {}}};
  write_safetensors(path_, tensors);
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
      R"("w":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]},)"
      R"("half":{"dtype":"BF16","shape":[2],"data_offsets":[16,20]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  std::string expected(1, static_cast<char>(header.size() + padding.size()));
  expected += std::string(7, '\0') + header + padding;
  expected += std::string("\x07\0\0\0\0\0\0\0", 8) + std::string("\0\0\x80\x3f\0\0\0\xc0", 8) +
              std::string("\x80\x3f\0\xc0", 4);
  EXPECT_EQ(read_file(path_), expected);
}

TEST_F(SafetensorsTest, WhatFloat16HasNotIsRefused) {
  std::vector<float> values{1.0f, 70000.0f};
  const std::vector<OutputTensor> tensors{
      {"large", DType::kFloat16, {2}, view(values.data(), {2}), {}}};
  const std::filesystem::path path = folder_.path() / "large.safetensors";
  expect_input_error([&] { write_safetensors(path, tensors); }, "large: holds values that float16");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(SafetensorsTest, OrderOfTheTensorsDoesNotChangeTheFile) {
  const std::vector<OutputTensor> forward = {
      tensor("a", DType::kFloat16), tensor("b", DType::kFloat64), tensor("c", DType::kFloat32)};
  const std::vector<OutputTensor> backward(forward.rbegin(), forward.rend());
  write_safetensors(path_, forward);
  const std::string first = read_file(path_);
  write_safetensors(path_, backward);
  EXPECT_EQ(read_file(path_), first);
}

TEST_F(SafetensorsTest, RegionsOfEveryFloatingDtypeReadIntoStridedViews) {
  const std::vector<DType> dtypes = {DType::kFloat64, DType::kFloat32, DType::kBFloat16,
                                     DType::kFloat16};
  std::vector<OutputTensor> tensors;
  for (const DType dtype : dtypes) tensors.push_back(tensor(std::string(dtype_name(dtype)), dtype));
  write_safetensors(path_, tensors);
  const SafetensorsFile file(path_);
  for (const DType dtype : dtypes) {
    std::vector<float> out(4 * 5, -1.0f);
    // All values are multiples of 1/2 below 32 and so exact in every dtype here.
    file.read(dtype_name(dtype), {{2, 3}, {3, 2}},
              view(out.data(), {4, 5}).slice(0, 1, 4).slice(1, 2, 4));
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 5; ++j) {
        const bool inside = i >= 1 && j >= 2 && j < 4;
        const double expected = values_[static_cast<std::size_t>((i + 1) * 8 + j + 1)];
        EXPECT_EQ(out[static_cast<std::size_t>(i * 5 + j)], inside ? expected : -1.0);
      }
    }
  }
}

TEST_F(SafetensorsTest, ReadsWhatItCannotAsAnErrorWithNumbers) {
  write_safetensors(path_, std::vector{tensor("model.norm.weight", DType::kFloat32)});
  const SafetensorsFile file(path_);
  std::vector<float> out(48);
  expect_input_error(
      [&] {
        file.read("model.norm.weihgt", whole({6, 8}), view(out.data(), {6, 8}));
      },
      "did you mean 'model.norm.weight'?");
  expect_input_error(
      [&] {
        file.read("model.norm.weight", {{1, 0}, {6, 8}}, view(out.data(), {6, 8}));
      },
      "tensor 'model.norm.weight': has shape (6, 8), wanted (6, 8) at (1, 0)");
  expect_input_error([&] { file.read("model.norm.weight", whole({48}), view(out.data(), {48})); },
                     "has shape (6, 8)");
}

TEST_F(SafetensorsTest, AFillerIsAskedForEachElementOnceInOrder) {
  constexpr std::int64_t kRows = 3, kColumns = (3 << 20) + 1;  // more than one block of 8 MiB
  std::int64_t next = 0;
  OutputTensor filled{"big", DType::kFloat32, {kRows, kColumns}, {}, {}};
  filled.fill = [&](const Region& region, TensorView out) {
    const std::int64_t first = region.offset[0] * kColumns + region.offset[1];
    ASSERT_EQ(first, next);
    next += region.shape.elements();
    for (std::int64_t i = 0; i < out.size(); ++i) {
      out.as<float>()[i] = static_cast<float>((first + i) % 1000);
    }
  };
  write_safetensors(path_, std::vector{filled});
  EXPECT_EQ(next, kRows * kColumns);
  const SafetensorsFile file(path_);
  std::vector<float> row(kColumns);
  file.read("big", {{2, 0}, {1, kColumns}}, view(row.data(), {1, kColumns}));
  for (std::int64_t i = 0; i < kColumns; ++i) {
    ASSERT_EQ(row[static_cast<std::size_t>(i)], static_cast<float>((2 * kColumns + i) % 1000));
  }
}

TEST_F(SafetensorsTest, CountsNonfiniteValues) {
  values_[3] = std::numeric_limits<double>::quiet_NaN();
  values_[40] = std::numeric_limits<double>::infinity();
  write_safetensors(path_, std::vector{tensor("w", DType::kBFloat16)});
  EXPECT_EQ(SafetensorsFile(path_).count_nonfinite("w"), 2);
}

TEST_F(SafetensorsTest, RefusesToWriteAmbiguousNamesAndUnwritableDtypes) {
  const std::vector<OutputTensor> twice = {tensor("a", DType::kFloat32),
                                           tensor("a", DType::kFloat64)};
  EXPECT_THROW(write_safetensors(path_, twice), Error);
  EXPECT_THROW(write_safetensors(path_, std::vector{tensor("\xff", DType::kFloat32)}), Error);
  EXPECT_THROW(write_safetensors(path_, std::vector{tensor("a", DType::kInt32)}), InputError);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path())) << "a failure leaves no file";
}

/// A file size limit fails writes as a full disk does.
TEST_F(SafetensorsTest, AFullDiskLeavesTheOldFileAndNothingElse) {
  write_safetensors(path_, std::vector{tensor("w", DType::kBFloat16)});
  const std::string before = read_file(path_);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{200, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string reason;
  try {
    write_safetensors(path_, std::vector{tensor("w", DType::kFloat64)});
  } catch (const Error& error) {
    reason = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(reason.find("File too large"), std::string::npos) << reason;
  EXPECT_EQ(read_file(path_), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
}

}  // namespace
}  // namespace halo::checkpoints
