#pragma once
#include <functional>
#include <vector>

#include "core/base/tensor.h"
#include "parallel/comm/communicator.h"

namespace halo::parallel {

/// How the recurrent state reaches the ranks: from each to the next, or by a prefix scan, which takes more bytes and, on
/// many ranks, fewer rounds.
enum class ContextStateMethod : std::uint8_t { kRing, kScan };

/// The way of the states through a sequence. Equal on every rank.
struct StateWay {
  std::vector<int>
      owners;  // the rank that holds each stretch of tokens, in the order in which states go through them
  ContextStateMethod method =
      ContextStateMethod::kRing;  // a scan goes through as many stretches on each rank
  std::vector<Shape>
      groups;  // (B, heads, K, K): of each group of heads, whose states travel together
  DType dtype = DType::kFloat32;  // wide
};

/// Carries states through the stretches of a sequence: into each goes in(next) = kept * in + own of the one before it;
/// into the first goes nothing. A rank hands over, for each of its stretches (a `slot`, along the way) and each group,
/// either what the stretch gives by itself, or, having computed with the state that goes in, the state that comes out.
///
/// Collective over the ranks of the way. A slot's groups travel in their order, after the slot's before: the state of one
/// is waited for once everything that goes before it has been handed over. By a scan all is handed over before.
class StateExchange {
 public:
  StateExchange(StateWay way, comm::Communicator& ranks, Stream& stream);

  [[nodiscard]] int slots() const { return static_cast<int>(places_.size()); }
  /// How many stretches a state goes through before this one.
  [[nodiscard]] int place(int slot) const { return places_[static_cast<std::size_t>(slot)]; }
  /// Whether no stretch comes after it.
  [[nodiscard]] bool is_last(int slot) const { return place(slot) + 1 == std::ssize(way_.owners); }

  /// A stretch's own state and what it keeps of the state before it, (B, heads). Progresses what can go on.
  void give_own(int group, int slot, Tensor own, Tensor kept);
  /// The state after a stretch; not for a scan.
  void give_after(int group, int slot, Tensor after);
  /// Waits for the state that goes into a stretch, (B, heads, K, K); empty for the first of all.
  [[nodiscard]] TensorView arrived(int group, int slot);
  /// Waits for the end of every group. All has been handed over.
  void finish();

 private:
  /// One stretch and group of this rank.
  struct Unit {
    Tensor in, own, kept, after;
    Tensor sums, sums_kept;  // scan: of this chain's stretches so far, this one included
    bool given = false, arrived = false;
  };
  /// What happens in order, as soon as the message before it has arrived and, if it needs that, its unit is given.
  struct Step {
    Unit* unit = nullptr;
    bool needs_given = false;
    std::function<comm::Work()> post;  // may be null: nothing to wait for
    std::function<void()> then;
  };

  void plan_ring();
  void plan_receive(int slot, int group);
  void plan_send(int slot, int group);
  void plan_scan();
  void plan_scan_rounds(int slot, int group);
  void advance() { run(/*wait=*/false); }
  void run(bool wait);
  /// One step, if what it needs is there.
  bool run_step(bool wait);

  [[nodiscard]] int owner(int place) const { return way_.owners[static_cast<std::size_t>(place)]; }
  [[nodiscard]] int groups() const { return static_cast<int>(way_.groups.size()); }
  [[nodiscard]] Unit& unit(int group, int slot) {
    return units_[static_cast<std::size_t>(slot * groups() + group)];
  }
  /// Its incoming state, not yet there.
  [[nodiscard]] const TensorView& room(int group, int slot);
  /// The state after a stretch, whose unit loses it, or its own state.
  [[nodiscard]] Tensor take_after(int group, int slot);
  void send(Tensor state, int to);

  StateWay way_;
  comm::Communicator& ranks_;
  Stream& stream_;
  std::vector<int> places_;  // of this rank's stretches, ascending; a slot is an index into it
  std::vector<Unit> units_;
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
