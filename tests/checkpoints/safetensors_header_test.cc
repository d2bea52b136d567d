#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "checkpoints/safetensors.h"
#include "tests/checkpoints/expect_input_error.h"

namespace halo::checkpoints {
namespace {

/// The bytes of a file with this header and `data_bytes` zeros.
std::string file_of(std::string_view header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + std::string(header) + std::string(data_bytes, '\0');
}

SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors_header(std::as_bytes(std::span(bytes)), "x.safetensors");
}

TEST(SafetensorsHeaderTest, AcceptsWhatTheFormatAllows) {
  const SafetensorsHeader header = parse(file_of(
      R"({"b":{"data_offsets":[8,8],"shape":[0,7],"dtype":"F32"},)"
      R"("__metadata__":{"format":"pt"},"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
      R"("c":{"dtype":"BF16","shape":[1,3],"data_offsets":[8,14]}}    )",
      14));
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].shape, Shape{});
  EXPECT_EQ(header.tensors[1].shape, (Shape{0, 7}));
  EXPECT_EQ(header.tensors[2].dtype, DType::kBFloat16);
  EXPECT_EQ(header.tensors[2].end - header.tensors[2].begin, 6u);
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST(SafetensorsHeaderTest, AnEmptyFileOfNoTensorsIsOne) {
  EXPECT_TRUE(parse(file_of("{}", 0)).tensors.empty());
}

struct Hostile {
  const char* name;
  std::string header;
  std::size_t data_bytes;
  std::string message;
};
void PrintTo(const Hostile& hostile, std::ostream* out) { *out << hostile.name; }

class HostileHeaderTest : public testing::TestWithParam<Hostile> {};

TEST_P(HostileHeaderTest, IsRefusedNamingFileAndReason) {
  const std::string bytes = file_of(GetParam().header, GetParam().data_bytes);
  expect_input_error([&] { parse(bytes); }, GetParam().message);
  expect_input_error([&] { parse(bytes); }, "x.safetensors: ");
}

