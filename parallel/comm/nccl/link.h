#pragma once
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <condition_variable>
#include <memory>
#include <mutex>
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
  ~NcclLink() { end(); }
  /// Waits for the other ranks to end theirs. Everything queued must have ended. It is good for nothing then.
  void end() noexcept;

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

/// Ends links beside the program: NCCL waits for the other ranks' ends of a link, which come at their own time. Waits for
/// all of them at its end, but not for ever.
class NcclLinkEnds {
 public:
  NcclLinkEnds() = default;
  NcclLinkEnds(const NcclLinkEnds&) = delete;
  NcclLinkEnds& operator=(const NcclLinkEnds&) = delete;
  ~NcclLinkEnds();
  void end(std::unique_ptr<NcclLink> link);

 private:
  struct Open {
    std::mutex mutex;
    std::condition_variable changed;
    int links = 0;
  };
  std::shared_ptr<Open> open_ = std::make_shared<Open>();
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
