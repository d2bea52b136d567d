#include "launch/health/rank_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace halo::launch {
namespace {

using testing::HasSubstr;
using testing::Not;

comm::Call call(const char* op) {
  comm::Call call;
  call.op = op;
  call.communicator = "data";
  call.bytes = 8;
  return call;
}

TEST(RankStatusTest, PointsTellJobStepAndPhase) {
  RankStatus status(1, 4, nullptr);
  EXPECT_EQ(status.beat().phase(), "starting");
  EXPECT_EQ(status.beat().step(), -1);
  status.on_point({"loading", -1, "align"});
  status.on_point({"step", 5});
  status.on_point({"forward"});
  status.on_point({"collective"});
  const proto::Heartbeat beat = status.beat();
  EXPECT_EQ(beat.rank(), 1);
  EXPECT_EQ(beat.size(), 4);
  EXPECT_EQ(beat.job(), "align");
  EXPECT_EQ(beat.step(), 5);
  EXPECT_EQ(beat.phase(), "forward");
  EXPECT_EQ(beat.points(), 4);
  EXPECT_EQ(beat.saved(), 0);
  status.on_point({"checkpoint_saved"});
  status.on_point({"job_ended"});
  EXPECT_EQ(status.beat().saved(), 2);
  status.on_point({"step_done", 5, {}, 0.5});
  EXPECT_EQ(status.beat().own_seconds(), 0.5);
  status.on_point({"loading", -1, "distill"});
  EXPECT_EQ(status.beat().own_seconds(), -1) << "it says nothing of another job's steps";
  EXPECT_EQ(status.beat().step(), -1) << "another job has not begun its steps";
}

TEST(RankStatusTest, TheFirstFailureCounts) {
  RankStatus status(0, 1, nullptr);
  status.fail("disk full", false);
  status.fail("a peer failed", true);
  EXPECT_EQ(status.beat().failure(), "disk full");
  EXPECT_FALSE(status.beat().peer_failed());
}

TEST(RankStatusTest, CallsAreOfTheFlightRecorder) {
  comm::FlightRecorder recorder;
  const RankStatus status(0, 2, &recorder);
  const std::int64_t first = recorder.begin(call("all_gather"));
  const std::int64_t second = recorder.begin(call("all_reduce"));
  EXPECT_EQ(status.beat().calls(), 2);
  EXPECT_THAT(status.beat().unfinished(), HasSubstr("all_gather data 8 bytes"));
  EXPECT_EQ(status.beat().waits_for(), "") << "it works while they go on";
  recorder.wait_for(second);
  EXPECT_THAT(status.beat().waits_for(), HasSubstr("all_reduce"));
  recorder.finish(first, comm::FlightRecorder::State::kDone);
  recorder.finish(second, comm::FlightRecorder::State::kDone);
  recorder.wait_for(-1);
  EXPECT_EQ(status.beat().unfinished(), "");
  EXPECT_THAT(status.beat().last_calls(), HasSubstr("#1 all_reduce data 8 bytes: done\n"));
  for (int i = 0; i < 100; ++i) std::ignore = recorder.begin(call("barrier"));
  EXPECT_THAT(status.beat().last_calls(), Not(HasSubstr("#93 "))) << "a beat stays short";
}

TEST(RankStatusTest, OneThreadWritesWhileAnotherReads) {
  comm::FlightRecorder recorder;
  RankStatus status(0, 1, &recorder);
  std::atomic<bool> ends = false;
  std::thread reader([&] {
    std::int64_t points = 0;
    while (!ends) {
      const proto::Heartbeat beat = status.beat();
      EXPECT_GE(beat.points(), points);
      points = beat.points();
    }
  });
  for (int step = 0; step < 300; ++step) {
    status.on_point({"step", step, step % 2 == 0 ? "align" : "a job with a much longer name"});
    const std::int64_t number = recorder.begin(call("all_reduce"));
    recorder.wait_for(number);
    recorder.finish(number, comm::FlightRecorder::State::kDone);
    recorder.wait_for(-1);
    status.on_point({"forward"});
  }
  ends = true;
  reader.join();
  EXPECT_EQ(status.beat().points(), 600);
}

}  // namespace
}  // namespace halo::launch