std::string entry(std::string_view shape, std::string_view offsets,
                  std::string_view dtype = "F32") {
  return str(R"({"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
}
std::string two(std::string_view first, std::string_view second) {
  return str(R"({"a":)", first, R"(,"b":)", second, "}");
}
std::string one(std::string_view tensor) { return str(R"({"a":)", tensor, "}"); }

INSTANTIATE_TEST_SUITE_P(
    Safetensors, HostileHeaderTest,
    testing::Values(
        Hostile{"no_object", "[1]", 0, "does not begin with '{'"},
        Hostile{"leading_space", " {}", 0, "does not begin with '{'"},
        Hostile{"no_json", "{\"a\":", 0, "no JSON at byte"},
        Hostile{"two_objects", "{}{}", 0, "no JSON at byte"},
        Hostile{"not_utf8", "{\"\xff\":1}", 0, "no JSON at byte"},
        Hostile{"deep", "{\"a\":" + std::string(1'000'000, '['), 0, "an array where none belongs"},
        Hostile{"deep_objects", "{\"a\":{\"a\":{\"a\":{", 0, "unknown field 'a'"},
        Hostile{"number_for_tensor", one("5"), 0, "holds a number where none belongs"},
        Hostile{"null_for_tensor", one("null"), 0, "holds a null where none belongs"},
        Hostile{"duplicate_name",
                str(R"({"a":)", entry("[1]", "[0,4]"), R"(,"a":)", entry("[1]", "[4,8]"), "}"), 8,
                "'a' twice"},
        Hostile{"duplicate_field",
                one(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 4,
                "'dtype' twice"},
        Hostile{"unknown_field",
                one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]})"), 4,
                "unknown field 'strides'"},
        Hostile{"missing_field", one(R"({"dtype":"F32","shape":[1]})"), 4,
                "needs dtype, shape and data_offsets"},
        Hostile{"empty_entry", one("{}"), 0, "needs dtype, shape and data_offsets"},
        Hostile{"unknown_dtype", one(entry("[1]", "[0,4]", "F33")), 4, "dtype 'F33' is none of"},
        Hostile{"dtype_is_number", one(R"({"dtype":7,"shape":[1],"data_offsets":[0,4]})"), 4,
                "holds a number"},
        Hostile{"dtype_is_array", one(R"({"dtype":["F32"],"shape":[1],"data_offsets":[0,4]})"), 4,
                "holds an array"},
        Hostile{"shape_is_string", one(R"({"dtype":"F32","shape":"1","data_offsets":[0,4]})"), 4,
                "holds a string"},
        Hostile{"negative_axis", one(entry("[-1]", "[0,4]")), 4, "a negative number"},
        Hostile{"fractional_axis", one(entry("[1.0]", "[0,4]")), 4, "no whole one"},
        Hostile{"six_axes", one(entry("[1,1,1,1,1,1]", "[0,4]")), 4, "more than 5 axes"},
        Hostile{"axis_past_int64", one(entry("[18446744073709551615]", "[0,4]")), 4,
                "an axis of 18446744073709551615"},
        Hostile{"axis_past_uint64", one(entry("[18446744073709551616]", "[0,4]")), 4,
                "no whole one"},
        Hostile{"product_overflows", one(entry("[4294967296,4294967296,4]", "[0,4]")), 4,
                "overflows"},
        Hostile{"product_wraps_to_the_size", one(entry("[9223372036854775807,3]", "[0,4]")), 4,
                "overflows"},
        Hostile{"empty_but_overflowing", one(entry("[0,9223372036854775807,16]", "[0,0]")), 0,
                "overflows"},
        Hostile{"three_offsets", one(entry("[1]", "[0,4,8]")), 8, "more than two"},
        Hostile{"one_offset", one(entry("[1]", "[0]")), 4, "not two numbers"},
        Hostile{"offsets_backwards", one(entry("[1]", "[4,0]")), 4, "outside of the 4 data bytes"},
        Hostile{"offsets_past_the_end", one(entry("[2]", "[0,8]")), 4, "outside of the 4"},
        Hostile{"offsets_huge", one(entry("[1]", "[18446744073709551612,18446744073709551615]")), 4,
                "outside of the 4"},
        Hostile{"too_few_bytes", one(entry("[2]", "[0,4]")), 4, "(2) of F32 needs 8"},
        Hostile{"overlap", two(entry("[2]", "[0,8]"), entry("[1]", "[4,8]")), 8,
                "within the tensor before, which ends at 8"},
        Hostile{"same_bytes", two(entry("[1]", "[0,4]"), entry("[1]", "[0,4]")), 4,
                "within the tensor before"},
        Hostile{"hole", two(entry("[1]", "[0,4]"), entry("[1]", "[8,12]")), 12,
                "after a hole from 4"},
        Hostile{"begins_late", one(entry("[1]", "[4,8]")), 8, "after a hole from 0"},
        Hostile{"bytes_left_over", one(entry("[1]", "[0,4]")), 9, "end at data byte 4 of 9"},
        Hostile{"metadata_number", R"({"__metadata__":{"a":1}})", 0,
                "__metadata__: holds a number"},
        Hostile{"metadata_string", R"({"__metadata__":"a"})", 0, "a string where none belongs"},
        Hostile{"metadata_nested", R"({"__metadata__":{"a":{}}})", 0, "an object where none"},
        Hostile{"metadata_twice", R"({"__metadata__":{},"__metadata__":{}})", 0,
                "'__metadata__' twice"},
        Hostile{"escape_sequence_in_name", "{\"\\u001b[2J\":1}", 0, "tensor '\\x1b[2J'"}),
    [](const auto& test) { return test.param.name; });

TEST(SafetensorsHeaderTest, LengthsAreCheckedBeforeUse) {
  expect_input_error([] { parse(""); }, "this one has 0");
  expect_input_error([] { parse("1234567"); }, "this one has 7");
  std::string bytes = file_of("{}", 0);
  const auto with_length = [&](std::uint64_t length) {
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes;
  };
  expect_input_error([&] { parse(with_length(3)); }, "3 bytes announced, but the file has only 2");
  expect_input_error([&] { parse(with_length(0)); }, "does not begin with '{'");
  expect_input_error([&] { parse(with_length(100'000'001)); }, "above the limit");
  expect_input_error([&] { parse(with_length(std::numeric_limits<std::uint64_t>::max())); },
                     "above the limit");
  expect_input_error([&] { parse(with_length(std::numeric_limits<std::uint64_t>::max() - 7)); },
                     "above the limit");
}

TEST(SafetensorsHeaderTest, EveryTruncationIsFound) {
  const std::string whole =
      file_of(two(entry("[1]", "[0,4]"), entry("[2,1]", "[4,12]")) + "   ", 12);
  ASSERT_EQ(parse(whole).tensors.size(), 2u);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(parse(whole.substr(0, n)), InputError) << n;
  }
}

/// Any change of one byte is either still a valid header or an InputError: nothing else, and no crash.
TEST(SafetensorsHeaderTest, EveryChangedByteIsAnsweredCleanly) {
  const std::string whole = file_of(two(entry("[1]", "[0,4]"), entry("[2,1]", "[4,12]")), 12);
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = whole;
      changed[i] = static_cast<char>(value);
      try {
        const SafetensorsHeader header = parse(changed);
        for (const StoredTensor& tensor : header.tensors) ASSERT_LE(tensor.end, whole.size());
      } catch (const InputError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace halo::checkpoints
