#include "tests/kernels/cuda/on_gpu.h"

namespace halo {
namespace {

class DeviceCudaTest : public OnGpu {};

TEST_F(DeviceCudaTest, CopiesGoUpAndDown) {
  const std::vector<float> values = random(1000, "x", DType::kFloat32);
  EXPECT_EQ(down(up(values, {10, 100})), values);
  const std::vector<std::int32_t> ids{3, -1, 1 << 30};
  EXPECT_EQ(down<std::int32_t>(up(ids, {3})), ids);
}

TEST_F(DeviceCudaTest, StridedViewsAreCopiedElementByElement) {
  std::vector<float> values = random(6 * 4 * 5 * 16, "x", DType::kFloat32);
  const Tensor x = up(values, {6, 4, 5, 16});
  const TensorView host = view(values.data(), {6, 4, 5, 16});
  for (const auto& cut : {std::pair<std::int64_t, std::int64_t>{4, 12}, {3, 8}, {0, 16}}) {
    const auto part = [&](const TensorView& t) {
      return t.slice(3, cut.first, cut.second).slice(1, 1, 3).transposed(0, 2);
    };
    const Tensor expected = Tensor::copy_of(cpu_, part(host));
    const float* data = expected.view().as<float>();
    EXPECT_EQ(down(part(x)), std::vector<float>(data, data + expected.view().size()));
  }
}

TEST_F(DeviceCudaTest, MemoryIsCountedAndUsedAgain) {
  Stream stream = make_cuda_stream(0);
  void* first = nullptr;
  {
    const Tensor a(stream, {1000}, DType::kFloat32);
    first = a.view().data;
    EXPECT_GE(stream.allocator()->bytes_in_use(), 4000U);
  }
  EXPECT_EQ(stream.allocator()->bytes_in_use(), 0U);
  const Tensor b(stream, {1000}, DType::kFloat32);
  EXPECT_EQ(b.view().data, first);
  EXPECT_LT(stream.allocator()->peak_bytes(), 8000U);
}

TEST_F(DeviceCudaTest, TooMuchMemoryIsAnError) {
  EXPECT_THROW(Tensor(gpu_, {std::int64_t{1} << 50}, DType::kFloat32), Error);
  fill_zero(poisoned({5}, DType::kFloat32), gpu_);  // and nothing is lost
}

TEST_F(DeviceCudaTest, MarksTellTheTimeOfWhatLiesBetween) {
  const Tensor small(gpu_, {1 << 20}, DType::kUint8), large(gpu_, {1 << 30}, DType::kUint8);
  fill_zero(large, gpu_);
  gpu_.synchronize();
  const StreamMark begin = gpu_.mark();
  fill_zero(small, gpu_);
  const StreamMark middle = gpu_.mark();
  fill_zero(large, gpu_);
  const StreamMark end = gpu_.mark();
  const double whole = end.seconds_since(begin);
  EXPECT_GT(whole, 1e-5) << "2^30 bytes would have been written at 100 TB/s";
  EXPECT_LT(whole, 10);
  EXPECT_NEAR(middle.seconds_since(begin) + end.seconds_since(middle), whole, 1e-5);
  EXPECT_GT(end.seconds_since(middle), middle.seconds_since(begin));
}

TEST_F(DeviceCudaTest, AGraphDoesItsWorkOnWhatIsThereEachTime) {
  Stream stream = make_cuda_stream(0);
  const std::vector<float> ones(1000, 1.0F), twos(1000, 2.0F);
  const Tensor from = Tensor::zeros(stream, {1000}, DType::kFloat32);
  const Tensor to = Tensor::zeros(stream, {1000}, DType::kFloat32);
  const auto read = [&] {
    std::vector<float> values(1000);
    copy(view(values.data(), {1000}), to, stream);
    return values;
  };
  const void* kept = nullptr;
  const auto graph = stream.queue().record([&] {
    const Tensor between(stream, {1000}, DType::kFloat32);
    kept = between.view().data;
    copy(between, from, stream);
    copy(to, between, stream);
  });
  EXPECT_EQ(read(), std::vector<float>(1000, 0.0F)) << "it was recorded, not run";
  for (const auto& values : {ones, twos, ones}) {
    copy(from, view(values.data(), {1000}), stream);
    graph->launch();
    EXPECT_EQ(read(), values);
  }
  const Tensor other(stream, {1000}, DType::kFloat32);
  EXPECT_NE(other.view().data, kept);
}

TEST_F(DeviceCudaTest, WhatCannotBeRecordedIsAnErrorAndTheStreamGoesOn) {
  Stream stream = make_cuda_stream(0);
  const Tensor x = Tensor::zeros(stream, {8}, DType::kFloat32);
  std::vector<float> values(8, 3.0F);
  const TensorView host = view(values.data(), {8});
  const auto record = [&](const std::function<void()>& work) {
    static_cast<void>(stream.queue().record(work));
  };
  EXPECT_THROW(record([&] { copy(x, host, stream); }), Error);
  EXPECT_THROW(record([&] { copy(host, x, stream); }), Error);
  EXPECT_THROW(record([&] { stream.synchronize(); }), Error);
  EXPECT_THROW(record([&] { throw Error("of its own"); }), Error);
  Tensor kept;
  EXPECT_THROW(record([&] { kept = Tensor::zeros(stream, {8}, DType::kFloat32); }), Error);
  copy(x, host, stream);
  std::vector<float> read(8);
  copy(view(read.data(), {8}), x, stream);
  EXPECT_EQ(read, values);
}

TEST_F(DeviceCudaTest, AnUnknownDeviceIsRefused) {
  EXPECT_THROW(static_cast<void>(make_cuda_stream(4096)), Error);
  EXPECT_THROW(static_cast<void>(make_cuda_stream(-1)), Error);
}

}  // namespace
}  // namespace halo
