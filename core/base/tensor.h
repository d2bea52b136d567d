#pragma once
#include <memory>
#include <utility>

#include "core/base/stream.h"
#include "core/base/tensor_view.h"

namespace halo {

/// Owns a dense row-major tensor; move-only. Its memory returns to the stream's allocator, which it keeps alive.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised elements.
  Tensor(Stream& stream, const Shape& shape, DType dtype);
  Tensor(Tensor&& other) noexcept
      : allocator_(std::move(other.allocator_)), view_(std::exchange(other.view_, {})) {}
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(allocator_, other.allocator_);
    std::swap(view_, other.view_);
    return *this;
  }
  ~Tensor();

  [[nodiscard]] static Tensor zeros(Stream& stream, const Shape& shape, DType dtype);
  /// A dense copy of any view of the stream's device, or for a GPU of a dense view of the host's.
  [[nodiscard]] static Tensor copy_of(Stream& stream, TensorView source);

  [[nodiscard]] const TensorView& view() const { return view_; }
  operator const TensorView&() const {
    return view_;
  }  // NOLINT: a tensor is used as its view everywhere
  [[nodiscard]] bool empty() const { return view_.data == nullptr; }
  void reset() { *this = Tensor(); }

 private:
  std::shared_ptr<Allocator> allocator_;
  TensorView view_;
};

/// Copies elements between views of equal shape and dtype; either may be strided. On a GPU's stream one of them may lie in
/// host memory: both are then dense, and the host's is read or written when the call returns.
void copy(TensorView to, TensorView from, Stream& stream);
/// Sets every byte of a contiguous view to zero.
void fill_zero(TensorView to, Stream& stream);

}  // namespace halo
