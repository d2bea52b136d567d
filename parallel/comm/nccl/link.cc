#include "parallel/comm/nccl/link.h"

#include <glog/logging.h>

#include <utility>

#include "core/base/cuda/check.h"
#include "parallel/comm/nccl/check.h"

namespace halo::comm {

NcclLink::NcclLink(std::string name, const ncclUniqueId& id, int rank, int size)
    : name_(std::move(name)) {
  HALO_CUDA_CHECK(cudaGetDevice(&device_));
  // Before kernels that wait to be run: peers may be waiting for the message.
  int lowest = 0, highest = 0;
  HALO_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  cudaStream_t stream = nullptr;
  HALO_CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest));
  stream_ = UniqueHandle<StreamTraits>(stream);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = name_.c_str();
  HALO_NCCL_CHECK(ncclCommInitRankConfig(&comm_, size, id, rank, &config));
}

NcclLink::~NcclLink() {
  if (comm_ == nullptr) return;
  if (const ncclResult_t status = ncclCommDestroy(comm_); status != ncclSuccess)
    LOG(ERROR) << "ending NCCL's communicator " << name_ << ": " << ncclGetErrorString(status);
}

std::string NcclLink::error() const {
  if (comm_ == nullptr) return {};
  ncclResult_t status = ncclSuccess;
  HALO_NCCL_CHECK(ncclCommGetAsyncError(comm_, &status));
  if (status == ncclSuccess || status == ncclInProgress) return {};
  return str("NCCL: ", ncclGetErrorString(status), ": ", ncclGetLastError(comm_));
}

void NcclLink::abort() noexcept {
  if (comm_ == nullptr) return;
  static_cast<void>(cudaSetDevice(device_));  // of this thread
  if (const ncclResult_t status = ncclCommAbort(std::exchange(comm_, nullptr));
      status != ncclSuccess)
    LOG(ERROR) << "aborting NCCL's communicator " << name_ << ": " << ncclGetErrorString(status);
}

NcclTogether::NcclTogether() { HALO_NCCL_CHECK(ncclGroupStart()); }
NcclTogether::~NcclTogether() {
  if (open_) static_cast<void>(ncclGroupEnd());  // an exception is on its way
}
void NcclTogether::start() {
  open_ = false;
  HALO_NCCL_CHECK(ncclGroupEnd());
}

}  // namespace halo::comm
