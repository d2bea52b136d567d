#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/halo/select.h"

namespace halo::method {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;

double finite_number(const JsonValue& object, std::string_view key) {
  const JsonValue value = object.at(key);
  const double number = value.number();
  if (!std::isfinite(number)) value.fail("expected a finite number");
  return number;
}

std::vector<LayerScore> read_layers(const JsonValue& list) {
  if (list.size() == 0) list.fail("expected one entry a layer");
  std::vector<std::optional<LayerScore>> found(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonValue entry = list[i];
    const std::int64_t layer = entry.at("layer").integer(0, std::ssize(found) - 1);
    std::optional<LayerScore>& score = found[static_cast<std::size_t>(layer)];
    if (score) entry.fail(str("layer ", layer, " comes twice"));
    score = {.recall = finite_number(entry, "recall"), .csr = finite_number(entry, "csr")};
  }
  std::vector<LayerScore> layers;
  for (const auto& score : found) layers.push_back(*score);  // as many as places, none twice
  return layers;
}

}  // namespace

Sweep parse_sweep(std::string_view text, std::string_view name) {
  HALO_REQUIRE_INPUT(text.size() <= kMaxBytes,
                     str(name, ": ", text.size(), " bytes are too many for scores"));
  const nlohmann::json document = parse_json(text, name);
  const JsonValue root(document, std::string(name));
  Sweep sweep;
  sweep.layers = read_layers(root.at("layers"));
  const std::int64_t layers = std::ssize(sweep.layers);
  if (const auto model = root.find("model")) sweep.model = model->string();
  if (const auto keep = root.find("keep")) {
    sweep.keep = static_cast<int>(keep->integer(0, layers));
  }
  if (const auto expected = root.find("expected_keep")) {
    for (std::size_t i = 0; i < expected->size(); ++i) {
      sweep.expected_keep.push_back(static_cast<int>((*expected)[i].integer(0, layers - 1)));
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
