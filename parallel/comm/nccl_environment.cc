#include <cstdlib>

#include "parallel/comm/nccl_communicator.h"

namespace halo::comm {
namespace {

void set_unless_set(const char* name, const char* value) { ::setenv(name, value, /*replace=*/0); }

}  // namespace

void set_nccl_environment(bool deterministic) {
  // A message waits on the device for its receiver, and several may: they must leave room for kernels that do not wait.
  set_unless_set("NCCL_MAX_P2P_NCHANNELS", "8");
  if (!deterministic) return;
  set_unless_set("NCCL_ALGO", "Ring");
  set_unless_set("NCCL_PROTO", "Simple");
  set_unless_set("NCCL_MIN_NCHANNELS", "16");
  set_unless_set("NCCL_MAX_NCHANNELS", "16");
  set_unless_set("NCCL_NVLS_ENABLE", "0");
}

void set_cuda_environment() {
  set_unless_set("CUDA_MODULE_LOADING", "EAGER");
  set_unless_set("CUDA_DEVICE_MAX_CONNECTIONS", "32");
}

}  // namespace halo::comm
