#include "launch/bench/context_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/train/trace.h"
#include "kernels/lightning_attention.h"
#include "launch/bench/median.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/context_lightning.h"

namespace halo::launch {
namespace {

using parallel::SequenceCut;

Tensor random_tensor(Stream& stream, const Shape& shape, const char* name) {
  Tensor tensor(stream, shape, DType::kFloat32);
  const CounterRng rng(1, name);
  auto* to = tensor.view().as<float>();
  for (std::int64_t i = 0; i < tensor.view().size(); ++i)
    to[i] = static_cast<float>(rng.normal(static_cast<std::uint64_t>(i)));
  return tensor;
}

SequenceCut::Kind cut_of(const ContextBenchOptions& o) {
  return o.contiguous ? SequenceCut::Kind::kContiguous : SequenceCut::Kind::kZigzag;
}

/// One rank's operands of a sequence, and its passes.
class Rank {
 public:
  Rank(const ContextBenchOptions& o, comm::Communicator& ranks)
      : ranks_(ranks), cut_(o.T, ranks.size(), cut_of(o)) {
    const std::int64_t T = cut_.tokens_per_rank();
    const Shape queries{T, 1, o.H, o.K}, keys{T, 1, o.G, o.K};
    q_ = random_tensor(stream_, queries, "q");
    k_ = random_tensor(stream_, keys, "k");
    v_ = random_tensor(stream_, keys, "v");
    d_o_ = random_tensor(stream_, queries, "d_o");
    for (Tensor* t : {&o_, &dq_}) *t = Tensor(stream_, queries, DType::kFloat32);
    for (Tensor* t : {&dk_, &dv_}) *t = Tensor(stream_, keys, DType::kFloat32);
    const auto fragments = static_cast<std::int64_t>(cut_.of_rank(ranks.rank()).size());
    incoming_ = Tensor(stream_, {fragments, 1, o.H, o.K, o.K}, DType::kFloat32);
    call_.method =
        o.scan ? parallel::ContextStateMethod::kScan : parallel::ContextStateMethod::kRing;
    call_.slopes = kernels::slopes(static_cast<int>(o.H));
    call_.scale = 1 / std::sqrt(static_cast<double>(o.K));
  }

  /// A forward and a backward pass.
  void together() {
    parallel::context_lightning(o_, incoming_, q_, k_, v_, call_, cut_, ranks_, stream_);
    parallel::context_lightning_backward({dq_, dk_, dv_}, d_o_, {q_, k_, v_, incoming_}, call_,
                                         cut_, ranks_, stream_);
  }
  /// The same of each fragment, as if it were a sequence.
  void apart() {
    const kernels::LightningOptions options{call_.slopes, call_.scale, {}};
    for (const parallel::Fragment& fragment : cut_.of_rank(ranks_.rank())) {
      const auto of = [&](const Tensor& x) {
        return x.view().slice(0, fragment.local_begin, fragment.local_end());
      };
      kernels::lightning_attention(of(o_), {}, of(q_), of(k_), of(v_), {}, options, stream_);
    }
    for (const parallel::Fragment& fragment : cut_.of_rank(ranks_.rank())) {
      const auto of = [&](const Tensor& x) {
        return x.view().slice(0, fragment.local_begin, fragment.local_end());
      };
      kernels::lightning_attention_backward({of(dq_), of(dk_), of(dv_), {}}, of(d_o_), {},
                                            {of(q_), of(k_), of(v_), {}}, options, stream_);
    }
  }

 private:
  comm::Communicator& ranks_;
  SequenceCut cut_;
  Stream stream_{1};
  parallel::ContextLightningCall call_;
  Tensor q_, k_, v_, d_o_, o_, dq_, dk_, dv_, incoming_;
};

/// Seconds of `work` on the slowest rank; all begin together.
template <class Work>
double slowest(comm::Communicator& world, const Work& work) {
  world.barrier().wait();
  const double begin = steady_seconds();
  work();
  double seconds = steady_seconds() - begin;
  world.all_reduce(view(&seconds, {1}), comm::ReduceOp::kMax).wait();
  return seconds;
}

}  // namespace

ContextMeasurement measure_context(const ContextBenchOptions& options) {
  std::vector<double> one, all, apart, ratio, apart_ratio, share;
  ContextMeasurement m;
  m.ranks = options.ranks;
  comm::run_ranks(options.ranks, [&](comm::Communicator& world) {
    const bool first = world.rank() == 0;
    const auto self = comm::make_self_communicator("context");
    std::unique_ptr<Rank> whole;
    if (first) whole = std::make_unique<Rank>(options, *self);
    Rank part(options, world);
    train::Trace trace;
    for (int turn = -1; turn < options.turns; ++turn) {  // the first to warm up
      const double alone = slowest(world, [&] {
        if (first) whole->together();
      });
      world.observe(&trace);
      const double together = slowest(world, [&] { part.together(); });
      world.observe(nullptr);
      const double by_itself = slowest(world, [&] { part.apart(); });
      const train::AxisTraffic traffic = trace.take_traffic()["world"];  // of this turn alone
      if (!first || turn < 0) continue;
      one.push_back(alone);
      all.push_back(together);
      apart.push_back(by_itself);
      ratio.push_back(together * options.ranks / alone);
      apart_ratio.push_back(by_itself * options.ranks / alone);
      share.push_back(traffic.waited / together);
      m.bytes = traffic.bytes;
    }
  });
  m.one_ms = 1e3 * median(one);
  m.all_ms = 1e3 * median(all);
  m.ratio = median(ratio);
  m.apart_ratio = median(apart_ratio);
  m.best_ratio = std::ranges::min(all) * options.ranks / std::ranges::min(one);
  m.best_apart_ratio = std::ranges::min(apart) * options.ranks / std::ranges::min(one);
  m.wait_share = median(share);
  return m;
}

}  // namespace halo::launch
