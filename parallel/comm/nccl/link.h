#pragma once
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>

#include "core/base/unique_handle.h"

namespace halo::comm {

/// A communicator of NCCL's with a stream of its own, on the current device. Its calls run one after the other.
class NcclLink {
 public:
  /// Waits for all `size` ranks, which must be on their way here. Throws Error.
  NcclLink(std::string name, const ncclUniqueId& id, int rank, int size);
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;
  /// Everything queued must have ended.
  ~NcclLink();

  [[nodiscard]] ncclComm_t comm() const { return comm_; }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }
  /// What went wrong since it was made, on this rank or with a peer; empty: nothing.
  [[nodiscard]] std::string error() const;
  /// Ends what is under way, whose buffers are not touched afterwards, once the stream has come to it. It is good for
  /// nothing then.
  void abort() noexcept;

 private:
  struct StreamTraits {
    using Raw = cudaStream_t;
    static constexpr Raw kNull = nullptr;
    static void close(Raw stream) noexcept { static_cast<void>(cudaStreamDestroy(stream)); }
  };
  std::string name_;
  int device_ = 0;
  UniqueHandle<StreamTraits> stream_;
  ncclComm_t comm_ = nullptr;
};

/// Calls of NCCL's that are started together, on one link.
class NcclTogether {
 public:
  NcclTogether();
  NcclTogether(const NcclTogether&) = delete;
  NcclTogether& operator=(const NcclTogether&) = delete;
  ~NcclTogether();
  void start();  // throws Error

 private:
  bool open_ = true;
};

}  // namespace halo::comm
