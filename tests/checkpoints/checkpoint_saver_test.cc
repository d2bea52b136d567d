#include "checkpoints/checkpoint_saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "checkpoints/checkpoint_folder.h"
#include "core/base/file.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// What a step's sum does with the votes.
CheckpointSaver::Votes sum_of_votes(const CheckpointSaver& saver, comm::Communicator& ranks) {
  CheckpointSaver::Votes votes = saver.votes();
  ranks.all_reduce(view(votes.data(), {2}), comm::ReduceOp::kSum).wait();
  return votes;
}

/// Steps that do nothing else, until the checkpoint has ended.
SaveResult train_until_saved(CheckpointSaver& saver, comm::Communicator& ranks) {
  for (;;) {
    if (const auto result = saver.advance(sum_of_votes(saver, ranks))) return *result;
  }
}

class CheckpointSaverTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path root() const { return folder_.path() / "checkpoints"; }
  test::TemporaryFolder folder_;
};

TEST_F(CheckpointSaverTest, WritesTheFilesOfASaveThatTrainingWaitsFor) {
  const std::filesystem::path reference = folder_.path() / "reference";
  for (const int size : {1, 3}) {
    comm::run_ranks(size, [&](comm::Communicator& ranks) {
      Stream stream(1);
      CheckpointSaver saver(root(), {}, ranks);
      EXPECT_FALSE(saver.under_way());
      for (const std::int64_t step : {1, 2, 3}) {
        save_sample(reference, step, DType::kFloat32, Cut::kTwoPieces, ranks,
                    static_cast<int>(step));
        SampleState state(DType::kFloat32, Cut::kTwoPieces, ranks.rank(), size,
                          static_cast<int>(step));
        const auto at_once =
            saver.start(sample_info(step, DType::kFloat32), state.pieces(), stream);
        ASSERT_FALSE(at_once.has_value()) << at_once->reason;
        EXPECT_TRUE(saver.under_way());
        // Training goes on: what is written is the copy.
        for (CheckpointPiece& piece : state.pieces()) {
          for (const TensorView* values : {&piece.master, &piece.m, &piece.v}) {
            if (!values->empty()) std::memset(values->data, 0x55, values->bytes());
          }
        }
        const SaveResult result =
            step == 3 ? saver.wait().value() : train_until_saved(saver, ranks);
        EXPECT_TRUE(result.saved) << result.reason;
        EXPECT_EQ(result.folder, final_folder(root(), step));
        EXPECT_GT(result.stalled, 0);
        EXPECT_GE(result.taken, result.stalled);
        EXPECT_FALSE(saver.under_way());
      }
      EXPECT_FALSE(saver.wait().has_value());
    });
    for (const std::string& step : names_in(reference)) {
      ASSERT_EQ(names_in(root() / step), names_in(reference / step));
      for (const std::string& file : names_in(reference / step))
        EXPECT_EQ(read_file(root() / step / file), read_file(reference / step / file)) << file;
    }
  }
}

TEST_F(CheckpointSaverTest, ItsMemoryIsUsedAgain) {
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    Stream stream(1);
    CheckpointSaver saver(root(), {.keep_last = 1}, ranks);
    std::size_t bytes = 0;
    for (const std::int64_t step : {1, 2, 3, 4}) {
      const SampleState state(DType::kFloat64, Cut::kRows, ranks.rank(), 2);
      std::ignore = saver.start(sample_info(step, DType::kFloat64), state.pieces(), stream);
      EXPECT_TRUE(saver.wait().value().saved);
      if (bytes == 0) bytes = stream.allocator()->peak_bytes();
      EXPECT_EQ(stream.allocator()->peak_bytes(), bytes);
      EXPECT_LE(saver.snapshot_bytes(), static_cast<std::int64_t>(bytes));
    }
    EXPECT_GT(bytes, 0u);
  });
  EXPECT_THAT(names_in(root()), ElementsAre("step_00000004"));
}

