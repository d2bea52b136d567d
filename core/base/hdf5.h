#pragma once
#include <hdf5.h>

#include <mutex>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/unique_handle.h"

namespace halo {

/// While it lives, this thread alone is inside libhdf5 (it holds hdf5_mutex()), and libhdf5 prints nothing. Every call of libhdf5 and every handle below lives within one.
class Hdf5Section {
 public:
  Hdf5Section();
  Hdf5Section(const Hdf5Section&) = delete;
  Hdf5Section& operator=(const Hdf5Section&) = delete;
  ~Hdf5Section();

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

/// Returns what a call of libhdf5 returned. Throws Error "what: libhdf5's reason" when that is negative.
template <class Result>
Result hdf5_check(Result result, std::string_view what) {
  if (result < 0) throw Error(str(what, ": ", hdf5_reason()));
  return result;
}
/// The handle of a new id. Throws like hdf5_check.
[[nodiscard]] inline Hdf5Handle hdf5_handle(hid_t id, std::string_view what) {
  return Hdf5Handle(hdf5_check(id, what));
}

}  // namespace halo
