#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/base/tensor_view.h"

namespace halo::comm {

enum class ReduceOp : std::uint8_t { kSum, kMax };

/// A peer died, aborted or did not answer before the deadline. After it the communicator is only good for abort().
class PeerFailed : public Error {
 public:
  PeerFailed(int peer, const std::string& reason) : Error(reason), rank(peer) {}
  int rank;  // in the communicator that threw; -1 when not known
};

/// A started operation. Its buffers belong to the operation until it is done. Destroying an unfinished Work waits for
/// it, except while an exception unwinds, when the communicator is abandoned.
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

  /// Progresses the operation without waiting; true once it is done.
  bool test();
  void wait();

 private:
  std::unique_ptr<State> state_;
};

struct Message {
  int peer = 0;       // rank in this communicator
  TensorView buffer;  // contiguous
};

/// What a call belongs to, for the flight recorder: shown when a rank hangs or dies.
struct CallContext {
  std::int64_t step = -1;
  int micro_batch = -1;
};

/// A fixed set of ranks that run collectives together. One body a subclass: local (ranks are threads of a process), MPI
/// (host memory), NCCL (device memory).
///
/// Every member makes the same calls in the same order; one thread a rank issues them. Buffers are contiguous, of any
/// dtype of at least one rank's size; reductions take float64, float32, int64 and int32. Sums run in rank order, so that
/// one layout gives the same bits each time. Failures throw PeerFailed from Work::wait or test.
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
  /// `out` is flat, one block of counts[r] elements for each rank r; `in` (counts[rank()]) may be its own block of `out`.
  [[nodiscard]] virtual Work all_gather(TensorView out, TensorView in,
                                        std::span<const std::int64_t> counts) = 0;
  [[nodiscard]] virtual Work broadcast(TensorView buffer, int root) = 0;
  /// All sends and receives of this rank at once. Messages between two ranks arrive in the order they were sent.
  [[nodiscard]] virtual Work exchange(std::span<const Message> sends,
                                      std::span<const Message> receives) = 0;
  [[nodiscard]] virtual Work barrier() = 0;

  /// Ranks with one `color` form a new communicator, ordered by `key`, then by rank. Collective over this one.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(int color, int key,
                                                            std::string name) = 0;
  /// Tells every peer of this communicator that waits, now or later, to throw PeerFailed with `reason`.
  virtual void abort(const std::string& reason) noexcept = 0;

  virtual void set_context(const CallContext& context) = 0;
  /// The last 256 calls, oldest first, a line each: op, bytes, step, micro-batch, done or waiting.
  [[nodiscard]] virtual std::string recent_calls() const = 0;
};

struct CommunicatorOptions {
  std::chrono::milliseconds deadline{600000};  // of one call, from when it is waited for
};

}  // namespace halo::comm
