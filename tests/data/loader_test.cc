#include "data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "data/batch_views.h"
#include "tests/data/complaint.h"

namespace halo::data {
namespace {

constexpr std::int64_t kLength = 5;

std::shared_ptr<const TokenSource> counting_tokens(std::int64_t n) {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> documents;
  for (std::int64_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<std::int32_t>(i));
    if (i % 7 == 0) documents.push_back(i);
  }
  documents.push_back(n);
  return std::make_shared<MemoryTokens>(tokens, documents, n);
}

BatchReader make_reader(const BatchPlan& plan, bool shuffle = true, std::int64_t first_sample = 0,
                        bool masks = false, std::int64_t tokens = 1000) {
  const Sampler sampler(std::vector{tokens}, {kLength, shuffle, 9, {}});
  return {{counting_tokens(tokens)}, sampler, {plan, first_sample, masks}};
}

std::vector<std::int32_t> lane_of(const MicroBatch& batch, std::int64_t lane) {
  std::vector<std::int32_t> out;
  for (std::int64_t t = 0; t < batch.T; ++t) {
    out.push_back(batch.tokens[static_cast<std::size_t>(t * batch.B + lane)]);
  }
  return out;
}

/// The step's global batch: sequences by slot, from the lanes of all ranks.
std::map<std::int64_t, std::vector<std::int32_t>> global_batch(std::int64_t step,
                                                               std::int64_t sequences,
                                                               std::int64_t micro, int ranks) {
  std::map<std::int64_t, std::vector<std::int32_t>> slots;
  std::size_t micro_batches = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const BatchPlan plan{sequences, micro, rank, ranks, kLength};
    const auto batches = make_reader(plan).read_step(step);
    if (rank == 0) micro_batches = batches.size();
    EXPECT_EQ(batches.size(), micro_batches);  // every rank makes the same number of passes
    for (const MicroBatch& batch : batches) {
      EXPECT_EQ(batch.step, step);
      EXPECT_LE(batch.B, micro);
      EXPECT_EQ(std::ssize(batch.tokens), batch.T * batch.B);
      for (std::int64_t lane = 0; lane < batch.B; ++lane) {
        const bool is_new =
            slots.emplace(plan.first_slot(batch.index) + lane, lane_of(batch, lane)).second;
        EXPECT_TRUE(is_new);
      }
    }
  }
  return slots;
}

TEST(LoaderTest, EverySplitGivesTheSameGlobalBatch) {
  for (const std::int64_t step : {0, 1, 29}) {
    for (const std::int64_t sequences : {1, 6, 7}) {
      const auto expected = global_batch(step, sequences, sequences, 1);
      ASSERT_EQ(std::ssize(expected), sequences);
      for (const int ranks : {1, 2, 3, 4, 9}) {
        for (const std::int64_t micro : {1, 2, 3, 8}) {
          EXPECT_EQ(global_batch(step, sequences, micro, ranks), expected)
              << sequences << " sequences, " << micro << " a pass, " << ranks << " ranks";
        }
      }
    }
  }
}

TEST(LoaderTest, WithoutShufflingStepsReadOn) {
  const BatchReader reader = make_reader({2, 2, 0, 1, kLength}, false, 3);
  const MicroBatch batch = reader.read_step(1).at(0);  // samples 3 + 2 and 3 + 3
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{25, 30, 26, 31, 27, 32, 28, 33, 29, 34}));
  EXPECT_TRUE(batch.document_start.empty());
}

TEST(LoaderTest, DocumentStartsCountFromTheSequence) {
  const BatchReader reader = make_reader({2, 2, 0, 1, kLength}, false, 0, true);
  // Tokens 0-4 lie in the document at 0; of 5-9 the last three in the one that begins at 7.
  const MicroBatch batch = reader.read_step(0).at(0);
  EXPECT_EQ(batch.document_start, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 2, 0, 2, 0, 2}));
  EXPECT_EQ(next_token_labels(batch), (std::vector<std::int32_t>{1, 6, 2, -1, 3, 8, 4, 9, -1, -1}));
  const MicroBatch plain = make_reader({2, 2, 0, 1, kLength}, false).read_step(0).at(0);
  EXPECT_EQ(next_token_labels(plain), (std::vector<std::int32_t>{1, 6, 2, 7, 3, 8, 4, 9, -1, -1}));
}

