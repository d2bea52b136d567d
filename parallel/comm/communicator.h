#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "core/base/tensor_view.h"
#include "parallel/comm/call.h"

namespace halo::comm {

struct CallLog;

enum class ReduceOp : std::uint8_t { kSum, kMax };

/// A peer died, aborted or did not answer before the deadline. After it the communicator is only good for abort().
class PeerFailed : public Error {
 public:
  PeerFailed(int peer, const std::string& reason) : Error(reason), rank(peer) {}
  int rank;  // in the communicator that threw; -1 when not known
};

/// A started operation. Its buffers belong to the operation until it is done. Destroying an unfinished Work waits for
/// it, except while an exception unwinds: then it is withdrawn, its buffers are not touched afterwards, and the
/// communicator is abandoned. Works may be waited for in any order: waiting for one progresses all of this rank.
class Work {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual bool test() = 0;  // progresses; true once done; throws PeerFailed
    virtual void wait() = 0;  // throws PeerFailed
  };
  Work() = default;  // already done
  explicit Work(std::unique_ptr<State> state) : state_(std::move(state)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&& other) noexcept;
  ~Work();

  /// Progresses every operation of this rank without waiting; true once this one is done.
  bool test();
  /// Throws PeerFailed when a peer failed, aborted, or did not answer within the deadline.
  void wait();

 private:
  void finish() noexcept;
  std::unique_ptr<State> state_;
};

struct Message {
  int peer = 0;       // rank in this communicator
  TensorView buffer;  // contiguous
};

/// A fixed set of ranks that run collectives together. One body a subclass: local (ranks are threads of a process), MPI
/// (host memory), NCCL (device memory).
///
/// Every member makes the same collective calls in the same order; one thread a rank issues them. Buffers are
/// contiguous, of any dtype, and may be empty; reductions take float64, float32, bfloat16 (summed in float32 and rounded
/// once), int64 and int32. Sums run in rank order, so that one layout gives the same bits each time, and the same ones
/// on each rank; a NaN wins a maximum.
/// Wrong arguments throw Error from the call itself, failures PeerFailed from Work::wait or test. What NCCL does otherwise,
/// nccl_communicator.h says.
class Communicator {
 public:
  virtual ~Communicator() = default;

  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;  // "world", "data", ...

  /// In place.
  [[nodiscard]] virtual Work all_reduce(TensorView buffer, ReduceOp op) = 0;
  /// `in` is flat, one block of counts[r] elements for each rank r, one after the other; `out` (counts[rank()])
  /// receives the sum of every rank's block for this one. `out` may be that block of `in`; `in` is not changed
  /// otherwise. Counts may be 0.
  [[nodiscard]] virtual Work reduce_scatter(TensorView out, TensorView in,
                                            std::span<const std::int64_t> counts, ReduceOp op) = 0;
  /// `out` is flat, one block of counts[r] elements for each rank r; `in` (counts[rank()]) may be this rank's block of
  /// `out`.
  [[nodiscard]] virtual Work all_gather(TensorView out, TensorView in,
                                        std::span<const std::int64_t> counts) = 0;
  [[nodiscard]] virtual Work broadcast(TensorView buffer, int root) = 0;
  /// All sends and receives of this rank at once. No collective: only the ranks that a message names take part, each
  /// with as many calls as it likes. Messages between two ranks arrive in the order they were sent, and their sizes
  /// must agree; empty ones are not sent.
  [[nodiscard]] virtual Work exchange(std::span<const Message> sends,
                                      std::span<const Message> receives) = 0;
  [[nodiscard]] virtual Work barrier() = 0;

  /// Ranks with one `color` form a new communicator, ordered by `key`, then by rank. Collective over this one.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(int color, int key,
                                                            std::string name) = 0;
  /// The ranks `members` of this one form a new communicator, in that order. Collective over the members alone, who all give
  /// the same: each exchanges messages with every other over this communicator. The other ranks do not notice. A program may make any
  /// number of groups one after the other: what they took is free again once they and all that was split from them are gone.
  /// Whoever leaves one before its end must abort it.
  [[nodiscard]] virtual std::unique_ptr<Communicator> group(std::span<const int> members,
                                                            std::string name) = 0;
  /// A communicator of this rank alone for the memory that this one takes. Made by no one else's help, and its calls end at
  /// once.
  [[nodiscard]] virtual std::unique_ptr<Communicator> alone(std::string name) const;
  /// Lets every operation of this rank go on. Throws PeerFailed when this communicator, or one that it was split from,
  /// has failed.
  virtual void check() = 0;
  /// Tells every peer that waits, now or later, in this communicator or in one split from it, to throw PeerFailed with
  /// `reason`. Communicators that this one was split from go on.
  virtual void abort(const std::string& reason) noexcept = 0;

  /// For this communicator and all that share its origin.
  virtual void set_context(const CallContext& context) = 0;
  /// Likewise; null: nobody. The observer must outlive them or be taken off.
  virtual void observe(CallObserver* observer) = 0;
  /// This rank's last 256 calls on this communicator and all that share its origin, oldest first, a line each:
  /// op, communicator, bytes, step, micro-batch, done, waiting or failed. Any thread may ask.
  [[nodiscard]] virtual std::string recent_calls() const = 0;
  /// What all of that is kept in, for a communicator built on this one; null: nothing is.
  [[nodiscard]] virtual CallLog* log() noexcept { return nullptr; }
};

struct CommunicatorOptions {
  std::chrono::milliseconds deadline{600000};  // of one call, from when it is waited for
  std::size_t message_bytes = std::size_t{1}
                              << 30;  // longer messages travel in several; equal on every rank
  std::size_t piece_bytes = std::size_t{1}
                            << 20;  // reductions go in pieces of up to this; equal on every rank
  int max_tag = std::numeric_limits<int>::max();  // or the transport's; equal on every rank
};

}  // namespace halo::comm
