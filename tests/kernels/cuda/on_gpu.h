#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/base/cuda_device.h"
#include "core/base/rng.h"
#include "core/base/tensor.h"

namespace halo {

/// Tests of a GPU's kernels beside the CPU's: values go up as float32 or bfloat16 and come back as float32.
class OnGpu : public testing::Test {
 protected:
  /// Standard normal values that `dtype` holds exactly.
  [[nodiscard]] static std::vector<float> random(std::int64_t n, const std::string& name,
                                                 DType dtype) {
    const CounterRng rng(1, name);
    std::vector<float> values;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto x = static_cast<float>(rng.normal(static_cast<std::uint64_t>(i)));
      values.push_back(dtype == DType::kBFloat16 ? static_cast<float>(BFloat16(x)) : x);
    }
    return values;
  }
  template <class T>
  [[nodiscard]] Tensor up(const std::vector<T>& values, const Shape& shape) {
    return Tensor::copy_of(gpu_, view(values.data(), shape));
  }
  /// Values as a tensor of float32 or bfloat16.
  [[nodiscard]] Tensor up(const std::vector<float>& values, const Shape& shape, DType dtype) {
    if (dtype == DType::kFloat32) return up(values, shape);
    std::vector<BFloat16> rounded;
    for (const float x : values) rounded.emplace_back(x);
    return up(rounded, shape);
  }
  /// Every element NaN, or -1 of integers.
  [[nodiscard]] Tensor poisoned(const Shape& shape, DType dtype) {
    const auto bytes = static_cast<std::size_t>(shape.elements()) * dtype_size(dtype);
    const std::vector<std::uint8_t> ones(bytes, 0xff);
    Tensor tensor(gpu_, shape, dtype);
    copy(bytes_of(tensor), view(ones.data(), {static_cast<std::int64_t>(bytes)}), gpu_);
    return tensor;
  }
  template <class T>
  [[nodiscard]] std::vector<T> down(const TensorView& x) {
    const Tensor dense = Tensor::copy_of(gpu_, x);
    std::vector<T> values(static_cast<std::size_t>(x.size()));
    copy(view(values.data(), x.shape), dense, gpu_);
    return values;
  }
  [[nodiscard]] std::vector<float> down(const TensorView& x) {
    if (x.dtype == DType::kFloat32) return down<float>(x);
    std::vector<float> values;
    for (const BFloat16 value : down<BFloat16>(x)) values.push_back(static_cast<float>(value));
    return values;
  }
  /// The largest difference is at most `bound` times the largest expected value (or `bound` where all are 0).
  static void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                          double bound, const std::string& name) {
    ASSERT_EQ(actual.size(), expected.size()) << name;
    double difference = 0, largest = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      const double d = std::fabs(double{actual[i]} - double{expected[i]});
      difference = std::max(difference, std::isfinite(d) ? d : INFINITY);
      largest = std::max(largest, std::fabs(double{expected[i]}));
    }
    EXPECT_LE(difference, bound * (largest > 0 ? largest : 1)) << name;
  }

  Stream gpu_ = make_cuda_stream(0);
  Stream cpu_{2};

 private:
  static TensorView bytes_of(const TensorView& x) {
    return {x.data, DType::kUint8, {static_cast<std::int64_t>(x.bytes())}, x.device};
  }
};

}  // namespace halo
