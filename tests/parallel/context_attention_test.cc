#include "parallel/context_attention.h"

#include <gtest/gtest.h>

#include "parallel/comm/local_communicator.h"
#include "tests/parallel/context_case.h"

namespace halo::parallel {
namespace {

struct Dims {
  std::int64_t T, B, H, G, K;
};

struct Results {
  Values o, lse, dq, dk, dv;
};

/// One attention, forward and backward, on one rank and cut among several.
class Problem {
 public:
  Problem(const Dims& dims, std::vector<std::int32_t> first_key)
      : d_(dims),
        q_(random_sequence(d_.T * queries(), "q")),
        k_(random_sequence(d_.T * keys(), "k")),
        v_(random_sequence(d_.T * keys(), "v")),
        d_o_(random_sequence(d_.T * queries(), "do")),
        first_key_(std::move(first_key)) {}

  [[nodiscard]] Results run(int ranks, SequenceCut::Kind kind,
                            ContextAttentionMethod method) const {
    const SequenceCut cut(d_.T, ranks, kind);
    Results all{Values(q_.size()), Values(static_cast<std::size_t>(d_.T * d_.B * d_.H)),
                Values(q_.size()), Values(k_.size()), Values(k_.size())};
    comm::run_ranks(ranks, [&](comm::Communicator& world) { run_rank(all, cut, method, world); });
    return all;
  }

 private:
  [[nodiscard]] std::int64_t queries() const { return d_.B * d_.H * d_.K; }
  [[nodiscard]] std::int64_t keys() const { return d_.B * d_.G * d_.K; }

  void run_rank(Results& all, const SequenceCut& cut, ContextAttentionMethod method,
                comm::Communicator& world) const {
    Stream stream(1);
    const int rank = world.rank();
    const std::int64_t T = cut.tokens_per_rank();
    const auto part = [&](const auto& whole, std::int64_t row) {
      return local_part(whole, row, cut, rank);
    };
    Values q = part(q_, queries()), k = part(k_, keys()), v = part(v_, keys());
    Values d_o = part(d_o_, queries());
    std::vector<std::int32_t> first = first_key_.empty() ? first_key_ : part(first_key_, d_.B);
    Values o(q.size(), NAN), lse(static_cast<std::size_t>(T * d_.B * d_.H), NAN);
    Values dq(q.size(), NAN), dk(k.size(), NAN), dv(k.size(), NAN);
    const auto Q = [&](Values& x) { return view(x.data(), {T, d_.B, d_.H, d_.K}); };
    const auto KV = [&](Values& x) { return view(x.data(), {T, d_.B, d_.G, d_.K}); };
    const TensorView statistics = view(lse.data(), {T, d_.B, d_.H});
    ContextAttentionCall call{method, 0.3, {}};
    if (!first.empty()) call.first_key = view(first.data(), {T, d_.B});
    context_attention(Q(o), statistics, Q(q), KV(k), KV(v), call, cut, world, stream);
    context_attention_backward({Q(dq), KV(dk), KV(dv)}, Q(d_o),
                               {Q(q), KV(k), KV(v), Q(o), statistics}, call, cut, world, stream);
    put_back(all.o, o, queries(), cut, rank);
    put_back(all.lse, lse, d_.B * d_.H, cut, rank);
    put_back(all.dq, dq, queries(), cut, rank);
    put_back(all.dk, dk, keys(), cut, rank);
    put_back(all.dv, dv, keys(), cut, rank);
  }

  Dims d_;
  Values q_, k_, v_, d_o_;
  std::vector<std::int32_t> first_key_;
};

void expect_equal(const Results& a, const Results& b) {
  EXPECT_LE(relative_difference(a.o, b.o), 1e-13);
  EXPECT_LE(relative_difference(a.lse, b.lse), 1e-13);
  EXPECT_LE(relative_difference(a.dq, b.dq), 1e-13);
  EXPECT_LE(relative_difference(a.dk, b.dk), 1e-13);
  EXPECT_LE(relative_difference(a.dv, b.dv), 1e-13);
}

class ContextAttentionTest
    : public testing::TestWithParam<std::tuple<int, SequenceCut::Kind, ContextAttentionMethod>> {};

TEST_P(ContextAttentionTest, EqualsTheWholeSequence) {
  const auto [ranks, kind, method] = GetParam();
  const std::int64_t fragments = fragment_count(ranks, kind);
  for (const std::int64_t length : {1, 5, 70}) {
    const std::int64_t T = fragments * length;
    SCOPED_TRACE(T);
    for (const auto& [B, H, G] : {std::tuple{1, 2, 2}, {2, 6, 3}, {3, 4, 1}}) {
      const Problem problem({T, B, H, G, 8}, {});
      expect_equal(problem.run(ranks, kind, method),
                   problem.run(1, SequenceCut::Kind::kContiguous, method));
    }
  }
}

TEST_P(ContextAttentionTest, DocumentMasksInsideAndOnTheCut) {
  const auto [ranks, kind, method] = GetParam();
  const std::int64_t length = 9, T = fragment_count(ranks, kind) * length;
  const std::vector<std::vector<std::int64_t>> documents{
      {length}, {4}, {4, 5, length, 2 * length + 1}, {T - 1}, {1}};
  for (const auto& begins : documents) {
    const Problem problem({T, 2, 4, 2, 8}, document_starts(T, 2, begins));
    expect_equal(problem.run(ranks, kind, method),
                 problem.run(1, SequenceCut::Kind::kContiguous, method));
  }
}

INSTANTIATE_TEST_SUITE_P(Cuts, ContextAttentionTest,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5),
                                          testing::Values(SequenceCut::Kind::kContiguous,
                                                          SequenceCut::Kind::kZigzag),
                                          testing::Values(ContextAttentionMethod::kRing,
                                                          ContextAttentionMethod::kAllGather)));

}  // namespace
}  // namespace halo::parallel
