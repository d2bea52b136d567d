#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "parallel/comm/communicator.h"
#include "parallel/comm/nccl/link.h"

namespace halo::comm {

/// The ranks of one communicator, with the links between them, made when they are first needed.
///
/// NCCL runs the calls of a link in their order, and a message waits there until its receiver has come to it. So that
/// messages wait for their own receiver alone, each direction between two ranks has a link of its own.
class NcclGroup {
 public:
  struct Failure {
    int rank = -1;  // in this group; -1: not known
    std::string reason;
  };

  /// Collective over `host`, which has the same ranks. `probe` is two bytes of the device that nothing else uses; `ends`
  /// gets the links at the end.
  NcclGroup(Communicator& host, const NcclGroup* parent, int id, TensorView probe,
            std::shared_ptr<NcclLinkEnds> ends);
  /// Owns `host`.
  NcclGroup(std::unique_ptr<Communicator> host, const NcclGroup* parent, int id, TensorView probe,
            std::shared_ptr<NcclLinkEnds> ends);
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;
  ~NcclGroup();

  [[nodiscard]] Communicator& host() const { return *host_; }
  [[nodiscard]] int rank() const { return host_->rank(); }
  [[nodiscard]] int size() const { return host_->size(); }
  [[nodiscard]] bool comes_of(const NcclGroup& other) const;  // also of itself

  /// For collectives. The first call is collective and waits for all ranks. Throws PeerFailed.
  [[nodiscard]] NcclLink& all();
  struct Pair {
    std::unique_ptr<NcclLink> out, in;
  };
  /// For messages to and from one other rank. The first call waits for that rank's. Throws PeerFailed.
  [[nodiscard]] Pair& with(int peer);

  [[nodiscard]] std::string error() const;  // of any link
  [[nodiscard]] std::vector<NcclLink*> links() const;

  std::optional<Failure> failure;  // the first

 private:
  std::unique_ptr<Communicator> owned_;
  Communicator* host_;
  std::unique_ptr<Communicator> setup_;  // the ranks' messages about links, apart from all others
  std::vector<int> lineage_;             // ids of those it was split from, and its own
  TensorView probe_;
  std::unique_ptr<NcclLink> all_;
  std::map<int, Pair> pairs_;
  std::shared_ptr<NcclLinkEnds> ends_;
};

}  // namespace halo::comm
