#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "core/base/dtype.h"

namespace halo {

/// kMeta holds shapes alone: its tensors have no memory, though it is counted, and its kernels check their operands and
/// count their work. A step on it tells what a step elsewhere takes.
enum class Device : std::uint8_t { kCpu, kCuda, kMeta };

/// The sizes of up to five axes, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 5;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  /// Throws Error for more than kMaxRank axes or a negative size.
  explicit Shape(std::span<const std::int64_t> dims);

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] std::int64_t operator[](int axis) const { return dims_[index(axis)]; }
  [[nodiscard]] std::int64_t& operator[](int axis) { return dims_[index(axis)]; }
  [[nodiscard]] std::int64_t elements() const;  // 1 for rank 0
  [[nodiscard]] std::span<const std::int64_t> dims() const {
    return {dims_.data(), static_cast<std::size_t>(rank_)};
  }
  [[nodiscard]] bool operator==(const Shape&) const = default;

 private:
  [[nodiscard]] std::size_t index(int axis) const {
    return static_cast<std::size_t>(axis < 0 ? rank_ + axis : axis);
  }
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};
[[nodiscard]] std::string to_string(const Shape& shape);  // "(2, 3)"

/// Non-owning view of a strided tensor. The caller keeps the memory alive. Negative axes count from the last.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Device device = Device::kCpu;
  Shape shape;
  std::array<std::int64_t, Shape::kMaxRank> strides{};  // in elements

  TensorView() = default;
  /// Dense and row-major.
  TensorView(void* memory, DType type, const Shape& dims, Device where = Device::kCpu);

  [[nodiscard]] int rank() const { return shape.rank(); }
  [[nodiscard]] std::int64_t dim(int axis) const { return shape[axis]; }
  [[nodiscard]] std::int64_t stride(int axis) const {
    return strides[static_cast<std::size_t>(axis < 0 ? rank() + axis : axis)];
  }
  [[nodiscard]] std::int64_t size() const { return shape.elements(); }
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(size()) * dtype_size(dtype);
  }
  [[nodiscard]] bool empty() const { return data == nullptr; }
  /// Dense and row-major; axes of size 1 have any stride.
  [[nodiscard]] bool contiguous() const;
  /// The elements as T. Throws Error when T is not the dtype.
  template <class T>
  [[nodiscard]] T* as() const {
    HALO_REQUIRE(dtype_of<T>() == dtype, str("a tensor of ", dtype_name(dtype), " is not one of ",
                                             dtype_name(dtype_of<T>())));
    return static_cast<T*>(data);
  }

  /// Elements [begin, end) along `axis`.
  [[nodiscard]] TensorView slice(int axis, std::int64_t begin, std::int64_t end) const;
  /// Element `i` of `axis`, which disappears.
  [[nodiscard]] TensorView select(int axis, std::int64_t i) const;
  /// The same elements with two axes exchanged.
  [[nodiscard]] TensorView transposed(int axis, int other) const;
  /// The same elements in another shape; the view must be contiguous.
  [[nodiscard]] TensorView reshape(const Shape& dims) const;
};

/// A view of plain C++ memory: view(values.data(), {rows, columns}).
template <class T>
[[nodiscard]] TensorView view(T* data, const Shape& shape) {
  return {const_cast<std::remove_cv_t<T>*>(data), dtype_of<T>(), shape};
}

}  // namespace halo
