#include "parallel/comm/flight_recorder.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace halo::comm {
namespace {

Call call(std::string_view op, const char* communicator, std::size_t bytes,
          const CallContext& context = {}) {
  Call call;
  call.op = op;
  call.communicator = communicator;
  call.bytes = bytes;
  call.context = context;
  return call;
}

TEST(FlightRecorderTest, NamesCallsAndTheirStates) {
  FlightRecorder recorder;
  const auto one = recorder.begin(call("all_gather", "data", 64, {7, -1}));
  const auto two = recorder.begin(call("exchange", "pipeline", 8, {7, 2}));
  recorder.begin(call("barrier", "world", 0));
  recorder.finish(one, FlightRecorder::State::kDone);
  recorder.finish(two, FlightRecorder::State::kFailed);
  EXPECT_EQ(recorder.text(),
            "#0 all_gather data 64 bytes step 7: done\n"
            "#1 exchange pipeline 8 bytes step 7 micro-batch 2: failed\n"
            "#2 barrier world 0 bytes: waiting\n");
}

TEST(FlightRecorderTest, KeepsTheLast256AndIgnoresTheEndOfOlderOnes) {
  FlightRecorder recorder;
  for (int i = 0; i < 300; ++i) recorder.begin(call("barrier", "world", 0));
  recorder.finish(43, FlightRecorder::State::kFailed);  // its place now belongs to 299
  recorder.finish(44, FlightRecorder::State::kDone);
  const std::string text = recorder.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 256);
  EXPECT_EQ(text.substr(0, text.find('\n')), "#44 barrier world 0 bytes: done");
  EXPECT_EQ(text.find("failed"), std::string::npos);
  EXPECT_NE(text.find("#299 barrier world 0 bytes: waiting"), std::string::npos);
}

}  // namespace
}  // namespace halo::comm
