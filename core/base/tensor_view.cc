#include "core/base/tensor_view.h"

#include <utility>

namespace halo {

Shape::Shape(std::span<const std::int64_t> dims) {
  HALO_REQUIRE(dims.size() <= kMaxRank,
               str(dims.size(), " axes: at most ", kMaxRank, " fit a Shape"));
  for (const std::int64_t n : dims) {
    HALO_REQUIRE(n >= 0, str("an axis of size ", n));
    dims_[static_cast<std::size_t>(rank_++)] = n;
  }
}

std::int64_t Shape::elements() const {
  std::int64_t n = 1;
  for (const std::int64_t d : dims()) n *= d;
  return n;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank(); ++i) text += str(i == 0 ? "" : ", ", shape[i]);
  return text + ")";
}

TensorView::TensorView(void* memory, DType type, const Shape& dims, Device where)
    : data(memory), dtype(type), device(where), shape(dims) {
  std::int64_t stride = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    strides[static_cast<std::size_t>(i)] = stride;
    stride *= shape[i];
  }
}

bool TensorView::contiguous() const {
  std::int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (dim(i) != 1 && stride(i) != expected) return false;
    expected *= dim(i);
  }
  return true;
}

TensorView TensorView::slice(int axis, std::int64_t begin, std::int64_t end) const {
  HALO_REQUIRE(0 <= begin && begin <= end && end <= dim(axis),
               str("slice [", begin, ", ", end, ") of an axis of ", dim(axis)));
  TensorView part = *this;
  part.shape[axis] = end - begin;
  part.data = static_cast<std::byte*>(data) +
              begin * stride(axis) * static_cast<std::int64_t>(dtype_size(dtype));
  return part;
}

TensorView TensorView::select(int axis, std::int64_t i) const {
  const int removed = axis < 0 ? rank() + axis : axis;
  const TensorView one = slice(removed, i, i + 1);
  TensorView part = one;
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  std::size_t n = 0;
  for (int k = 0; k < rank(); ++k) {
    if (k == removed) continue;
    part.strides[n] = one.stride(k);
    dims[n++] = one.dim(k);
  }
  part.shape = Shape(std::span<const std::int64_t>(dims.data(), n));
  return part;
}

TensorView TensorView::transposed(int axis, int other) const {
  HALO_REQUIRE(axis >= 0 && axis < rank() && other >= 0 && other < rank(),
               str("axes ", axis, " and ", other, " of a tensor ", to_string(shape)));
  TensorView exchanged = *this;
  std::swap(exchanged.shape[axis], exchanged.shape[other]);
  std::swap(exchanged.strides[static_cast<std::size_t>(axis)],
            exchanged.strides[static_cast<std::size_t>(other)]);
  return exchanged;
}

TensorView TensorView::reshape(const Shape& dims) const {
  HALO_REQUIRE(contiguous(), "reshape of a view that is not contiguous");
  HALO_REQUIRE(dims.elements() == size(),
               str("reshape of ", to_string(shape), " to ", to_string(dims)));
  return {data, dtype, dims, device};
}

}  // namespace halo
