#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "checkpoints/agreement.h"
#include "parallel/comm/mpi_communicator.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

comm::Communicator* world = nullptr;  // of main(), which GoogleTest gives no other way to its tests

class CheckpointMpiTest : public testing::Test {
 protected:
  CheckpointMpiTest() {
    if (world->rank() == 0) folder_.emplace();
    root_ = gather_texts(*world, folder_ ? folder_->path().string() : "").front();
  }
  ~CheckpointMpiTest() override { world->barrier().wait(); }

  std::optional<test::TemporaryFolder> folder_;  // rank 0's
  std::filesystem::path root_;
};

TEST_F(CheckpointMpiTest, Float32IsReadBackUnderAnyCut) {
  expect_round_trips(root_, DType::kFloat32, *world);
}

TEST_F(CheckpointMpiTest, FailureOfOneRankDropsItEverywhere) {
  expect_failure_of_one_rank_drops_it_everywhere(root_, *world);
}

TEST_F(CheckpointMpiTest, RanksAgreeOnTheLatestGood) {
  expect_ranks_agree_on_the_latest_good(root_, *world);
}

}  // namespace
}  // namespace halo::checkpoints

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  halo::comm::MpiSession session;
  const auto world = session.world();
  halo::checkpoints::world = world.get();
  return RUN_ALL_TESTS();
}
