#include "launch/bench/context_bench.h"

#include <algorithm>
#include <vector>

#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/train/trace.h"
#include "kernels/lightning_attention.h"
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

/// One rank's operands of a sequence, and its passes.
class Rank {
 public:
  Rank(const ContextBenchOptions& o, comm::Communicator& ranks)
      : ranks_(ranks), cut_(o.T, ranks.size(), SequenceCut::Kind::kZigzag) {
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
    call_.scale = 0.125;
  }

  /// Seconds of a forward and a backward pass.
  double run() {
    ranks_.barrier().wait();
    const double begin = steady_seconds();
    parallel::context_lightning(o_, incoming_, q_, k_, v_, call_, cut_, ranks_, stream_);
    parallel::context_lightning_backward({dq_, dk_, dv_}, d_o_, {q_, k_, v_, incoming_}, call_,
                                         cut_, ranks_, stream_);
    return steady_seconds() - begin;
  }

 private:
  comm::Communicator& ranks_;
  SequenceCut cut_;
  Stream stream_{1};
  parallel::ContextLightningCall call_;
  Tensor q_, k_, v_, d_o_, o_, dq_, dk_, dv_, incoming_;
};

struct Turn {
  double seconds = 0, waited = 0, bytes = 0;
};

/// Of the slowest rank; waiting and bytes of rank 0.
Turn run_split(const ContextBenchOptions& options) {
  Turn turn;
  comm::run_ranks(options.ranks, [&](comm::Communicator& world) {
    Rank rank(options, world);
    rank.run();  // warm
    train::Trace trace;
    world.observe(&trace);
    double seconds = rank.run();
    world.observe(nullptr);
    world.all_reduce(view(&seconds, {1}), comm::ReduceOp::kMax).wait();
    if (world.rank() != 0) return;
    const train::AxisTraffic traffic = trace.take_traffic()["world"];
    turn = {seconds, traffic.waited, traffic.bytes};
  });
  return turn;
}

double run_whole(const ContextBenchOptions& options) {
  const auto self = comm::make_self_communicator("context");
  Rank rank(options, *self);
  rank.run();
  return rank.run();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

ContextMeasurement measure_context(const ContextBenchOptions& options) {
  std::vector<double> one, all, share;
  ContextMeasurement m;
  m.ranks = options.ranks;
  for (int i = 0; i < options.turns; ++i) {
    one.push_back(run_whole(options));
    const Turn turn = run_split(options);
    all.push_back(turn.seconds);
    share.push_back(turn.waited / turn.seconds);
    m.bytes = turn.bytes;
  }
  m.one_ms = 1e3 * median(one);
  m.all_ms = 1e3 * median(all);
  m.wait_share = median(share);
  return m;
}

}  // namespace halo::launch
