#include "core/base/hdf5.h"

#include <glog/logging.h>

#include "core/base/hdf5_lock.h"

namespace halo {
namespace {

/// Without its work at exit, where libhdf5 crashes on a file that could not be written. All files are closed before.
void skip_work_at_exit() {
  static const herr_t status = H5dont_atexit();
  LOG_IF(ERROR, status < 0) << "libhdf5 was in use before the project's first call";
}

herr_t keep_reason(unsigned, const H5E_error2_t* error, void* reason) {
  if (error->desc != nullptr && *error->desc != '\0') {
    *static_cast<std::string*>(reason) = error->desc;
  }
  return 0;
}

}  // namespace

Hdf5Section::Hdf5Section() : lock_(hdf5_mutex()) {
  skip_work_at_exit();
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Section::~Hdf5Section() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

std::string hdf5_reason() {
  std::string reason = "libhdf5 gives no reason";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_reason, &reason);
  return reason;
}

void Hdf5Traits::close(Raw id) noexcept {
  LOG_IF(ERROR, H5Idec_ref(id) < 0) << "an HDF5 id did not close";
}

}  // namespace halo
