#pragma once
#include <utility>

namespace halo {

/// Owns one C-library handle. Move-only; a moved-from handle holds Traits::kNull.
/// Traits: `Raw`, `static constexpr Raw kNull`, `static void close(Raw) noexcept`, which logs what it cannot report.
template <class Traits>
class UniqueHandle {
 public:
  using Raw = typename Traits::Raw;

  UniqueHandle() = default;
  explicit UniqueHandle(Raw raw) noexcept : raw_(raw) {}
  UniqueHandle(UniqueHandle&& other) noexcept : raw_(std::exchange(other.raw_, Traits::kNull)) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~UniqueHandle() {
    if (raw_ != Traits::kNull) Traits::close(raw_);
  }

  [[nodiscard]] Raw get() const noexcept { return raw_; }
  [[nodiscard]] explicit operator bool() const noexcept { return raw_ != Traits::kNull; }

 private:
  Raw raw_ = Traits::kNull;
};

}  // namespace halo
