#include "parallel/comm/nccl/link.h"

#include <glog/logging.h>

#include <chrono>
#include <thread>
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

void NcclLink::end() noexcept {
  if (comm_ == nullptr) return;
  static_cast<void>(cudaSetDevice(device_));  // of this thread
  if (const ncclResult_t status = ncclCommDestroy(std::exchange(comm_, nullptr));
      status != ncclSuccess)
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

void NcclLinkEnds::end(std::unique_ptr<NcclLink> link) {
  if (link == nullptr) return;
  {
    const std::lock_guard lock(open_->mutex);
    ++open_->links;
  }
  std::thread([open = open_, link = std::move(link)]() mutable {
    link.reset();
    const std::lock_guard lock(open->mutex);
    --open->links;
    open->changed.notify_all();
  }).detach();
}

NcclLinkEnds::~NcclLinkEnds() {
  constexpr auto kLongest = std::chrono::seconds(60);
  std::unique_lock lock(open_->mutex);
  if (!open_->changed.wait_for(lock, kLongest, [this] { return open_->links == 0; }))
    LOG(ERROR) << open_->links
               << " of NCCL's communicators did not end: a peer has not ended its own";
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