TEST(LoaderTest, GivesTheStepsInOrderAndResumesAtAny) {
  const BatchPlan plan{6, 2, 1, 2, kLength};
  const BatchReader reader = make_reader(plan);
  for (const std::int64_t first : {0, 4, 19}) {
    for (const int ahead : {1, 3}) {
      Loader loader(make_reader(plan), first, 20, ahead);
      for (std::int64_t step = first; step < 20; ++step) {
        const auto batches = loader.next();
        const auto expected = reader.read_step(step);
        ASSERT_EQ(batches.size(), expected.size());
        for (std::size_t i = 0; i < batches.size(); ++i) {
          EXPECT_EQ(batches[i].tokens, expected[i].tokens);
          EXPECT_EQ(batches[i].step, step);
          EXPECT_EQ(batches[i].index, static_cast<int>(i));
        }
      }
      EXPECT_THROW((void)loader.next(), Error);
    }
  }
}

TEST(LoaderTest, EndsEarlyWithoutWaiting) {
  for (int i = 0; i < 20; ++i) {
    Loader loader(make_reader({6, 2, 0, 1, kLength}), 0, 1'000'000, 2);
    if (i % 2 == 0) (void)loader.next();
  }
}

TEST(LoaderTest, SaysWhenTokensRepeat) {
  Loader loader(make_reader({3, 3, 0, 1, kLength}, false, 0, false, 40), 0, 10);  // 8 samples
  for (int step = 0; step < 2; ++step) {
    (void)loader.next();
    EXPECT_FALSE(loader.repeated());
  }
  (void)loader.next();  // samples 6, 7 and 0
  EXPECT_TRUE(loader.repeated());
}

/// Counts how far ahead it is read, and fails at one place.
class Watched final : public TokenSource {
 public:
  explicit Watched(std::int64_t fails_at) : fails_at_(fails_at) {}
  [[nodiscard]] std::string name() const override { return "watched"; }
  [[nodiscard]] std::int64_t tokens() const override { return 10000; }
  [[nodiscard]] std::int64_t vocab_size() const override { return 10; }
  void read(std::int64_t begin, std::span<std::int32_t> to) const override {
    HALO_REQUIRE_INPUT(begin != fails_at_, str("watched: token ", begin, " is id 11"));
    std::fill(to.begin(), to.end(), 1);
    ++reads;
  }
  [[nodiscard]] std::vector<std::int64_t> document_starts(std::int64_t,
                                                          std::int64_t) const override {
    return {};
  }
  mutable std::atomic<int> reads = 0;

 private:
  std::int64_t fails_at_;
};

TEST(LoaderTest, ErrorsArriveAtTheirStep) {
  const auto source = std::make_shared<Watched>(3 * kLength);
  const Sampler sampler(std::vector<std::int64_t>{10000}, {kLength, false, 0, {}});
  Loader loader(BatchReader({source}, sampler, {{1, 1, 0, 1, kLength}, 0, false}), 0, 10);
  for (int step = 0; step < 3; ++step) EXPECT_EQ(loader.next().size(), 1u);
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(complaint([&] { (void)loader.next(); }), "watched: token 15 is id 11");
  }
}

TEST(LoaderTest, ReadsNoFurtherAheadThanAsked) {
  const auto source = std::make_shared<Watched>(-1);
  const Sampler sampler(std::vector<std::int64_t>{10000}, {kLength, false, 0, {}});
  Loader loader(BatchReader({source}, sampler, {{1, 1, 0, 1, kLength}, 0, false}), 0, 1000, 3);
  (void)loader.next();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(source->reads, 1 + 3);
}

TEST(LoaderTest, RefusesWhatCannotBe) {
  EXPECT_NE(complaint([] { (void)make_reader({0, 1, 0, 1, kLength}); }), "no complaint");
  EXPECT_NE(complaint([] { (void)make_reader({1, 0, 0, 1, kLength}); }), "no complaint");
  EXPECT_TRUE(holds(complaint([] {
                      (void)make_reader({1, 1, 0, 1, 6});
                    }),
                    "samples of 5 tokens for sequences of 6"));
  EXPECT_THROW((void)make_reader({1, 1, 2, 2, kLength}), Error);
}

}  // namespace
}  // namespace halo::data
