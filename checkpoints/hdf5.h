#pragma once
#include <glog/logging.h>
#include <hdf5.h>

#include <mutex>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/hdf5_lock.h"
#include "core/base/unique_handle.h"

namespace halo::checkpoints {

/// Holds the HDF5 lock and keeps the library from printing its errors, which become messages of ours instead. Every
/// HDF5 call and every handle below lives within one.
class Hdf5Session {
 public:
  Hdf5Session() : lock_(hdf5_mutex()) {
    H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  Hdf5Session(const Hdf5Session&) = delete;
  Hdf5Session& operator=(const Hdf5Session&) = delete;
  ~Hdf5Session() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

 private:
  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

template <herr_t (*Close)(hid_t)>
struct Hdf5Traits {
  using Raw = hid_t;
  static constexpr Raw kNull = H5I_INVALID_HID;
  static void close(Raw id) noexcept { LOG_IF(ERROR, Close(id) < 0) << "an HDF5 id did not close"; }
};
using Hdf5File = UniqueHandle<Hdf5Traits<&H5Fclose>>;
using Hdf5Dataset = UniqueHandle<Hdf5Traits<&H5Dclose>>;
using Hdf5Space = UniqueHandle<Hdf5Traits<&H5Sclose>>;
using Hdf5Properties = UniqueHandle<Hdf5Traits<&H5Pclose>>;
using Hdf5Attribute = UniqueHandle<Hdf5Traits<&H5Aclose>>;
using Hdf5Type = UniqueHandle<Hdf5Traits<&H5Tclose>>;

/// The innermost reason on HDF5's error stack.
[[nodiscard]] inline std::string hdf5_reason() {
  std::string reason;
  const auto take_first = [](unsigned, const H5E_error2_t* error, void* text) -> herr_t {
    auto& first = *static_cast<std::string*>(text);
    if (first.empty() && error->desc != nullptr) first = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &reason);
  return reason.empty() ? "HDF5 gave no reason" : reason;
}

/// Returns what an HDF5 call returned; throws Error "doing: HDF5's reason" when that is negative.
template <class Result>
Result hdf5_check(Result result, std::string_view doing) {
  if (result < 0) throw Error(str(doing, ": ", hdf5_reason()));
  return result;
}

}  // namespace halo::checkpoints
