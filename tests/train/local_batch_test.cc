#include "core/train/local_batch.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>

#include "parallel/comm/local_communicator.h"

namespace halo::train {
namespace {

/// (T, B) tokens 100 t + b, in documents that begin at multiples of 7 + b.
data::MicroBatch make_batch(std::int64_t T, std::int64_t B, bool documents) {
  data::MicroBatch batch;
  batch.T = T;
  batch.B = B;
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t b = 0; b < B; ++b) {
      batch.tokens.push_back(static_cast<std::int32_t>(100 * t + b));
      if (documents)
        batch.document_start.push_back(static_cast<std::int32_t>(t / (7 + b) * (7 + b)));
    }
  }
  return batch;
}

/// Every token of the batch is on one rank, in its place, with its label; what is beyond counts nowhere.
void check(std::int64_t T, std::int64_t B, int ranks, bool documents) {
  const data::MicroBatch batch = make_batch(T, B, documents);
  const std::vector<std::int32_t> labels = data::next_token_labels(batch);
  std::mutex mutex;
  std::set<std::int64_t> seen;
  comm::run_ranks(ranks, [&](comm::Communicator& world) {
    const auto self = comm::make_self_communicator("tensor");
    const model::ModelAxes axes{parallel::TensorAxis(*self), &world};
    Stream stream(1);
    BatchCutter cutter(axes, stream);
    const LocalBatch& local = cutter(batch);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(local.cut->tokens(), padded_tokens(T, axes));
    EXPECT_EQ(local.ids.view().size(), local.T * B);
    EXPECT_EQ(local.labels.view().size(), local.T * B);
    EXPECT_EQ(local.document_start.empty(), !documents);
    EXPECT_EQ(local.counted.empty(), local.cut->tokens() == T);
    const auto* ids = local.ids.view().as<std::int32_t>();
    const auto* own_labels = local.labels.view().as<std::int32_t>();
    for (const parallel::Fragment& f : local.cut->of_rank(world.rank())) {
      for (std::int64_t t = f.begin; t < f.end; ++t) {
        for (std::int64_t b = 0; b < B; ++b) {
          const auto here = static_cast<std::size_t>((f.local_begin + t - f.begin) * B + b);
          const bool real = t < T;
          if (!local.counted.empty()) {
            EXPECT_EQ(local.counted.view().as<std::uint8_t>()[here], real ? 1 : 0);
          }
          if (documents) {
            EXPECT_EQ(local.document_start.view().as<std::int32_t>()[here],
                      real ? batch.document_start[static_cast<std::size_t>(t * B + b)] : T);
          }
          if (!real) {
            EXPECT_EQ(own_labels[here], -1);
            continue;
          }
          const auto whole = static_cast<std::size_t>(t * B + b);
          EXPECT_EQ(ids[here], batch.tokens[whole]);
          EXPECT_EQ(own_labels[here], labels[whole]);
          EXPECT_TRUE(seen.insert(t * B + b).second);
        }
      }
    }
  });
  EXPECT_EQ(std::ssize(seen), T * B);
}

TEST(LocalBatchTest, EveryTokenIsOnOneRank) {
  for (const int ranks : {1, 2, 3, 4, 5}) {
    for (const std::int64_t T : {1, 8, 31, 75}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, " << T << " tokens");
      check(T, 2, ranks, false);
      check(T, 3, ranks, true);
    }
  }
}

}  // namespace
}  // namespace halo::train
