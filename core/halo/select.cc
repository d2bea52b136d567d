#include "core/halo/select.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"

namespace halo::method {
namespace {

constexpr double kMaxImportance = 50;
constexpr double kTinyCsr = 1e-10;

void check_keep(std::int64_t layers, int keep) {
  HALO_REQUIRE_INPUT(keep >= 0 && keep <= layers,
                     str("cannot keep ", keep, " of ", layers, " layers: choose 0 to ", layers));
}

}  // namespace

std::vector<double> recall_drop(std::span<const LayerScore> layers) {
  HALO_REQUIRE_INPUT(!layers.empty(), "layer selection: there are no scores");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    HALO_REQUIRE_INPUT(std::isfinite(layers[i].recall) && std::isfinite(layers[i].csr),
                       str("layer selection: layer ", i, " has recall ", layers[i].recall,
                           " and csr ", layers[i].csr, ": scores must be finite"));
  }
  const auto [least, most] = std::ranges::minmax(layers, {}, &LayerScore::recall);
  HALO_REQUIRE_INPUT(least.recall < most.recall,
                     str("layer selection: all ", layers.size(), " layers have recall ",
                         most.recall, ", so the tasks do not tell them apart"));
  std::vector<double> result;
  for (const LayerScore& layer : layers) result.push_back(most.recall - layer.recall);
  return result;
}

std::vector<double> importance(std::span<const LayerScore> layers) {
  std::vector<double> result = recall_drop(layers);
  const double max_csr = std::ranges::max(layers, {}, &LayerScore::csr).csr;
  for (std::size_t i = 0; i < layers.size(); ++i)
    result[i] = std::min(result[i] / (max_csr - layers[i].csr + kTinyCsr), kMaxImportance);
  return result;
}

std::vector<int> select_layers(std::span<const double> importance, int keep) {
  check_keep(std::ssize(importance), keep);
  std::vector<int> layers(importance.size());
  std::iota(layers.begin(), layers.end(), 0);
  std::ranges::stable_sort(layers, std::ranges::greater(),
                           [&](int layer) { return importance[static_cast<std::size_t>(layer)]; });
  layers.resize(static_cast<std::size_t>(keep));
  std::ranges::sort(layers);
  return layers;
}

std::vector<int> uniform_layers(int layers, int keep) {
  check_keep(layers, keep);
  std::vector<int> kept;
  for (std::int64_t i = 1; i <= keep; ++i) kept.push_back(static_cast<int>(i * layers / keep - 1));
  return kept;
}

std::vector<int> first_layers(int layers, int keep) {
  check_keep(layers, keep);
  std::vector<int> kept(static_cast<std::size_t>(keep));
  std::iota(kept.begin(), kept.end(), 0);
  return kept;
}

int default_keep(int layers) { return std::max(layers / 4, 1); }

}  // namespace halo::method
