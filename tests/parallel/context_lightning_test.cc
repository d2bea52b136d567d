#include "parallel/context_lightning.h"

#include <gtest/gtest.h>

#include <map>

#include "parallel/comm/local_communicator.h"
#include "parallel/comm/meta_communicator.h"
#include "tests/parallel/context_case.h"

namespace halo::parallel {
namespace {

struct LightningDims {
  std::int64_t T, B, H, G, K;
};

struct LightningResults {
  Values o, dq, dk, dv;
};

/// One lightning attention, forward and backward, on one rank and cut among several.
class LightningProblem {
 public:
  LightningProblem(const LightningDims& dims, std::vector<std::int32_t> starts)
      : d_(dims),
        q_(random_sequence(d_.T * queries(), "q")),
        k_(random_sequence(d_.T * keys(), "k")),
        v_(random_sequence(d_.T * keys(), "v")),
        d_o_(random_sequence(d_.T * queries(), "do")),
        starts_(std::move(starts)),
        slopes_(kernels::slopes(static_cast<int>(d_.H))) {}

  [[nodiscard]] LightningResults run(int ranks, SequenceCut::Kind kind,
                                     ContextStateMethod method) const {
    const SequenceCut cut(d_.T, ranks, kind);
    LightningResults all{Values(q_.size()), Values(q_.size()), Values(k_.size()),
                         Values(k_.size())};
    comm::run_ranks(ranks, [&](comm::Communicator& world) { run_rank(all, cut, method, world); });
    return all;
  }

 private:
  [[nodiscard]] std::int64_t queries() const { return d_.B * d_.H * d_.K; }
  [[nodiscard]] std::int64_t keys() const { return d_.B * d_.G * d_.K; }

  void run_rank(LightningResults& all, const SequenceCut& cut, ContextStateMethod method,
                comm::Communicator& world) const {
    Stream stream(1);
    const int rank = world.rank();
    const std::int64_t T = cut.tokens_per_rank(), fragments = std::ssize(cut.of_rank(rank));
    const auto part = [&](const auto& whole, std::int64_t row) {
      return local_part(whole, row, cut, rank);
    };
    Values q = part(q_, queries()), k = part(k_, keys()), v = part(v_, keys());
    Values d_o = part(d_o_, queries());
    std::vector<std::int32_t> starts = starts_.empty() ? starts_ : part(starts_, d_.B);
    Values o(q.size(), NAN), dq(q.size(), NAN), dk(k.size(), NAN), dv(k.size(), NAN);
    Values states(static_cast<std::size_t>(fragments * d_.B * d_.H * d_.K * d_.K), NAN);
    const auto Q = [&](Values& x) { return view(x.data(), {T, d_.B, d_.H, d_.K}); };
    const auto KV = [&](Values& x) { return view(x.data(), {T, d_.B, d_.G, d_.K}); };
    const TensorView incoming = view(states.data(), {fragments, d_.B, d_.H, d_.K, d_.K});
    ContextLightningCall call{method, slopes_, 0.3, {}};
    if (!starts.empty()) call.document_start = view(starts.data(), {T, d_.B});
    context_lightning(Q(o), incoming, Q(q), KV(k), KV(v), call, cut, world, stream);
    context_lightning_backward({Q(dq), KV(dk), KV(dv)}, Q(d_o), {Q(q), KV(k), KV(v), incoming},
                               call, cut, world, stream);
    put_back(all.o, o, queries(), cut, rank);
    put_back(all.dq, dq, queries(), cut, rank);
    put_back(all.dk, dk, keys(), cut, rank);
    put_back(all.dv, dv, keys(), cut, rank);
  }

