#pragma once
#include <functional>
#include <vector>

#include "core/base/tensor.h"
#include "parallel/comm/communicator.h"
#include "parallel/sequence_cut.h"

namespace halo::parallel {

/// How the recurrent state reaches the ranks: from each to the next, or by a prefix scan, which takes more bytes and, on
/// many ranks, fewer rounds.
enum class ContextStateMethod : std::uint8_t { kRing, kScan };

/// Carries states through the fragments of a sequence: into each goes in(next) = kept * in + own of the one before it, in
/// the order of the sequence or against it (gradients); into the first goes nothing. Heads come in groups, so that the
/// states of one travel while the next is computed.
///
/// Collective over the ranks of the cut; every rank starts the same groups in the same order.
class StateExchange {
 public:
  enum class Direction : std::uint8_t { kForward, kBackward };
  StateExchange(const SequenceCut& cut, comm::Communicator& ranks, ContextStateMethod method,
                Direction direction, int groups, Stream& stream);

  /// One group's own states, (fragments of this rank, B, heads, K, K) wide in the order of the sequence, and what each
  /// fragment keeps of the state before it, (fragments, B, heads). Progresses what has been started.
  void start(Tensor own, Tensor kept);
  /// Progresses without waiting.
  void advance() { run(/*wait=*/false); }
  /// Waits for the state that goes into this rank's fragment `slot`, (B, heads, K, K); empty for the first of all. All
  /// groups have been started.
  [[nodiscard]] TensorView arrived(int group, int slot);
  /// Waits for the end of every group.
  void finish();

 private:
  /// What happens in order, as soon as its group has been started and the message before it has arrived.
  struct Step {
    int group = 0;
    int slot = 0;
    std::function<comm::Work()> post;  // may be null: nothing to wait for
    std::function<void()> then;
  };
  struct Group {
    Tensor own, kept, in;
    Tensor sums, sums_kept;  // scan: of this chain's fragments so far, this one included
  };

  void plan_ring();
  void plan_scan();
  void plan_scan_rounds(int slot, int group);
  void require_all_started() const;
  void run(bool wait);
  /// One step, if it has been started and what it waits for has arrived.
  bool run_step(bool wait);

  [[nodiscard]] int place(int slot) const { return places_[static_cast<std::size_t>(slot)]; }
  [[nodiscard]] int owner(int place) const { return owners_[static_cast<std::size_t>(place)]; }
  [[nodiscard]] int slots() const { return static_cast<int>(places_.size()); }
  [[nodiscard]] int fragment_slot(int slot) const;
  [[nodiscard]] Group& group(int g) { return groups_[static_cast<std::size_t>(g)]; }
  [[nodiscard]] TensorView own(int g, int slot);
  [[nodiscard]] TensorView kept(int g, int slot);
  [[nodiscard]] TensorView in(int g, int slot);
  /// The state after this rank's fragment.
  [[nodiscard]] Tensor carried(int g, int slot);
  void send(Tensor state, int to);

  comm::Communicator& ranks_;
  Direction direction_;
  Stream& stream_;
  std::vector<int> owners_;  // rank of each place on the way
  std::vector<int> places_;  // of this rank's fragments, ascending; a slot is an index into it
  std::vector<Group> groups_;
  int groups_planned_;
  std::vector<Step> steps_;
  std::size_t next_ = 0;
  bool posted_ = false;
  comm::Work pending_;
  struct Sent {
    Tensor state;
    comm::Work work;
  };
  std::vector<Sent> sent_;
};

}  // namespace halo::parallel
