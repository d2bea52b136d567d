#include "core/base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "core/base/error.h"

namespace halo {
namespace {

std::string complaint(const auto& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no complaint";
}

TEST(JsonTest, ComplaintsNameFilePlaceAndReason) {
  EXPECT_NE(complaint([] {
              (void)parse_json("{\"a\": [1,\n 2,}", "x.json");
            }).find("x.json: line 2, column"),
            std::string::npos);
  const auto document =
      parse_json(R"({"a": {"b": [1, "two", 3000000000, 18446744073709551615]}})", "x.json");
  const JsonValue list = JsonValue(document, "x.json").at("a").at("b");
  EXPECT_EQ(list[0].integer(0, 1), 1);
  EXPECT_EQ(complaint([&] { (void)list[1].integer(0, 9); }),
            "x.json: a: b[1]: expected a whole number, found string \"two\"");
  EXPECT_EQ(complaint([&] { (void)list[2].integer(-5, 9); }),
            "x.json: a: b[2]: 3000000000 is not in [-5, 9]");
  EXPECT_NE(complaint([&] { (void)list[3].integer(0, INT64_MAX); }), "no complaint");
  EXPECT_EQ(complaint([&] { (void)list[4]; }), "x.json: a: b: has 4 entries, entry 4 is asked for");
  EXPECT_EQ(complaint([&] { (void)list.at("c"); }).substr(0, 39),
            "x.json: a: b: expected an object, found");
}

TEST(JsonTest, UnknownMembersNameTheNearest) {
  const auto document = parse_json(R"({"vocap": 1})", "x.json");
  EXPECT_EQ(complaint([&] {
              JsonValue(document, "x.json").allow_only({"vocab", "merges"});
            }),
            "x.json: unknown \"vocap\"; did you mean \"vocab\"?");
}

TEST(JsonTest, RefusesDeepNestingAndBadUtf8) {
  EXPECT_NE(complaint([] { (void)parse_json(std::string(1 << 20, '['), "x"); }).find("nested"),
            std::string::npos);
  EXPECT_EQ(parse_json("\"" + std::string(1000, '[') + "\\\"\"", "x").get<std::string>().size(),
            1001u);
  EXPECT_NE(complaint([] { (void)parse_json("\"\xff\"", "x"); }), "no complaint");
}

}  // namespace
}  // namespace halo
