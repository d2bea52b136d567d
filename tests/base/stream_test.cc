#include "core/base/stream.h"

#include <gtest/gtest.h>

#include "core/base/clock.h"

namespace halo {
namespace {

TEST(StreamTest, MarksOfAProcessorTellItsClock) {
  const Stream stream(1);
  const double before = steady_seconds();
  const StreamMark begin = stream.mark();
  while (steady_seconds() < before + 0.002) continue;
  const StreamMark end = stream.mark();
  const double after = steady_seconds();
  EXPECT_GE(end.seconds_since(begin), 0.0);
  EXPECT_LE(end.seconds_since(begin), after - before);
  EXPECT_GE(end.seconds_since(begin) + (begin.seconds_since(begin)), 0.001);
  EXPECT_LE(begin.seconds_since(end), 0.0);
}

}  // namespace
}  // namespace halo
