#include "checkpoints/manifest.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "core/base/crc32c.h"
#include "tests/checkpoints/expect_input_error.h"

namespace halo::checkpoints {
namespace {

/// One tensor "w" (4, 2) with moments in two files, and "b" (3) without.
Manifest sample_manifest() {
  Manifest manifest;
  manifest.info.step = 12;
  manifest.info.config_text = "a \"quoted\"\nline";
  manifest.tensors = {{"b", {3}, false}, {"w", {4, 2}, true}};
  manifest.files = {
      {"rank_00000.h5", 100, 0xffffffffu, "a processor", {{1, {{0, 0}, {1, 2}}, {1, 2, 3}}}},
      {"rank_00001.h5",
       200,
       7,
       "",
       {{1, {{1, 0}, {3, 2}}, {4, 5, 0xfffffffeu}}, {0, {{0}, {3}}, {9, 0, 0}}}}};
  return manifest;
}

/// `text` with the last line that fits it.
std::string sealed(const std::string& text) {
  char line[32];
  std::snprintf(line, sizeof line, "# crc32c %08x\n", crc32c(std::as_bytes(std::span(text))));
  return text + line;
}
std::string body_of(const Manifest& manifest) {
  const std::string text = to_text(manifest);
  return text.substr(0, text.rfind("# crc32c"));
}

TEST(ManifestTest, ComesBackFromItsText) {
  const Manifest manifest = sample_manifest();
  const Manifest again = parse_manifest(to_text(manifest), "m");
  EXPECT_EQ(again.info.config_text, manifest.info.config_text);
  EXPECT_EQ(again.tensors[1].shape, (Shape{4, 2}));
  EXPECT_TRUE(again.tensors[1].moments);
  EXPECT_EQ(again.files[0].crc, 0xffffffffu);
  EXPECT_EQ(again.files[0].processor, "a processor");
  EXPECT_EQ(again.files[1].slices[0].region, manifest.files[1].slices[0].region);
  EXPECT_EQ(again.files[1].slices[0].crc[2], 0xfffffffeu);
  EXPECT_EQ(to_text(again), to_text(manifest));
}

TEST(ManifestTest, ATestsOwnSealIsTheWriters) {
  EXPECT_EQ(sealed(body_of(sample_manifest())), to_text(sample_manifest()));
}

TEST(ManifestTest, ReportsOfRanksCrossAsBytesAndMerge) {
  RankReport first, second;
  first.tensors = {{"w", {4, 2}, true}};
  first.file = {"rank_00000.h5", 100, 1, "p", {{0, {{0, 0}, {1, 2}}, {1, 2, 3}}}};
  second.tensors = {{"w", {4, 2}, true}, {"b", {3}, false}};
  second.file = {
      "rank_00001.h5", 200, 2, "p", {{0, {{1, 0}, {3, 2}}, {4, 5, 6}}, {1, {{0}, {3}}, {9, 0, 0}}}};
  const std::vector<RankReport> reports = {rank_report_from_bytes(to_bytes(first)),
                                           rank_report_from_bytes(to_bytes(second))};
  const Manifest manifest = merge({}, reports);
  ASSERT_EQ(manifest.tensors.size(), 2u);
  EXPECT_EQ(manifest.tensors[0].name, "b");
  EXPECT_EQ(manifest.files[0].slices[0].tensor, 1u);
  EXPECT_EQ(manifest.files[1].slices[1].tensor, 0u);
  EXPECT_NO_THROW(require_complete(manifest, "m"));
  EXPECT_THROW(static_cast<void>(rank_report_from_bytes("\xff\xff")), Error);
}

struct Wrong {
  const char* name;
  void (*spoil)(Manifest& manifest);
  std::string message;
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.name; }

class WrongManifestTest : public testing::TestWithParam<Wrong> {};

TEST_P(WrongManifestTest, IsRefusedNamingFileAndReason) {
  Manifest manifest = sample_manifest();
  GetParam().spoil(manifest);
  const std::string text = to_text(manifest);
  expect_input_error([&] { static_cast<void>(parse_manifest(text, "dir/manifest.textproto")); },
                     GetParam().message);
  expect_input_error([&] { static_cast<void>(parse_manifest(text, "dir/manifest.textproto")); },
                     "dir/manifest.textproto: ");
}

INSTANTIATE_TEST_SUITE_P(
    Manifest, WrongManifestTest,
    testing::Values(
        Wrong{"hole", [](Manifest& m) { m.files[1].slices.pop_back(); },
              "tensor 'b': its slices hold 0 of 3 elements"},
        Wrong{"overlap", [](Manifest& m) { m.files[1].slices[0].region.offset[0] = 0; }, "overlap"},
        Wrong{"outside", [](Manifest& m) { m.files[1].slices[0].region.offset[0] = 2; },
              "lies outside of (4, 2)"},
        Wrong{"slice_of_another_rank",
              [](Manifest& m) {
                m.files[1].slices[1].region = {{0, 0}, {3, 1}};
              },
              "outside"},
        Wrong{"path_in_file_name", [](Manifest& m) { m.files[0].name = "../rank_00000.h5"; },
              "unfit for a file"},
        Wrong{"absolute_file_name", [](Manifest& m) { m.files[0].name = "/etc/passwd"; },
              "unfit for a file"},
        Wrong{"parent_folder", [](Manifest& m) { m.files[0].name = ".."; }, "unfit for a file"},
        Wrong{"file_twice", [](Manifest& m) { m.files[1].name = m.files[0].name; },
              "a name used twice"},
        Wrong{"tensor_twice", [](Manifest& m) { m.tensors[0].name = "w"; }, "a name used twice"},
        Wrong{"tensor_path", [](Manifest& m) { m.tensors[0].name = "b/../w"; },
              "unfit for a tensor"},
        Wrong{"negative_bytes", [](Manifest& m) { m.files[0].bytes = -1; }, "-1 bytes"},
        Wrong{"negative_step", [](Manifest& m) { m.info.step = -1; }, "step -1"},
        Wrong{"skipped_backwards",
              [](Manifest& m) {
                m.info.skipped = {{5, 3}};
              },
              "skipped steps from 5 to 3"},
        Wrong{"dtype", [](Manifest& m) { m.info.dtype = DType::kBFloat16; },
              "dtype 'bfloat16' is neither"}),
    [](const auto& test) { return test.param.name; });

TEST(ManifestTest, HostileTextIsRefused) {
  const std::string good = body_of(sample_manifest());
  ASSERT_NO_THROW(static_cast<void>(parse_manifest(sealed(good), "m")));
  const auto refused = [](const std::string& text, const std::string& message) {
    expect_input_error([&] { static_cast<void>(parse_manifest(text, "m")); }, message);
  };
  refused("", "truncated");
  refused(good, "does not match the checksum");
  refused(sealed(good) + "\n", "does not match the checksum");
  refused(sealed(good + "unknown: 1\n"), "unknown");
  refused(sealed(good + "tensor { name: \"x\" shape: [1"), "m: line ");
  refused(sealed(""), "format_version 0");
  refused(sealed("format_version: 2"), "format_version 2, this program reads 1");
  refused(sealed(good + "tensor { name: \"x\" }"), "tensor 'x': has no usable shape");
  refused(sealed(good + "tensor { name: \"x\" shape: [-1] }"), "tensor 'x': has no usable shape");
  refused(sealed(good + "tensor { name: \"x\" shape: [1,1,1,1,1,1] }"), "no usable shape");
  refused(sealed(good + "tensor { name: \"x\" shape: [9223372036854775807, 9223372036854775807] }"),
          "no usable shape");
  refused(sealed(good + "file { name: \"f\" slice { tensor: 2 } }"), "a slice of tensor 2 of 2");
  refused(sealed(good + "file { name: \"f\" slice { tensor: -1 } }"), "a slice of tensor -1 of 2");
  refused(sealed(good + "file { name: \"f\" slice { tensor: 0 offset: 0 shape: 1 } }"),
          "without a usable offset, shape or 1 checksums");
  refused(sealed(good +
                 "file { name: \"f\" slice { tensor: 1 offset: [0,0] shape: [1,1] crc32c: 1 } }"),
          "or 3 checksums");
}

}  // namespace
}  // namespace halo::checkpoints
