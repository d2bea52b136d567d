#pragma once
#include <mutex>

namespace halo {

/// libhdf5 is not thread-safe and keeps its state for the whole process: every call of it, from any folder and thread,
/// is made while holding this lock. The only global state of the project, because the library's own is global.
inline std::mutex& hdf5_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace halo
