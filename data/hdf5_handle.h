#pragma once
#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/hdf5_lock.h"
#include "core/base/unique_handle.h"

namespace halo::data {

/// While it lives, this thread alone is inside libhdf5, and libhdf5 prints nothing.
class Hdf5Section {
 public:
  Hdf5Section() : lock_(hdf5_mutex()) {
    H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  Hdf5Section(const Hdf5Section&) = delete;
  Hdf5Section& operator=(const Hdf5Section&) = delete;
  ~Hdf5Section() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

 private:
  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

/// The innermost reason on libhdf5's error stack.
[[nodiscard]] std::string hdf5_reason();

/// Closed by the function that fits the kind of the id.
struct Hdf5Traits {
  using Raw = hid_t;
  static constexpr Raw kNull = -1;
  static void close(Raw id) noexcept;
};
using Hdf5Handle = UniqueHandle<Hdf5Traits>;

/// The handle of a new id. Throws Error "what: libhdf5's reason" when it is none.
[[nodiscard]] Hdf5Handle hdf5_handle(hid_t id, std::string_view what);
/// Throws Error "what: libhdf5's reason" for a negative status.
void hdf5_check(herr_t status, std::string_view what);

}  // namespace halo::data
