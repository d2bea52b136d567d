#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/halo/select.h"

namespace halo::method {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::int64_t kMaxLayers = 1 << 16;
constexpr int kMaxDepth = 32;

/// Parses without ever recursing deeper than kMaxDepth.
json parse_json(std::string_view text, std::string_view name) {
  HALO_REQUIRE_INPUT(text.size() <= kMaxBytes,
                     str(name, ": ", text.size(), " bytes are too many for scores"));
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    HALO_REQUIRE_INPUT(depth <= kMaxDepth, str(name, ": nested deeper than ", kMaxDepth));
    return true;
  };
  try {
    return json::parse(text, shallow);
  } catch (const json::exception& error) {
    throw InputError(str(name, ": no JSON: ", error.what()));
  }
}

const json& member(const json& object, const char* key, const std::string& place) {
  HALO_REQUIRE_INPUT(object.is_object(), str(place, ": expected an object"));
  const auto found = object.find(key);
  HALO_REQUIRE_INPUT(found != object.end(), str(place, ": no \"", key, '"'));
  return *found;
}

double finite_number(const json& object, const char* key, const std::string& place) {
  const json& value = member(object, key, place);
  HALO_REQUIRE_INPUT(value.is_number() && std::isfinite(value.get<double>()),
                     str(place, ".", key, ": expected a finite number"));
  return value.get<double>();
}

int integer(const json& value, std::int64_t limit, const std::string& place) {
  HALO_REQUIRE_INPUT(value.is_number_integer(), str(place, ": expected a whole number"));
  const bool huge =
      value.is_number_unsigned() && value.get<std::uint64_t>() >= static_cast<std::uint64_t>(limit);
  HALO_REQUIRE_INPUT(!huge && value.get<std::int64_t>() >= 0 && value.get<std::int64_t>() < limit,
                     str(place, " is ", value.dump(), ": it must be 0 to ", limit - 1));
  return value.get<int>();
}

std::vector<LayerScore> read_layers(const json& list, const std::string& name) {
  HALO_REQUIRE_INPUT(list.is_array() && !list.empty(),
                     str(name, ": layers: expected a list with one entry a layer"));
  HALO_REQUIRE_INPUT(list.size() <= static_cast<std::size_t>(kMaxLayers),
                     str(name, ": ", list.size(), " layers are too many"));
  std::vector<std::optional<LayerScore>> found(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = str(name, ": layers[", i, ']');
    const int layer = integer(member(list[i], "layer", place), std::ssize(found), place + ".layer");
    std::optional<LayerScore>& score = found[static_cast<std::size_t>(layer)];
    HALO_REQUIRE_INPUT(!score, str(place, ": layer ", layer, " comes twice"));
    score = {.recall = finite_number(list[i], "recall", place),
             .csr = finite_number(list[i], "csr", place)};
  }
  std::vector<LayerScore> layers;
  for (const auto& score : found) layers.push_back(*score);  // as many as places, none twice
  return layers;
}

}  // namespace

Sweep parse_sweep(std::string_view text, std::string_view name_view) {
  const std::string name(name_view);
  const json root = parse_json(text, name);
  Sweep sweep;
  sweep.layers = read_layers(member(root, "layers", name), name);
  const std::int64_t layers = std::ssize(sweep.layers);
  if (root.contains("model")) {
    HALO_REQUIRE_INPUT(root["model"].is_string(), str(name, ": model: expected a text"));
    sweep.model = root["model"];
  }
  if (root.contains("keep")) sweep.keep = integer(root["keep"], layers + 1, name + ": keep");
  if (root.contains("expected_keep")) {
    const json& expected = root["expected_keep"];
    HALO_REQUIRE_INPUT(expected.is_array(), str(name, ": expected_keep: expected a list"));
    for (const json& layer : expected) {
      sweep.expected_keep.push_back(integer(layer, layers, name + ": expected_keep"));
    }
  }
  return sweep;
}

std::string sweep_to_json(const Sweep& sweep) {
  nlohmann::ordered_json root = {{"model", sweep.model}, {"keep", sweep.keep}};
  const std::vector<double> values = importance(sweep.layers);
  root["layers"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < sweep.layers.size(); ++i) {
    root["layers"].push_back({{"layer", i},
                              {"csr", sweep.layers[i].csr},
                              {"recall", sweep.layers[i].recall},
                              {"importance", values[i]}});
  }
  root["expected_keep"] = select_layers(values, sweep.keep);
  return root.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace halo::method
