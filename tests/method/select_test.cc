#include "core/halo/select.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::method {
namespace {

std::string error_of_sweep(std::string_view json) {
  try {
    (void)parse_sweep(json, "s.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Importance, FollowsThePublishedFormula) {
  const std::vector<LayerScore> layers = {{.recall = 0.5, .csr = 0.25},
                                          {.recall = 0.75, .csr = 0.5},
                                          {.recall = 0.25, .csr = 0.5},
                                          {.recall = 0.625, .csr = 0.375}};
  const std::vector<double> values = importance(layers);
  // The differences are exact in binary; only the 1e-10 and the division round.
  EXPECT_DOUBLE_EQ(values[0], 0.25 / (0.25 + 1e-10));
  EXPECT_EQ(values[1], 0.0);
  EXPECT_EQ(values[2], 50.0) << "clipped: the layer costs recall alone";
  EXPECT_DOUBLE_EQ(values[3], 0.125 / (0.125 + 1e-10));
  EXPECT_EQ(select_layers(values, 2), (std::vector<int>{0, 2}));
}

TEST(Importance, RefusesScoresThatSayNothing) {
  EXPECT_THROW((void)importance({}), InputError);
  const std::vector<LayerScore> equal = {{.recall = 0.5, .csr = 0.1}, {.recall = 0.5, .csr = 0.9}};
  EXPECT_THROW((void)importance(equal), InputError);
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW((void)importance(
                     std::vector<LayerScore>{{.recall = bad, .csr = 0}, {.recall = 1, .csr = 0}}),
                 InputError);
    EXPECT_THROW((void)importance(
                     std::vector<LayerScore>{{.recall = 0, .csr = 0}, {.recall = 1, .csr = bad}}),
                 InputError);
  }
}

TEST(SelectLayers, TiesGoToTheLowerLayer) {
  const std::vector<double> values = {1, 50, 0, 50, 50, 1};
  EXPECT_EQ(select_layers(values, 2), (std::vector<int>{1, 3}));
  EXPECT_EQ(select_layers(values, 4), (std::vector<int>{0, 1, 3, 4}));
  EXPECT_EQ(select_layers(values, 0), std::vector<int>());
  EXPECT_EQ(select_layers(values, 6).size(), 6U);
  EXPECT_THROW((void)select_layers(values, 7), InputError);
  EXPECT_THROW((void)select_layers(values, -1), InputError);
}

TEST(RecallDrop, IsWhatIsLostAgainstTheBest) {
  const std::vector<LayerScore> layers{{0.5, 0.1}, {0.25, 0.9}, {0.75, 0.2}};
  EXPECT_EQ(recall_drop(layers), (std::vector<double>{0.25, 0.5, 0}));
  EXPECT_EQ(select_layers(recall_drop(layers), 2), (std::vector<int>{0, 1}));
  EXPECT_THROW((void)recall_drop(std::vector<LayerScore>{{0.5, 0.1}, {0.5, 0.2}}), InputError);
}

TEST(FirstLayers, AreTheFirstOnes) {
  EXPECT_EQ(first_layers(8, 3), (std::vector<int>{0, 1, 2}));
  EXPECT_TRUE(first_layers(5, 0).empty());
  EXPECT_THROW((void)first_layers(3, 4), InputError);
}

TEST(UniformLayers, AreEvenlySpacedAndEndWithTheLast) {
  EXPECT_EQ(uniform_layers(8, 2), (std::vector<int>{3, 7}));
  EXPECT_EQ(uniform_layers(7, 3), (std::vector<int>{1, 3, 6}));
  EXPECT_EQ(uniform_layers(5, 5), (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(uniform_layers(5, 0).empty());
  EXPECT_THROW((void)uniform_layers(3, 4), InputError);
  EXPECT_EQ(default_keep(28), 7);
  EXPECT_EQ(default_keep(3), 1);
}

class PublishedSweep : public testing::TestWithParam<const char*> {};

TEST_P(PublishedSweep, GivesTheExpectedLayers) {
  const std::string path = std::string(HALO_SWEEP_FOLDER "/") + GetParam();
  const Sweep sweep = parse_sweep(read_file(path), path);
  ASSERT_FALSE(sweep.expected_keep.empty());
  EXPECT_EQ(select_layers(importance(sweep.layers), sweep.keep), sweep.expected_keep);
}
INSTANTIATE_TEST_SUITE_P(SelectLayers, PublishedSweep,
                         testing::Values("qwen3-1.7b.json", "qwen3-4b.json"));

TEST(Sweep, ReadsLayersInAnyOrderAndItsOwnText) {
  Sweep sweep = parse_sweep(R"({"layers": [{"layer": 1, "csr": 0.1, "recall": 0.3, "more": []},
                                           {"layer": 0, "csr": 1, "recall": 0.7}]})",
                            "s.json");
  ASSERT_EQ(sweep.layers.size(), 2U);
  EXPECT_EQ(sweep.layers[0].recall, 0.7);
  EXPECT_EQ(sweep.keep, 0);
  sweep.keep = 1;
  sweep.model = "m";
  const Sweep again = parse_sweep(sweep_to_json(sweep), "again");
  EXPECT_EQ(again.layers[1].recall, sweep.layers[1].recall);
  EXPECT_EQ(again.expected_keep, (std::vector<int>{1}));
}

TEST(Sweep, HostileTextIsRefusedWithItsPlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "line 1, column 1"},
      {"{\"layers\": [", "line 1, column 13"},
      {"[]", "expected an object"},
      {"{}", "has no \"layers\""},
      {R"({"layers": 3})", "layers: expected an array"},
      {R"({"layers": []})", "expected one entry a layer"},
      {R"({"layers": [3]})", "layers[0]: expected an object"},
      {R"({"layers": [{"layer": 0, "csr": 1}]})", "layers[0]: has no \"recall\""},
      {R"({"layers": [{"layer": 0, "csr": "1", "recall": 1}]})",
       "layers[0]: csr: expected a number"},
      {R"({"layers": [{"layer": 0, "csr": 1, "recall": 1e999}]})", "number overflow"},
      {R"({"layers": [{"layer": 1, "csr": 1, "recall": 1}]})",
       "layers[0]: layer: 1 is not in [0, 0]"},
      {R"({"layers": [{"layer": -1, "csr": 1, "recall": 1}]})", "layers[0]: layer: -1 is not in"},
      {R"({"layers": [{"layer": 18446744073709551615, "csr": 1, "recall": 1}]})",
       "layers[0]: layer: 18446744073709551615 is not in"},
      {R"({"layers": [{"layer": 0.5, "csr": 1, "recall": 1}]})", "expected a whole number"},
      {R"({"layers": [{"layer": 0, "csr": 1, "recall": 1}, {"layer": 0, "csr": 1, "recall": 1}]})",
       "layer 0 comes twice"},
      {R"({"keep": 2, "layers": [{"layer": 0, "csr": 1, "recall": 1}]})",
       "keep: 2 is not in [0, 1]"},
      {R"({"model": 2, "layers": [{"layer": 0, "csr": 1, "recall": 1}]})", "model"},
      {R"({"expected_keep": [1], "layers": [{"layer": 0, "csr": 1, "recall": 1}]})",
       "expected_keep[0]: 1 is not in"},
      {std::string(100000, '['), "nested deeper"},
  };
  for (const auto& [json, message] : cases) {
    const std::string error = error_of_sweep(json);
    EXPECT_TRUE(error.starts_with("s.json")) << json.substr(0, 100);
    EXPECT_NE(error.find(message), std::string::npos) << json.substr(0, 100) << " gives: " << error;
  }
}

}  // namespace
}  // namespace halo::method
