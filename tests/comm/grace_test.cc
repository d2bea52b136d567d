#include "parallel/comm/grace.h"

#include <gtest/gtest.h>

namespace halo::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(GraceTest, ComesBackWithTime) {
  Grace grace;
  Grace::Clock::time_point now = Grace::Clock::now();
  const auto wait = [&](milliseconds time) {
    const auto begin = now;
    now += time;
    return grace.spend(begin, now);
  };
  EXPECT_TRUE(wait(milliseconds(300)));
  EXPECT_FALSE(wait(milliseconds(300)));
  EXPECT_FALSE(wait(milliseconds(1))) << "half a second at once";
  now += seconds(2);
  EXPECT_TRUE(wait(milliseconds(50)));
  EXPECT_FALSE(wait(milliseconds(100))) << "a tenth of the time";
  now += seconds(3600);
  EXPECT_TRUE(wait(milliseconds(499)));
  EXPECT_FALSE(wait(milliseconds(2))) << "no more is saved up";
}

}  // namespace
}  // namespace halo::comm
