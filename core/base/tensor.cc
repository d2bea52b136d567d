#include "core/base/tensor.h"

#include <cstring>

namespace halo {
namespace {

/// Copies axes [axis, rank): whole dense tails by memcpy, the rest element by element.
void copy_axes(const TensorView& to, const TensorView& from, int axis) {
  if (to.contiguous() && from.contiguous()) {
    std::memcpy(to.data, from.data, to.bytes());
    return;
  }
  for (std::int64_t i = 0; i < to.dim(axis); ++i) {
    copy_axes(to.select(axis, i), from.select(axis, i), axis);
  }
}

}  // namespace

Tensor::Tensor(Stream& stream, const Shape& shape, DType dtype)
    : allocator_(stream.allocator()), view_(nullptr, dtype, shape, stream.device()) {
  view_.data = allocator_->allocate(view_.bytes());
}

Tensor::~Tensor() {
  if (view_.data != nullptr) allocator_->release(view_.data, view_.bytes());
}

Tensor Tensor::zeros(Stream& stream, const Shape& shape, DType dtype) {
  Tensor tensor(stream, shape, dtype);
  fill_zero(tensor, stream);
  return tensor;
}

Tensor Tensor::copy_of(Stream& stream, TensorView source) {
  Tensor tensor(stream, source.shape, source.dtype);
  copy(tensor, source, stream);
  return tensor;
}

void copy(TensorView to, TensorView from, Stream& stream) {
  HALO_REQUIRE(to.shape == from.shape && to.dtype == from.dtype,
               str("copy of ", to_string(from.shape), ' ', dtype_name(from.dtype), " to ",
                   to_string(to.shape), ' ', dtype_name(to.dtype)));
  if (to.size() == 0) return;
  if (stream.device() == Device::kMeta) {
    const double bytes = static_cast<double>(to.bytes());
    return stream.report({"copy", KernelWork::Kind::kElementwise, 0, 2 * bytes});
  }
  if (stream.device() == Device::kCuda) return stream.queue().copy(to, from);
  if (to.rank() == 0) return copy_axes(to, from, 0);
  stream.parallel_for(to.dim(0), to.size() / to.dim(0), [&](std::int64_t begin, std::int64_t end) {
    copy_axes(to.slice(0, begin, end), from.slice(0, begin, end), 0);
  });
}

void fill_zero(TensorView to, Stream& stream) {
  HALO_REQUIRE(to.contiguous(), "fill_zero of a view that is not contiguous");
  const auto bytes = static_cast<std::int64_t>(to.bytes());
  if (stream.device() == Device::kMeta) {
    return stream.report(
        {"fill_zero", KernelWork::Kind::kElementwise, 0, static_cast<double>(bytes)});
  }
  if (bytes > 0 && stream.device() == Device::kCuda) return stream.queue().fill_zero(to);
  stream.parallel_for(bytes, 1, [&](std::int64_t begin, std::int64_t end) {
    std::memset(static_cast<std::byte*>(to.data) + begin, 0, static_cast<std::size_t>(end - begin));
  });
}

}  // namespace halo
