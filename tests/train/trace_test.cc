#include "core/train/trace.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/clock.h"
#include "parallel/comm/local_communicator.h"

namespace halo::train {
namespace {

/// Rank 0 sends 12 bytes, all sum 4 numbers.
Trace traced(comm::Communicator& world) {
  Trace trace;
  trace.record();
  world.observe(&trace);
  std::vector<float> sums(4, 1.0f);
  std::vector<std::int32_t> three(3);
  const comm::Message message{1 - world.rank(), view(three.data(), {3})};
  if (world.rank() == 0)
    world.exchange({&message, 1}, {}).wait();
  else
    world.exchange({}, {&message, 1}).wait();
  world.all_reduce(view(sums.data(), {4}), comm::ReduceOp::kSum).wait();
  world.observe(nullptr);
  world.barrier().wait();
  return trace;
}

TEST(TraceTest, CountsWhatEachRankSends) {
  comm::run_ranks(2, [](comm::Communicator& world) {
    Trace trace = traced(world);
    const auto traffic = trace.take_traffic();
    ASSERT_EQ(traffic.size(), 1U);
    const AxisTraffic& all = traffic.at("world");
    EXPECT_EQ(all.calls, 2);
    EXPECT_EQ(all.bytes, (world.rank() == 0 ? 12 : 0) + 16);
    EXPECT_GE(all.seconds, all.waited);
    EXPECT_TRUE(trace.take_traffic().empty());
  });
}

TEST(TraceTest, WorkLastsAsLongAsItsObject) {
  Trace trace;
  trace.record();
  const double before = steady_seconds();
  {
    const TracedWork outer(&trace, "outer");
    const TracedWork inner(&trace, "inner");
    const TracedWork unseen(nullptr, "nobody looks");
    while (steady_seconds() < before + 0.002) continue;
  }
  const double after = steady_seconds();
  const auto events = nlohmann::json::parse('[' + trace.events_json(0) + ']');
  std::map<std::string, double> lasted;  // microseconds
  for (const auto& event : events)
    if (event["ph"] == "X") lasted[event["name"]] = event["dur"].get<double>();
  ASSERT_EQ(lasted.size(), 2U);
  EXPECT_GE(lasted["outer"], lasted["inner"]);
  EXPECT_GT(lasted["inner"], 0);
  EXPECT_LE(lasted["outer"], 1e6 * (after - before) + 1);
}

TEST(TraceTest, EventsAreAList) {
  comm::run_ranks(2, [](comm::Communicator& world) {
    Trace trace = traced(world);
    const double now = steady_seconds();
    trace.add_work("F0.0", now, now + 0.5);
    const auto events = nlohmann::json::parse('[' + trace.events_json(world.rank()) + ']');
    std::map<std::string, int> names;
    for (const auto& event : events) {
      EXPECT_EQ(event["pid"], world.rank());
      EXPECT_EQ(event["tid"].get<int>() / 1000, world.rank() + 1) << "viewers tell threads by it";
      ++names[event["name"]];
      if (event["name"] == "F0.0") {
        EXPECT_NEAR(event["dur"].get<double>(), 5e5, 1);
      }
    }
    EXPECT_EQ(names["F0.0"], 1);
    EXPECT_GE(names["exchange world"], 1);
    EXPECT_GE(names["all_reduce world"], 1);
    EXPECT_EQ(names["process_name"], 1);
    EXPECT_EQ(names["thread_name"], 3);  // work, waiting, world
    trace.stop();
    trace.add_work("later", 0, 1);
    EXPECT_EQ(trace.events_json(0).find("later"), std::string::npos);
  });
}

TEST(TraceTest, CallsThatOverlapHaveRowsOfTheirOwn) {
  Trace trace;
  trace.record();
  const double begin = steady_seconds();
  const double spans[][2] = {{0, 4}, {1, 2}, {1, 3}, {2, 5}, {4, 6}};
  for (const auto& [from, to] : spans) {
    comm::CallSpan span;
    span.call.op = "exchange";
    span.call.communicator = "context";
    span.call.ranks = 2;
    span.begin = begin + from;
    span.end = begin + to;
    trace.on_call(span);
  }
  const auto events = nlohmann::json::parse('[' + trace.events_json(0) + ']');
  std::map<int, double> ends;  // of each row
  int calls = 0;
  for (const auto& event : events) {
    if (event["ph"] != "X") continue;
    ++calls;
    double& end = ends[event["tid"]];
    EXPECT_GE(event["ts"].get<double>(), end);
    end = event["ts"].get<double>() + event["dur"].get<double>();
  }
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(ends.size(), 3U);
}

}  // namespace
}  // namespace halo::train