  LightningDims d_;
  Values q_, k_, v_, d_o_;
  std::vector<std::int32_t> starts_;
  std::vector<double> slopes_;
};

void expect_equal(const LightningResults& a, const LightningResults& b) {
  EXPECT_LE(relative_difference(a.o, b.o), 1e-13);
  EXPECT_LE(relative_difference(a.dq, b.dq), 1e-13);
  EXPECT_LE(relative_difference(a.dk, b.dk), 1e-13);
  EXPECT_LE(relative_difference(a.dv, b.dv), 1e-13);
}

class ContextLightningTest
    : public testing::TestWithParam<std::tuple<int, SequenceCut::Kind, ContextStateMethod>> {};

TEST_P(ContextLightningTest, EqualsTheWholeSequence) {
  const auto [ranks, kind, method] = GetParam();
  const std::int64_t fragments = fragment_count(ranks, kind);
  for (const std::int64_t length : {1, 5, 64, 301}) {
    const std::int64_t T = fragments * length;
    SCOPED_TRACE(T);
    for (const auto& [B, H, G] : {std::tuple{1, 2, 2}, {2, 6, 3}, {3, 4, 1}, {1, 20, 20}}) {
      const LightningProblem problem({T, B, H, G, 8}, {});
      expect_equal(problem.run(ranks, kind, method),
                   problem.run(1, SequenceCut::Kind::kContiguous, method));
    }
  }
}

TEST_P(ContextLightningTest, DocumentsBeginInsideAndOnTheCut) {
  const auto [ranks, kind, method] = GetParam();
  const std::int64_t length = 9, T = fragment_count(ranks, kind) * length;
  const std::vector<std::vector<std::int64_t>> documents{
      {length}, {4}, {4, 5, length, 2 * length + 1}, {T - 1}, {1}};
  for (const auto& begins : documents) {
    const LightningProblem problem({T, 2, 4, 2, 8}, document_starts(T, 2, begins));
    expect_equal(problem.run(ranks, kind, method),
                 problem.run(1, SequenceCut::Kind::kContiguous, method));
  }
}

TEST_P(ContextLightningTest, RepeatsItsBits) {
  const auto [ranks, kind, method] = GetParam();
  const LightningProblem problem({fragment_count(ranks, kind) * 70, 1, 8, 8, 8}, {});
  const LightningResults once = problem.run(ranks, kind, method);
  for (int i = 0; i < 3; ++i) {  // whoever is first
    const LightningResults again = problem.run(ranks, kind, method);
    EXPECT_EQ(again.o, once.o);
    EXPECT_EQ(again.dq, once.dq);
    EXPECT_EQ(again.dk, once.dk);
    EXPECT_EQ(again.dv, once.dv);
  }
}

class NoTime : public comm::CallClock {
 public:
  double begin(const comm::Call& /*call*/) override { return 0; }
  [[nodiscard]] double now() const override { return 0; }
  void wait_until(double /*time*/) override {}
};

/// How often a rank of two calls each kernel, forward and backward, with 8 heads in 4 groups.
std::map<std::string, int> kernel_calls(int rank, SequenceCut::Kind kind) {
  std::map<std::string, int> calls;
  Stream stream([&](const KernelWork& work) { ++calls[std::string(work.op)]; });
  NoTime clock;
  comm::MetaCommunicator world("context", rank, 2, clock);
  const SequenceCut cut(1 << 14, 2, kind);
  const std::int64_t T = cut.tokens_per_rank(), H = 8, K = 64;
  const auto fragments = static_cast<std::int64_t>(cut.of_rank(rank).size());
  const Tensor x(stream, {T, 1, H, K}, DType::kFloat32);
  const Tensor incoming(stream, {fragments, 1, H, K, K}, DType::kFloat32);
  const ContextLightningCall call{ContextStateMethod::kRing, kernels::slopes(8), 0.125, {}};
  context_lightning(x, incoming, x, x, x, call, cut, world, stream);
  context_lightning_backward({x, x, x}, x, {x, x, x, incoming}, call, cut, world, stream);
  return calls;
}

TEST(ContextLightningOrderTest, MostHeadsAreWorkedOnOnceWithTheStateThatHasArrived) {
  constexpr auto kZigzag = SequenceCut::Kind::kZigzag, kContiguous = SequenceCut::Kind::kContiguous;
  struct Expected {
    SequenceCut::Kind kind;
    int rank, forward, forward_begun, backward, backward_begun;
  };
  for (const Expected& x : {
           Expected{kContiguous, 0, 4, 0, 2, 2},  // nothing enters the first half
           Expected{kContiguous, 1, 2, 2, 4, 0},  // nor comes back into the second
           Expected{kZigzag, 0, 4 + 1, 3, 4 + 1, 3},
           Expected{kZigzag, 1, 3, 1, 3, 1},  // its two fragments touch
       }) {
    auto calls = kernel_calls(x.rank, x.kind);
    EXPECT_EQ(calls["lightning_attention"], x.forward);
    EXPECT_EQ(calls["lightning_attention_begin"], x.forward_begun);
    EXPECT_EQ(calls["lightning_attention_finish"], x.forward_begun);
    EXPECT_EQ(calls["lightning_attention_backward"], x.backward);
    EXPECT_EQ(calls["lightning_attention_backward_begin"], x.backward_begun);
    EXPECT_EQ(calls["lightning_attention_backward_finish"], x.backward_begun);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cuts, ContextLightningTest,
    testing::Combine(testing::Values(1, 2, 3, 4, 5, 8),
                     testing::Values(SequenceCut::Kind::kContiguous, SequenceCut::Kind::kZigzag),
                     testing::Values(ContextStateMethod::kRing, ContextStateMethod::kScan)));

}  // namespace
}  // namespace halo::parallel
