#include <gtest/gtest.h>

#include "core/base/error.h"
#include "launch/config.h"

namespace halo::launch {
namespace {

TEST(ConfigText, SweptValuesNeedNoQuotes) {
  const auto values = [](const std::string& text) {
    const Config config = parse_config("sweep { parameter { " + text + " } }", "text");
    const auto& all = config.sweep().parameter(0).values();
    return std::vector<std::string>(all.begin(), all.end());
  };
  EXPECT_EQ(values("values: [1e-4, -3, FP32, \"x y\", [1, 3], []]"),
            (std::vector<std::string>{"1e-4", "-3", "FP32", "x y", "[1, 3]", "[]"}));
  EXPECT_EQ(values("values: 1e-4 values: -2 values: 'a' values: true path: \"p\""),
            (std::vector<std::string>{"1e-4", "-2", "a", "true"}));
  EXPECT_EQ(values("values: [\n  1, # one\n\t2\n]"), (std::vector<std::string>{"1", "2"}));
  EXPECT_TRUE(values("values: []").empty());
  EXPECT_EQ(parse_config("output: \"values: [1]\"", "text").output(), "values: [1]");
  for (const char* bad : {"values: [1", "values: [", "values:", "values: ]", "values: [1,, 2]"})
    EXPECT_THROW(std::ignore = values(bad), InputError) << bad;
}

}  // namespace
}  // namespace halo::launch
