#include "parallel/state_exchange.h"

#include <memory>
#include <utility>

#include "kernels/gates.h"
#include "kernels/lightning_attention.h"

namespace halo::parallel {

StateExchange::StateExchange(StateWay way, comm::Communicator& ranks, Stream& stream)
    : way_(std::move(way)), ranks_(ranks), stream_(stream) {
  for (int place = 0; place < static_cast<int>(way_.owners.size()); ++place)
    if (owner(place) == ranks.rank()) places_.push_back(place);
  units_.resize(places_.size() * way_.groups.size());
  if (way_.method == ContextStateMethod::kRing)
    plan_ring();
  else
    plan_scan();
}

const TensorView& StateExchange::room(int g, int slot) {
  Tensor& in = unit(g, slot).in;
  if (in.empty()) in = Tensor(stream_, way_.groups[static_cast<std::size_t>(g)], way_.dtype);
  return in;
}

Tensor StateExchange::take_after(int g, int slot) {
  Unit& x = unit(g, slot);
  if (!x.after.empty()) return std::move(x.after);
  if (place(slot) > 0) kernels::lightning_carry_state(x.own, x.in, x.own, x.kept, stream_);
  return std::move(x.own);
}

void StateExchange::send(Tensor state, int to) {
  const comm::Message message{to, state};
  comm::Work work = ranks_.exchange({&message, 1}, {});
  sent_.push_back({std::move(state), std::move(work)});
}

/// Each group is received and sent on. Where the way turns back, all are received first: the neighbour sends all of a
/// slot's states before it receives the next slot's.
void StateExchange::plan_ring() {
  for (int slot = 0; slot < slots(); ++slot) {
    const int here = place(slot);
    const bool turns = here > 0 && !is_last(slot) && owner(here - 1) == owner(here + 1);
    for (int g = 0; g < groups(); ++g) {
      plan_receive(slot, g);
      if (!turns) plan_send(slot, g);
    }
    for (int g = 0; turns && g < groups(); ++g) plan_send(slot, g);
  }
}

void StateExchange::plan_receive(int slot, int g) {
  if (place(slot) == 0) return;
  Step step;
  step.unit = &unit(g, slot);
  step.post = [this, g, slot] {
    const comm::Message message{owner(place(slot) - 1), room(g, slot)};
    return ranks_.exchange({}, {&message, 1});
  };
  step.then = [this, g, slot] { unit(g, slot).arrived = true; };
  steps_.push_back(std::move(step));
}

void StateExchange::plan_send(int slot, int g) {
  if (is_last(slot)) return;
  Step step;
  step.unit = &unit(g, slot);
  step.needs_given = true;
  step.then = [this, g, slot] { send(take_after(g, slot), owner(place(slot) + 1)); };
  steps_.push_back(std::move(step));
}

/// A way of 2P places is two scans of P, the second of which begins with what the first has summed up.
void StateExchange::plan_scan() {
  for (int slot = 0; slot < slots(); ++slot)
    for (int g = 0; g < groups(); ++g) plan_scan_rounds(slot, g);
}

void StateExchange::plan_scan_rounds(int slot, int g) {
  const int P = ranks_.size();
  const int begin = place(slot) / P * P, index = place(slot) - begin;  // of this scan; in it
  const auto rank_at = [this, begin](int i) { return owner(begin + i); };
  const auto add_step = [this, g, slot](std::function<comm::Work()> post,
                                        std::function<void()> then) {
    steps_.push_back({&unit(g, slot), true, std::move(post), std::move(then)});
  };
  add_step(nullptr, [this, g, slot, index, begin] {
    Unit& x = unit(g, slot);
    const bool enters = index == 0 && begin > 0;  // x.in is here already
    x.sums_kept = std::move(x.kept);
    if (enters) kernels::lightning_carry_state(x.own, x.in, x.own, x.sums_kept, stream_);
    x.sums = std::move(x.own);
  });
  for (int distance = 1; distance < P; distance *= 2) {
    auto received = std::make_shared<std::pair<Tensor, Tensor>>();  // sums, and what they keep
    const auto post = [this, g, slot, index, distance, received, rank_at, P] {
      Unit& x = unit(g, slot);
      std::vector<comm::Message> sends, receives;
      if (index + distance < P)
        sends = {{rank_at(index + distance), x.sums}, {rank_at(index + distance), x.sums_kept}};
      if (index >= distance) {
        received->first = Tensor(stream_, x.sums.view().shape, x.sums.view().dtype);
        received->second = Tensor(stream_, x.sums_kept.view().shape, x.sums_kept.view().dtype);
        receives = {{rank_at(index - distance), received->first},
                    {rank_at(index - distance), received->second}};
      }
      return ranks_.exchange(sends, receives);
    };
    add_step(post, [this, g, slot, index, distance, received] {
      if (index < distance) return;
      Unit& x = unit(g, slot);
      kernels::lightning_carry_state(x.sums, received->first, x.sums, x.sums_kept, stream_);
      kernels::multiply(x.sums_kept, x.sums_kept, received->second, stream_);
      *received = {};
    });
  }
  // What went in before this stretch is what its neighbour has summed up.
  const auto shift = [this, g, slot, index, rank_at, P] {
    std::vector<comm::Message> sends, receives;
    if (index + 1 < P) sends.push_back({rank_at(index + 1), unit(g, slot).sums});
    if (index > 0) receives.push_back({rank_at(index - 1), room(g, slot)});
    return ranks_.exchange(sends, receives);
  };
  add_step(shift, [this, g, slot, index, P] {
    unit(g, slot).arrived = true;
    const bool hands_over = index == P - 1 && slot + 1 < slots();  // to the next scan, on this rank
    if (!hands_over) return;
    unit(g, slot + 1).in = std::move(unit(g, slot).sums);
    unit(g, slot + 1).arrived = true;
  });
}

void StateExchange::give_own(int g, int slot, Tensor own, Tensor kept) {
  Unit& x = unit(g, slot);
  x.own = std::move(own);
  x.kept = std::move(kept);
  x.given = true;
  advance();
}

void StateExchange::give_after(int g, int slot, Tensor after) {
  Unit& x = unit(g, slot);
  x.after = std::move(after);
  x.given = true;
  advance();
}

bool StateExchange::run_step(bool wait) {
  Step& step = steps_[next_];
  if (step.needs_given && !step.unit->given) {
    HALO_REQUIRE(!wait, "a state is waited for that goes on only after one not handed over");
    return false;
  }
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
  Unit& x = unit(g, slot);
  if (place(slot) > 0)
    while (!x.arrived) run_step(/*wait=*/true);
  advance();
  return place(slot) > 0 ? x.in.view() : TensorView{};
}

void StateExchange::finish() {
  run(/*wait=*/true);
  for (Sent& sent : sent_) sent.work.wait();
  sent_.clear();
}

}  // namespace halo::parallel
