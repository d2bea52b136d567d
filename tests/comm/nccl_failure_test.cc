// How ranks between which NCCL carries data learn of a failure.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/clock.h"
#include "tests/comm/nccl_fixture.h"

namespace halo::comm {
namespace {

using std::chrono::milliseconds;

class NcclFailureTest : public NcclTest {};

/// What the host's wait for the stream throws.
PeerFailed failure_of_wait(Stream& gpu) {
  try {
    gpu.synchronize();
  } catch (const PeerFailed& failure) {
    return failure;
  }
  return {-2, "nothing was thrown"};
}

bool fails_within(milliseconds time, const std::function<void()>& poll) {
  const double end = steady_seconds() + static_cast<double>(time.count()) * 1e-3;
  try {
    for (; steady_seconds() < end; std::this_thread::sleep_for(milliseconds(1))) poll();
  } catch (const PeerFailed&) {
    return true;
  }
  return false;
}

/// A rank that never comes to the call, and then says why.
TEST_F(NcclFailureTest, AnAbortEndsTheDevicesWait) {
  if (size() == 1) GTEST_SKIP() << "one rank";
  const auto child = nccl().split(0, rank(), "child");
  const Tensor x = up(std::vector<float>(1 << 20, 1.0f));
  child->all_reduce(x, ReduceOp::kSum).wait();  // the link is there
  gpu().synchronize();
  const int culprit = size() - 1;
  if (rank() == culprit) {
    std::this_thread::sleep_for(milliseconds(300));
    child->abort("the reason");
  } else {
    child->all_reduce(x, ReduceOp::kSum).wait();
    const PeerFailed failure = failure_of_wait(gpu());
    EXPECT_EQ(failure.rank, culprit);
    EXPECT_NE(std::string(failure.what()).find("the reason"), std::string::npos) << failure.what();
  }
  EXPECT_THROW(static_cast<void>(child->all_reduce(x, ReduceOp::kSum)), PeerFailed);
  // The one that it was split from goes on, on the same stream.
  const Tensor y = up(std::vector<float>(1000, 1.0f));
  nccl().all_reduce(y, ReduceOp::kSum).wait();
  EXPECT_EQ(down<float>(y), std::vector<float>(1000, static_cast<float>(size())));
}

TEST_F(NcclFailureTest, ALostRankIsNoticedByTheDeadline) {
  if (size() == 1) GTEST_SKIP() << "one rank";
  make(milliseconds(700));
  const Tensor x = up(std::vector<float>(1 << 20, 1.0f));
  nccl().all_reduce(x, ReduceOp::kSum).wait();
  gpu().synchronize();
  if (rank() > 0) {
    nccl().all_reduce(x, ReduceOp::kSum).wait();
    const PeerFailed failure = failure_of_wait(gpu());
    EXPECT_NE(std::string(failure.what()).find("all_reduce world 4194304 bytes"), std::string::npos)
        << failure.what();
  } else {
    EXPECT_TRUE(fails_within(milliseconds(10000), [&] { nccl().check(); }));  // its peers say so
  }
  nccl_.reset();
  test_session().world()->barrier().wait();
}

TEST_F(NcclFailureTest, AnUnwindingRankWithdrawsItsCalls) {
  if (size() == 1) GTEST_SKIP() << "one rank";
  const auto child = nccl().split(0, rank(), "child");
  const Tensor x = up(std::vector<float>(1 << 20, 1.0f));
  child->all_reduce(x, ReduceOp::kSum).wait();
  gpu().synchronize();
  if (rank() == 0) {
    try {
      const Work work = child->all_reduce(x, ReduceOp::kSum);
      throw Error("something else went wrong");
    } catch (const Error&) {
    }
    gpu().synchronize();
    EXPECT_NE(child->recent_calls().find("all_reduce child 4194304 bytes: failed"),
              std::string::npos);
    EXPECT_THROW(static_cast<void>(child->all_reduce(x, ReduceOp::kSum)), PeerFailed);
  }
  nccl().barrier().wait();
}

}  // namespace
}  // namespace halo::comm
