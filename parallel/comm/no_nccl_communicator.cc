#include "parallel/comm/nccl_communicator.h"

namespace halo::comm {

std::string nccl_missing() {
  return HALO_CUDA_ENABLED
             ? "this build has no NCCL: nccl.h or libnccl was not found when it was configured"
             : "this build has no CUDA, and so no NCCL";
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& /*host*/, Stream& /*gpu*/,
                                                     std::chrono::milliseconds /*deadline*/) {
  throw Error(nccl_missing());
}

}  // namespace halo::comm
