#include "parallel/state_exchange.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "kernels/gates.h"
#include "kernels/lightning_attention.h"

namespace halo::parallel {

StateExchange::StateExchange(const SequenceCut& cut, comm::Communicator& ranks,
                             ContextStateMethod method, Direction direction, int groups,
                             Stream& stream)
    : ranks_(ranks), direction_(direction), stream_(stream), groups_planned_(groups) {
  groups_.reserve(static_cast<std::size_t>(groups));
  for (const Fragment& fragment : cut.fragments()) owners_.push_back(fragment.rank);
  if (direction == Direction::kBackward) std::ranges::reverse(owners_);
  for (int place = 0; place < static_cast<int>(owners_.size()); ++place)
    if (owner(place) == ranks.rank()) places_.push_back(place);
  if (method == ContextStateMethod::kRing)
    plan_ring();
  else
    plan_scan();
}

int StateExchange::fragment_slot(int slot) const {
  return direction_ == Direction::kForward ? slot : slots() - 1 - slot;
}
TensorView StateExchange::own(int g, int slot) {
  return group(g).own.view().select(0, fragment_slot(slot));
}
TensorView StateExchange::kept(int g, int slot) {
  return group(g).kept.view().select(0, fragment_slot(slot));
}
TensorView StateExchange::in(int g, int slot) {
  return group(g).in.view().select(0, fragment_slot(slot));
}

Tensor StateExchange::carried(int g, int slot) {
  Tensor out(stream_, own(g, slot).shape, own(g, slot).dtype);
  if (place(slot) == 0)
    copy(out, own(g, slot), stream_);
  else
    kernels::lightning_carry_state(out, in(g, slot), own(g, slot), kept(g, slot), stream_);
  return out;
}

void StateExchange::send(Tensor state, int to) {
  const comm::Message message{to, state};
  comm::Work work = ranks_.exchange({&message, 1}, {});
  sent_.push_back({std::move(state), std::move(work)});
}

void StateExchange::plan_ring() {
  const int last = static_cast<int>(owners_.size()) - 1;
  for (int slot = 0; slot < slots(); ++slot) {
    const int here = place(slot);
    for (int g = 0; g < groups_planned_; ++g) {
      Step step;
      step.group = g;
      step.slot = slot;
      if (here > 0 && owner(here - 1) != ranks_.rank()) {
        step.post = [this, g, slot, here] {
          const comm::Message message{owner(here - 1), in(g, slot)};
          return ranks_.exchange({}, {&message, 1});
        };
      }
      step.then = [this, g, slot, here, last] {
        if (here == last) return;
        Tensor out = carried(g, slot);
        if (owner(here + 1) == ranks_.rank())
          copy(in(g, slot + 1), out, stream_);
        else
          send(std::move(out), owner(here + 1));
      };
      steps_.push_back(std::move(step));
    }
  }
}

/// A way of 2P places is two scans of P, the second of which begins with what the first has summed up.
void StateExchange::plan_scan() {
  for (int slot = 0; slot < slots(); ++slot)
    for (int g = 0; g < groups_planned_; ++g) plan_scan_rounds(slot, g);
}

void StateExchange::plan_scan_rounds(int slot, int g) {
  const int P = ranks_.size();
  const int begin = place(slot) / P * P, index = place(slot) - begin;  // of this scan; in it
  const auto rank_at = [this, begin](int i) { return owner(begin + i); };
  steps_.push_back({g, slot, nullptr, [this, g, slot, index, begin] {
                      Group& x = group(g);
                      const bool enters = index == 0 && begin > 0;  // in(g, slot) is here already
                      x.sums = enters ? carried(g, slot) : Tensor::copy_of(stream_, own(g, slot));
                      x.sums_kept = Tensor::copy_of(stream_, kept(g, slot));
                    }});
  for (int distance = 1; distance < P; distance *= 2) {
    auto arrived = std::make_shared<Group>();
    Step step;
    step.group = g;
    step.slot = slot;
    step.post = [this, g, index, distance, arrived, rank_at, P] {
      Group& x = group(g);
      std::vector<comm::Message> sends, receives;
      if (index + distance < P)
        sends = {{rank_at(index + distance), x.sums}, {rank_at(index + distance), x.sums_kept}};
      if (index >= distance) {
        arrived->sums = Tensor(stream_, x.sums.view().shape, x.sums.view().dtype);
        arrived->sums_kept = Tensor(stream_, x.sums_kept.view().shape, x.sums_kept.view().dtype);
        receives = {{rank_at(index - distance), arrived->sums},
                    {rank_at(index - distance), arrived->sums_kept}};
      }
      return ranks_.exchange(sends, receives);
    };
    step.then = [this, g, index, distance, arrived] {
      if (index < distance) return;
      Group& x = group(g);
      kernels::lightning_carry_state(x.sums, arrived->sums, x.sums, x.sums_kept, stream_);
      kernels::multiply(x.sums_kept, x.sums_kept, arrived->sums_kept, stream_);
      *arrived = {};
    };
    steps_.push_back(std::move(step));
  }
  Step shift;  // what went in before this fragment is what its neighbour has summed up
  shift.group = g;
  shift.slot = slot;
  shift.post = [this, g, slot, index, rank_at, P] {
    std::vector<comm::Message> sends, receives;
    if (index + 1 < P) sends.push_back({rank_at(index + 1), group(g).sums});
    if (index > 0) receives.push_back({rank_at(index - 1), in(g, slot)});
    return ranks_.exchange(sends, receives);
  };
  shift.then = [this, g, slot, index, P] {
    const bool hands_over = index == P - 1 && slot + 1 < slots();  // to the next scan, on this rank
    if (hands_over) copy(in(g, slot + 1), group(g).sums, stream_);
  };
  steps_.push_back(std::move(shift));
}

void StateExchange::start(Tensor own, Tensor kept) {
  Group x;
  x.in = Tensor(stream_, own.view().shape, own.view().dtype);
  x.own = std::move(own);
  x.kept = std::move(kept);
  groups_.push_back(std::move(x));
  advance();
}

bool StateExchange::run_step(bool wait) {
  Step& step = steps_[next_];
  if (step.group >= static_cast<int>(groups_.size())) return false;
  if (!posted_ && step.post) pending_ = step.post();
  posted_ = true;
  if (wait)
    pending_.wait();
  else if (!pending_.test())
    return false;
  step.then();
  posted_ = false;
  ++next_;
  return true;
}

void StateExchange::run(bool wait) {
  while (next_ < steps_.size() && run_step(wait)) {
  }
}

TensorView StateExchange::arrived(int g, int slot) {
  require_all_started();
  const int on_the_way = fragment_slot(slot);  // which is its own inverse
  const auto there = [&] {
    if (next_ == steps_.size()) return true;
    const Step& step = steps_[next_];
    return std::pair(step.slot, step.group) > std::pair(on_the_way, g);
  };
  while (!there()) run_step(/*wait=*/true);
  advance();
  if (place(on_the_way) == 0) return {};
  return groups_[static_cast<std::size_t>(g)].in.view().select(0, slot);
}

void StateExchange::require_all_started() const {
  HALO_REQUIRE(static_cast<int>(groups_.size()) == groups_planned_,
               str(groups_.size(), " of ", groups_planned_, " groups of states were started"));
}

void StateExchange::finish() {
  require_all_started();
  run(/*wait=*/true);
  for (Sent& sent : sent_) sent.work.wait();
  sent_.clear();
}

}  // namespace halo::parallel
