#include "core/base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <thread>

#include "core/base/error.h"
#include "core/base/stream.h"

namespace halo {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Range(1, 9));

TEST_P(ThreadPoolTest, EveryThreadRunsOnceThousandsOfTimes) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  std::vector<int> runs(static_cast<std::size_t>(GetParam()));  // each thread writes its own
  for (int loop = 1; loop <= 2000; ++loop) {
    pool.run([&](int thread) { ++runs[static_cast<std::size_t>(thread)]; });
    EXPECT_EQ(runs, std::vector<int>(runs.size(), loop));
  }
}

TEST_P(ThreadPoolTest, TheCallerIsThreadZeroAndTheOthersAreOthers) {
  ThreadPool pool(GetParam());
  std::vector<std::thread::id> ids(static_cast<std::size_t>(GetParam()));
  pool.run([&](int thread) { ids[static_cast<std::size_t>(thread)] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), ids.size());
}

TEST_P(ThreadPoolTest, AnExceptionComesBackAndThePoolGoesOn) {
  ThreadPool pool(GetParam());
  for (int loop = 0; loop < 50; ++loop) {
    const int thrower = loop % GetParam();
    std::atomic<int> finished = 0;
    const auto body = [&](int thread) {
      if (thread == thrower) throw Error(str("thread ", thread));
      ++finished;
    };
    try {
      pool.run(body);
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), str("thread ", thrower));
    }
    EXPECT_EQ(finished, GetParam() - 1);  // the others have ended when run() has
    pool.run([](int) {});
  }
}

TEST_P(ThreadPoolTest, ALoopWithinALoopIsAnErrorAndThePoolGoesOn) {
  ThreadPool pool(GetParam());
  EXPECT_THROW(pool.run([&](int) { pool.run([](int) {}); }), Error);
  std::atomic<int> calls = 0;
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls, GetParam());
}

TEST_P(ThreadPoolTest, ParallelForCoversEachItemOnce) {
  Stream stream(GetParam());
  for (const std::int64_t n : {0, 1, 7, 1000, 100003}) {
    for (const std::int64_t cost : {1, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
      stream.parallel_for(n, cost, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
      });
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& k) { return k == 1; }))
          << n << " items of " << cost;
    }
  }
}

TEST_P(ThreadPoolTest, ParallelEachCoversEachItemOnce) {
  Stream stream(GetParam());
  for (const std::int64_t n : {0, 1, 2, 3, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
    stream.parallel_each(n, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& k) { return k == 1; })) << n;
  }
  EXPECT_THROW(stream.parallel_each(10,
                                    [](std::int64_t i) {
                                      if (i == 5) throw Error("item 5");
                                    }),
               Error);
}

TEST(ThreadPoolSizeTest, RefusesFewerThanOneThread) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(Stream(-3), Error);
}

}  // namespace
}  // namespace halo
