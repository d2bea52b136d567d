#include "parallel/context_lightning.h"

#include <gtest/gtest.h>

#include "parallel/comm/local_communicator.h"
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

INSTANTIATE_TEST_SUITE_P(
    Cuts, ContextLightningTest,
    testing::Combine(testing::Values(1, 2, 3, 4, 5, 8),
                     testing::Values(SequenceCut::Kind::kContiguous, SequenceCut::Kind::kZigzag),
                     testing::Values(ContextStateMethod::kRing, ContextStateMethod::kScan)));

}  // namespace
}  // namespace halo::parallel
