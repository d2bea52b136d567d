#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "checkpoints/checkpoint_folder.h"
#include "checkpoints/checkpoint_reader.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

/// No file of this process may grow past `bytes` meanwhile: writes fail as on a full disk, with another reason.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int);
};

class CheckpointFailureTest : public testing::Test {
 protected:
  /// A checkpoint in which rank 1's file alone is large.
  SaveResult save_large(comm::Communicator& ranks) {
    const SampleState state(DType::kFloat32, Cut::kRows, ranks.rank(), ranks.size());
    std::vector<CheckpointPiece> pieces = state.pieces();
    std::vector<float> large(1 << 20, 1.0f);
    if (ranks.rank() == 1) {
      const Shape shape{1 << 10, 1 << 10};
      pieces.push_back({"large", shape, parallel::whole(shape), view(large.data(), shape), {}, {}});
    }
    return save_checkpoint(folder_.path(), sample_info(2, DType::kFloat32), pieces, ranks,
                           {.keep_last = 1});
  }
  /// Until a checkpoint after `step` appears, for 20 s at most.
  void wait_for_newer(std::int64_t step) {
    const std::filesystem::path next = final_folder(folder_.path(), step + 1);
    for (int i = 0; i < 20000 && !std::filesystem::exists(next); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  test::TemporaryFolder folder_;
};

TEST_F(CheckpointFailureTest, AFullDiskOfOneRankDropsTheCheckpointAndKeepsTheOthers) {
  comm::run_ranks(3, [&](comm::Communicator& ranks) {
    save_sample(folder_.path(), 1, DType::kFloat32, Cut::kRows, ranks);
  });
  // One limit that the large file alone does not fit, and one that none does.
  for (const rlim_t limit : {1 << 20, 64}) {
    const FileSizeLimit full(limit);
    comm::run_ranks(3, [&](comm::Communicator& ranks) {
      const SaveResult result = save_large(ranks);
      EXPECT_FALSE(result.saved);
      const std::string culprit = limit > 64 ? "rank 1: cannot write " : "rank 0: cannot ";
      EXPECT_EQ(result.reason.substr(0, culprit.size()), culprit) << result.reason;
      EXPECT_NE(result.reason.find("File too large"), std::string::npos) << result.reason;
      EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"step_00000001"}));
    });
  }
  EXPECT_EQ(latest_good(folder_.path(), nullptr)->info().step, 1);
  comm::run_ranks(3, [&](comm::Communicator& ranks) {
    EXPECT_TRUE(save_large(ranks).saved) << "works again once there is room";
  });
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"step_00000002"}));
}

/// Wherever room ends, within HDF5's own bytes too: the failure costs no open file, and the process ends without the
/// crash that libhdf5 has for those who let it write on a full disk.
TEST_F(CheckpointFailureTest, FailuresAtAnySizeLeaveNothingBehind) {
  const auto open_files = [] { return names_in("/proc/self/fd").size(); };
  const auto self = comm::make_self_communicator("self");
  save_sample(folder_.path(), 1, DType::kFloat64, Cut::kRows, *self);
  const auto whole = static_cast<rlim_t>(
      std::filesystem::file_size(folder_.path() / "step_00000001" / "rank_00000.h5"));
  const std::size_t before = open_files();
  const SampleState state(DType::kFloat64, Cut::kRows, 0, 1);
  for (rlim_t limit = 0; limit < whole; limit += 1499) {
    const FileSizeLimit full(limit);
    const SaveResult result =
        save_checkpoint(folder_.path(), sample_info(2, DType::kFloat64), state.pieces(), *self);
    EXPECT_FALSE(result.saved);
    EXPECT_NE(result.reason.find("File too large"), std::string::npos) << result.reason;
    EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"step_00000001"}));
  }
  EXPECT_EQ(open_files(), before);
}

/// Killed at any moment, a run leaves the last good checkpoint readable.
TEST_F(CheckpointFailureTest, AKilledProcessLeavesAGoodCheckpoint) {
  const auto self = comm::make_self_communicator("self");
  const auto begin = std::chrono::steady_clock::now();
  save_sample(folder_.path(), 1, DType::kFloat32, Cut::kRows, *self, 1);
  const auto one_save = std::chrono::steady_clock::now() - begin;
  std::int64_t newest = 1;
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // The same step every other time, so that replacing is interrupted too.
      for (std::int64_t i = 2 * newest;; ++i) {
        const SampleState state(DType::kFloat32, Cut::kRows, 0, 1, static_cast<int>(i / 2));
        const SaveResult result =
            save_checkpoint(folder_.path(), sample_info(i / 2, DType::kFloat32), state.pieces(),
                            *self, {.keep_last = 2});
        if (!result.saved) ::_exit(1);
      }
    }
    if (round % 3 == 2) wait_for_newer(newest);  // on a busy machine too, some rounds get far
    std::this_thread::sleep_for(one_save * (round + 1) * 3 /
                                10);  // up to 4.5 saves, at odd moments
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child could not save";
    std::string warning;
    const auto reader =
        latest_good(folder_.path(), [&](const std::string& text) { warning = text; });
    ASSERT_NE(reader, nullptr);
    EXPECT_EQ(warning, "") << "a checkpoint with a plain name was not whole";
    EXPECT_GE(reader->info().step, newest);
    newest = reader->info().step;
    SampleState(DType::kFloat32, Cut::kRows, 0, 1, static_cast<int>(newest)).expect_equal(*reader);
  }
  EXPECT_GE(newest, 6) << "no child came to save";
}

}  // namespace
}  // namespace halo::checkpoints