TEST_F(CheckpointSaverTest, AFailureOfOneRankDropsItOnAll) {
  comm::run_ranks(3, [&](comm::Communicator& ranks) {
    Stream stream(1);
    save_sample(root(), 1, DType::kFloat32, Cut::kRows, ranks);
    CheckpointSaver saver(root(), {.keep_last = 1}, ranks);
    SampleState state(DType::kFloat32, Cut::kRows, ranks.rank(), 3);
    if (ranks.rank() == 2) state.pieces().front().region.offset[0] += 100;
    for (const bool waits : {false, true}) {
      std::ignore = saver.start(sample_info(2, DType::kFloat32), state.pieces(), stream);
      const SaveResult result = waits ? saver.wait().value() : train_until_saved(saver, ranks);
      EXPECT_FALSE(result.saved);
      EXPECT_THAT(result.reason, HasSubstr("rank 2: the piece "));
      EXPECT_THAT(names_in(root()), ElementsAre("step_00000001"));
      ranks.barrier().wait();
    }
  });
}

/// What all wrote may still not fit together: that shows on rank 0's thread.
TEST_F(CheckpointSaverTest, AHoleIsFoundWhenItIsPublished) {
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    Stream stream(1);
    CheckpointSaver saver(root(), {}, ranks);
    SampleState state(DType::kFloat32, Cut::kRows, ranks.rank(), 2);
    if (ranks.rank() == 1) state.pieces().pop_back(), state.pieces().erase(state.pieces().begin());
    std::ignore = saver.start(sample_info(2, DType::kFloat32), state.pieces(), stream);
    const SaveResult result = train_until_saved(saver, ranks);
    EXPECT_FALSE(result.saved);
    EXPECT_THAT(result.reason, HasSubstr("rank 0: the pieces of all ranks: tensor '"));
    EXPECT_THAT(names_in(root()), IsEmpty());
  });
}

TEST_F(CheckpointSaverTest, AnUnwoundJobPublishesNothing) {
  for (int round = 0; round < 10; ++round) {
    EXPECT_THROW(
        comm::run_ranks(2,
                        [&](comm::Communicator& ranks) {
                          Stream stream(1);
                          CheckpointSaver saver(root(), {}, ranks);
                          const SampleState state(DType::kFloat32, Cut::kRows, ranks.rank(), 2);
                          std::ignore =
                              saver.start(sample_info(2, DType::kFloat32), state.pieces(), stream);
                          if (ranks.rank() == 1) throw Error("this rank fails");
                          std::ignore = saver.wait();
                        }),
        Error);
    EXPECT_THAT(names_in(root()), ElementsAre(".step_00000002.writing"));
  }
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    save_sample(root(), 3, DType::kFloat32, Cut::kRows, ranks);
  });
  EXPECT_THAT(names_in(root()), ElementsAre("step_00000003"));
}

TEST_F(CheckpointSaverTest, OneAtATime) {
  const auto self = comm::make_self_communicator("self");
  Stream stream(1);
  CheckpointSaver saver(root(), {}, *self);
  const SampleState state(DType::kFloat32, Cut::kRows, 0, 1);
  const CheckpointInfo info = sample_info(1, DType::kFloat32);
  std::ignore = saver.start(info, state.pieces(), stream);
  EXPECT_THROW(std::ignore = saver.start(info, state.pieces(), stream), Error);
  EXPECT_THROW(std::ignore = saver.save(info, state.pieces(), stream), Error);
  EXPECT_TRUE(saver.wait().value().saved);
  const SaveResult again = saver.save(info, state.pieces(), stream);
  EXPECT_TRUE(again.saved) << again.reason;
}

TEST_F(CheckpointSaverTest, TheBestSurvivesARestart) {
  const auto self = comm::make_self_communicator("self");
  const SampleState state(DType::kFloat32, Cut::kRows, 0, 1);
  const double losses[] = {3.0, 0.1 + 0.2, 4.0, 5.0};
  for (std::int64_t step = 1; step <= 4; ++step) {  // each by a saver of its own
    CheckpointInfo info = sample_info(step, DType::kFloat32);
    note_validation_loss(info, losses[step - 1]);
    const SaveResult result =
        save_checkpoint(root(), info, state.pieces(), *self, {.keep_last = 1, .keep_best = true});
    EXPECT_TRUE(result.saved) << result.reason;
  }
  EXPECT_THAT(names_in(root()), ElementsAre("step_00000002", "step_00000004"));
  EXPECT_EQ(validation_loss(CheckpointReader(root() / "step_00000002").info()), 0.1 + 0.2);
  EXPECT_EQ(validation_loss(sample_info(1, DType::kFloat32)), std::nullopt);
}

}  // namespace
}  // namespace halo::checkpoints
