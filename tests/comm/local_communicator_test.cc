#include "parallel/comm/local_communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/base/progress_point.h"
#include "tests/comm/communicator_cases.h"

namespace halo::comm {
namespace {

using std::chrono::milliseconds;

struct Setting {
  const char* name;
  CommunicatorOptions options;
};

const Setting kDefaults{"", {.deadline = milliseconds(60000)}};
/// Every longer buffer travels in many messages and pieces.
const Setting kShortMessages{
    "InShortMessages",
    {.deadline = milliseconds(60000), .message_bytes = 12007, .piece_bytes = 4096}};

const Setting kWithFewTags{"WithFewTags", {.deadline = milliseconds(60000), .max_tag = kFewTags}};

struct Run {
  Case body;
  int ranks;
  Setting setting;
};
void PrintTo(const Run& run, std::ostream* out) { *out << run.body.name << " on " << run.ranks; }

std::vector<Run> runs() {
  std::vector<Run> result;
  const auto add = [&](const Setting& setting, std::initializer_list<int> rank_counts) {
    for (const int ranks : rank_counts) {
      for (const Case& body : collective_cases()) result.push_back({body, ranks, setting});
      for (const Case& body : failure_cases()) result.push_back({body, ranks, setting});
    }
  };
  add(kDefaults, {1, 2, 3, 4, 11});
  add(kShortMessages, {2, 3});
  for (const int ranks : {1, 2, 3, 4})
    for (const Case& body : reuse_cases()) result.push_back({body, ranks, kWithFewTags});
  return result;
}

class LocalCommunicatorTest : public testing::TestWithParam<Run> {};

TEST_P(LocalCommunicatorTest, Holds) {
  run_ranks(GetParam().ranks, GetParam().body.run, GetParam().setting.options);
}

INSTANTIATE_TEST_SUITE_P(Cases, LocalCommunicatorTest, testing::ValuesIn(runs()),
                         [](const auto& run) {
                           return str(run.param.body.name, "On", run.param.ranks, "Ranks",
                                      run.param.setting.name);
                         });

TEST(RunRanksTest, ThrowsTheFailureAndNotThoseItCaused) {
  const auto body = [](Communicator& world) {
    const auto child = world.split(0, 0, "child");
    if (world.rank() == 2) throw InputError("rank 2 read a bad file");
    child->barrier().wait();
  };
  try {
    run_ranks(4, body);
    FAIL() << "nothing was thrown";
  } catch (const InputError& failure) {
    EXPECT_STREQ(failure.what(), "rank 2 read a bad file");
  }
}

TEST(RunRanksTest, ThrowsWhatIsNoException) {
  EXPECT_THROW(run_ranks(2,
                         [](Communicator& world) {
                           if (world.rank() == 0) throw 5;
                           world.barrier().wait();
                         }),
               int);
}

TEST(RunRanksTest, RefusesNoRanks) {
  EXPECT_THROW(run_ranks(0, [](Communicator&) {}), Error);
  EXPECT_THROW(run_ranks(1, [](Communicator&) {}, {.message_bytes = 0}), Error);
}

TEST(LocalCommunicatorDeadlineTest, NamesTheRankThatNeverComesAndTheCall) {
  std::atomic<int> given_up = 0;
  const auto body = [&](Communicator& world) {
    world.set_context({12, 3});
    if (world.rank() == 1) {
      while (given_up < 2) std::this_thread::sleep_for(milliseconds(1));
      return;
    }
    double value = 0;
    try {
      world.all_reduce(view(&value, {1}), ReduceOp::kSum).wait();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const PeerFailed& failure) {
      EXPECT_EQ(failure.rank, 1);
      EXPECT_STREQ(failure.what(),
                   "all_reduce world 8 bytes step 12 micro-batch 3: rank 1 of 3 did not answer "
                   "within 0.1 s");
    }
    EXPECT_NE(world.recent_calls().find(": failed"), std::string::npos);
    ++given_up;
  };
  run_ranks(3, body, {.deadline = milliseconds(100)});
}

class PointCounter final : public ProgressListener {
 public:
  void on_point(const ProgressPoint& point) override { points += point.name == "collective"; }
  std::atomic<int> points = 0;
};

/// A drill and a supervisor see every rank in a call, also the one that comes last and need not wait.
TEST(LocalCommunicatorTest, EveryCallIsAPointOfEveryRank) {
  PointCounter counter;
  listen_to_points(&counter);
  std::atomic<bool> sent = false;
  run_ranks(2, [&](Communicator& world) {
    float value = 1;
    while (world.rank() == 1 && !sent) std::this_thread::yield();
    Work work = world.broadcast(view(&value, {1}), 0);
    sent = true;
    work.wait();
  });
  listen_to_points(nullptr);
  EXPECT_EQ(counter.points, 2);
}

TEST(LocalCommunicatorTest, SixtyFourRanksMove) {
  run_ranks(64, [](Communicator& world) {
    for (int round = 0; round < 100; ++round) {
      std::vector<float> values(100, static_cast<float>(world.rank() + round));
      world.all_reduce(view(values.data(), {100}), ReduceOp::kSum).wait();
      EXPECT_EQ(values[99], static_cast<float>(64 * 63 / 2 + 64 * round));
    }
  });
}

TEST(SelfCommunicatorTest, HoldsAllCases) {
  for (const auto& cases : {collective_cases(), failure_cases()}) {
    for (const Case& body : cases) body.run(*make_self_communicator("world"));
  }
}

}  // namespace
}  // namespace halo::comm
