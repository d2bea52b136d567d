#include "core/base/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

// So that an allocation that is too large fails under the address sanitizer as it does without.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

namespace halo {
namespace {

/// 0, 1, 2 ... in the given shape.
Tensor counted(Stream& stream, const Shape& shape) {
  Tensor tensor(stream, shape, DType::kInt32);
  auto* values = tensor.view().as<std::int32_t>();
  std::iota(values, values + tensor.view().size(), 0);
  return tensor;
}

std::vector<std::int32_t> elements(Stream& stream, const TensorView& view) {
  const Tensor dense = Tensor::copy_of(stream, view);
  const auto* values = dense.view().as<std::int32_t>();
  return {values, values + dense.view().size()};
}

TEST(ShapeTest, CountsElementsAndNamesItself) {
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ((Shape{2, 3, 4}.elements()), 24);
  EXPECT_EQ((Shape{2, 0, 4}.elements()), 0);
  EXPECT_EQ((Shape{2, 3}[-1]), 3);
  EXPECT_EQ(to_string(Shape{2, 3}), "(2, 3)");
  EXPECT_EQ(to_string(Shape{}), "()");
  EXPECT_FALSE((Shape{2, 3}) == (Shape{2, 3, 1}));
}

TEST(ShapeTest, RefusesSixAxesAndNegativeSizes) {
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW((Shape{2, -1}), Error);
}

TEST(TensorViewTest, SlicesAndSelectsKeepTheStrides) {
  Stream stream(1);
  const Tensor tensor = counted(stream, {2, 3, 4});
  const TensorView middle = tensor.view().slice(1, 1, 3);
  EXPECT_EQ(middle.shape, (Shape{2, 2, 4}));
  EXPECT_FALSE(middle.contiguous());
  EXPECT_EQ(elements(stream, middle),
            (std::vector<std::int32_t>{4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23}));
  const TensorView column = tensor.view().select(-1, 2);
  EXPECT_EQ(column.shape, (Shape{2, 3}));
  EXPECT_EQ(elements(stream, column), (std::vector<std::int32_t>{2, 6, 10, 14, 18, 22}));
  EXPECT_EQ(elements(stream, tensor.view().select(0, 1).select(0, 0)),
            (std::vector<std::int32_t>{12, 13, 14, 15}));
  EXPECT_EQ(*tensor.view().select(0, 1).select(0, 2).select(0, 3).as<std::int32_t>(), 23);
  EXPECT_EQ(tensor.view().slice(0, 1, 1).size(), 0);
}

TEST(TensorViewTest, AxesOfSizeOneDoNotBreakContiguity) {
  Stream stream(1);
  const Tensor tensor = counted(stream, {3, 4, 5});
  EXPECT_TRUE(tensor.view().slice(0, 1, 3).contiguous());
  EXPECT_TRUE(tensor.view().slice(0, 1, 2).slice(1, 1, 3).contiguous());
  EXPECT_FALSE(tensor.view().slice(0, 0, 2).slice(1, 1, 3).contiguous());
  EXPECT_TRUE(tensor.view().slice(0, 0, 1).slice(1, 0, 1).slice(2, 1, 4).contiguous());
}

TEST(TensorViewTest, RefusesWhatDoesNotFit) {
  Stream stream(1);
  const Tensor tensor = counted(stream, {2, 3});
  EXPECT_THROW(static_cast<void>(tensor.view().slice(0, 1, 3)), Error);
  EXPECT_THROW(static_cast<void>(tensor.view().slice(0, -1, 1)), Error);
  EXPECT_THROW(static_cast<void>(tensor.view().slice(0, 2, 1)), Error);
  EXPECT_THROW(static_cast<void>(tensor.view().select(1, 3)), Error);
  EXPECT_THROW(static_cast<void>(tensor.view().reshape({5})), Error);
  EXPECT_THROW(static_cast<void>(tensor.view().slice(1, 0, 2).reshape({4})), Error);
  EXPECT_THROW(static_cast<void>(tensor.view().as<float>()), Error);
  EXPECT_EQ(tensor.view().reshape({3, 2}).stride(0), 2);
}

TEST(TensorTest, CopiesBetweenStridedViews) {
  Stream stream(1);
  const Tensor from = counted(stream, {4, 6});
  const Tensor to = Tensor::zeros(stream, {2, 3}, DType::kInt32);
  copy(to, from.view().slice(0, 1, 3).slice(1, 2, 5), stream);
  EXPECT_EQ(elements(stream, to), (std::vector<std::int32_t>{8, 9, 10, 14, 15, 16}));
  const Tensor frame = Tensor::zeros(stream, {2, 5}, DType::kInt32);
  copy(frame.view().slice(1, 1, 4), to, stream);
  EXPECT_EQ(elements(stream, frame), (std::vector<std::int32_t>{0, 8, 9, 10, 0, 0, 14, 15, 16, 0}));
  EXPECT_THROW(copy(to, from, stream), Error);
  EXPECT_THROW(copy(to, Tensor::zeros(stream, {2, 3}, DType::kInt64), stream), Error);
  EXPECT_THROW(fill_zero(frame.view().slice(1, 1, 4), stream), Error);
}

TEST(TensorTest, MovesAndReturnsItsMemory) {
  Stream stream(1);
  const auto before = stream.allocator()->bytes_in_use();
  Tensor a = counted(stream, {1000});
  void* memory = a.view().data;
  EXPECT_GE(stream.allocator()->bytes_in_use(), before + 4000);
  Tensor b = std::move(a);
  EXPECT_EQ(b.view().data, memory);
  b.reset();
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(stream.allocator()->bytes_in_use(), before);
  const Tensor again(stream, {1000}, DType::kInt32);
  EXPECT_EQ(again.view().data, memory);  // recycled
  stream.allocator()->reset_peak();
  EXPECT_EQ(stream.allocator()->peak_bytes(), stream.allocator()->bytes_in_use());
}

TEST(TensorTest, OutlivesItsStreamAndIsAligned) {
  Tensor tensor;
  {
    Stream stream(1);
    tensor = Tensor::zeros(stream, {3 << 20}, DType::kUint8);
  }
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.view().data) % 64, 0u);
  EXPECT_EQ(tensor.view().as<std::uint8_t>()[(3 << 20) - 1], 0);
}

TEST(AllocatorTest, SaysWhenThereIsNoMemory) {
  CpuAllocator allocator;
  EXPECT_THROW(static_cast<void>(allocator.allocate(std::size_t{1} << 60)), Error);
  EXPECT_EQ(allocator.bytes_in_use(), 0u);
}

}  // namespace
}  // namespace halo
