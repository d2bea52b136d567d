#include "core/base/profiler_range.h"

#include <gtest/gtest.h>

#include "tests/base/nvtx_listener.h"

namespace halo {
namespace {

using Events = std::vector<std::string>;

TEST(ProfilerRangeTest, RangesNest) {
  {
    const ProfilerRange outer([] { return "outer"; });
    const ProfilerRange inner([] { return std::string("inner"); });
  }
  EXPECT_EQ(test::take_nvtx_events(), (Events{"push outer", "push inner", "pop", "pop"}));
}

TEST(ProfilerRangeTest, SpansOverlapAndEndOnce) {
  {
    ProfilerSpan unused, first, second;
    first.start([] { return "first"; });
    second.start([] { return "second"; });
    first.end();
    first.end();
  }
  EXPECT_EQ(test::take_nvtx_events(),
            (Events{"start first", "start second", "end first", "end second"}));
}

}  // namespace
}  // namespace halo
