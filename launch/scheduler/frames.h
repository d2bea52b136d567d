#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "parallel/comm/communicator.h"

namespace halo::launch {

/// Texts from one other rank, one after the other, over a communicator that nothing else uses.
class Inbox {
 public:
  /// `ranks` must outlive it.
  Inbox(comm::Communicator& ranks, int peer) : ranks_(ranks), peer_(peer) {}

  /// The next text if it has come; does not wait. Throws PeerFailed, and Error for a length that no text has.
  [[nodiscard]] std::optional<std::string> poll();

 private:
  void receive(TensorView buffer);

  comm::Communicator& ranks_;
  int peer_;
  bool asked_ = false;  // for the next text's length
  std::int64_t length_ = 0;
  std::string text_;
  comm::Work work_;
};

/// Texts to other ranks.
class Outbox {
 public:
  explicit Outbox(comm::Communicator& ranks) : ranks_(ranks) {}
  void send(int peer, std::string text);
  /// Forgets those that have left; with `all`, waits for all of them.
  void look_after(bool all = false);

 private:
  struct Frame {
    std::int64_t length;
    std::string text;
    comm::Work work;
  };
  comm::Communicator& ranks_;
  std::deque<std::unique_ptr<Frame>> frames_;
};

}  // namespace halo::launch
