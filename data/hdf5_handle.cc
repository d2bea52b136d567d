#include "data/hdf5_handle.h"

namespace halo::data {
namespace {

herr_t keep_reason(unsigned, const H5E_error2_t* error, void* reason) {
  if (error->desc != nullptr && *error->desc != '\0') {
    *static_cast<std::string*>(reason) = error->desc;
  }
  return 0;
}

}  // namespace

std::string hdf5_reason() {
  std::string reason = "libhdf5 gives no reason";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_reason, &reason);
  return reason;
}

void Hdf5Traits::close(Raw id) noexcept { H5Idec_ref(id); }

Hdf5Handle hdf5_handle(hid_t id, std::string_view what) {
  if (id < 0) throw Error(str(what, ": ", hdf5_reason()));
  return Hdf5Handle(id);
}

void hdf5_check(herr_t status, std::string_view what) {
  if (status < 0) throw Error(str(what, ": ", hdf5_reason()));
}

}  // namespace halo::data
