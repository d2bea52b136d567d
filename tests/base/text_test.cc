#include "core/base/text.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/base/error.h"

namespace halo {
namespace {

TEST(NearestNameTest, FindsTyposAndNothingElse) {
  const std::vector<std::string> fields{"sequence_length", "sequences", "steps", "seed"};
  EXPECT_EQ(nearest_name("sequence_lenght", fields), "sequence_length");
  EXPECT_EQ(nearest_name("step", fields), "steps");
  EXPECT_EQ(nearest_name("seeds", fields), "seed");
  EXPECT_EQ(nearest_name("learning_rate", fields), "");
  EXPECT_EQ(nearest_name("anything", {}), "");
}

TEST(HumanTest, Counts) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1000), "1.00K");
  EXPECT_EQ(human_count(1234567), "1.23M");
  EXPECT_EQ(human_count(12345678), "12.3M");
  EXPECT_EQ(human_count(123456789), "123M");
  EXPECT_EQ(human_count(2.5e18), "2500P");
}

TEST(HumanTest, Bytes) {
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(1 << 20), "1.00 MiB");
  EXPECT_EQ(human_bytes(17.25 * (1 << 30)), "17.2 GiB");
}

TEST(HumanTest, Seconds) {
  EXPECT_EQ(human_seconds(5), "5.00 s");
  EXPECT_EQ(human_seconds(125), "2 min");
  EXPECT_EQ(human_seconds(3725), "1 h 2 min");
  EXPECT_EQ(human_seconds(3599.9), "1 h 0 min");
}

TEST(ErrorTest, RequireSaysWhereAndWhatAndRequireInputJustTheReason) {
  const int heads = 6;
  try {
    HALO_REQUIRE(heads % 4 == 0, str(heads, " heads do not divide by ", 4));
    FAIL() << "accepted";
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.find("6 heads do not divide by 4 ["), 0u) << what;
    EXPECT_NE(what.find("text_test.cc:"), std::string::npos) << what;
    EXPECT_NE(what.find("heads % 4 == 0"), std::string::npos) << what;
  }
  try {
    HALO_REQUIRE_INPUT(heads < 4, str("config: ", heads, " heads"));
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "config: 6 heads");
  }
}

TEST(Text, SplitsAtEverySeparator) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(split("a,,b", ','), (Parts{"a", "", "b"}));
  EXPECT_EQ(split("align", ','), (Parts{"align"}));
  EXPECT_EQ(split("", ','), (Parts{""}));
  EXPECT_EQ(split("a,", ','), (Parts{"a", ""}));
}

}  // namespace
}  // namespace halo
