#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/error.h"

namespace halo::launch {

/// A long series in bounded memory: every `stride`-th of its values as they were, and the stride doubles whenever there
/// would be more than `capacity`. The newest value is kept beside them.
template <class T>
class Decimated {
 public:
  /// Throws Error for a capacity below 2.
  explicit Decimated(std::size_t capacity) : capacity_(capacity) {
    HALO_REQUIRE(capacity >= 2, "a series needs room for two values");
  }

  /// Whether the next value is one of those kept: another need not be made, skip() counts it.
  [[nodiscard]] bool keeps_next() const { return count_ % stride_ == 0; }
  void skip() { ++count_; }
  void add(const T& value) {
    if (keeps_next()) {
      if (kept_.size() == capacity_) halve();
      if (keeps_next()) kept_.push_back(value);
    }
    last_ = value;
    last_index_ = count_++;
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t stride() const { return stride_; }
  /// At most `most` (at least 2) values in order, evenly spread, the first and the last that was added among them.
  [[nodiscard]] std::vector<T> values(std::size_t most) const {
    std::vector<T> chosen;
    if (kept_.empty()) return chosen;
    const bool last_is_kept = last_index_ == (kept_.size() - 1) * stride_;
    const std::size_t all = kept_.size() + (last_is_kept ? 0 : 1);
    const std::size_t every = all <= most ? 1 : (all - 1 + most - 2) / (most - 1);
    for (std::size_t i = 0; i + 1 < all; i += every) chosen.push_back(kept_[i]);
    chosen.push_back(last_);
    return chosen;
  }

 private:
  void halve() {
    for (std::size_t i = 0; 2 * i < kept_.size(); ++i) kept_[i] = kept_[2 * i];
    kept_.resize((kept_.size() + 1) / 2);
    stride_ *= 2;
  }

  std::size_t capacity_;
  std::vector<T> kept_;
  std::uint64_t stride_ = 1;
  std::uint64_t count_ = 0;
  T last_{};
  std::uint64_t last_index_ = 0;
};

}  // namespace halo::launch
