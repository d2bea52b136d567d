#include "core/model/layer_split.h"

#include <algorithm>
#include <limits>

namespace halo::model {
namespace {

/// costs[n]: of the first n layers, embedding and head included.
std::vector<double> running_sums(const LayerCosts& costs) {
  std::vector<double> sums{0.0};
  double sum = costs.embedding;
  for (const double layer : costs.layers) sums.push_back(sum += layer);
  sums.back() += costs.head;
  return sums;
}

}  // namespace

std::vector<LayerRange> split_layers(const LayerCosts& costs, int chunks) {
  const int L = static_cast<int>(costs.layers.size());
  HALO_REQUIRE_INPUT(chunks >= 1 && chunks <= L,
                     str(L, " layers do not make ", chunks,
                         " runs: layout.pipeline x layout.chunks may be up to ", L));
  const std::vector<double> sums = running_sums(costs);
  // dearest[c][n]: of the first n layers in c runs, the last of which begins at from[c][n].
  const auto at = [L](int c, int n) { return static_cast<std::size_t>(c * (L + 1) + n); };
  std::vector<double> dearest(at(chunks, L) + 1, std::numeric_limits<double>::infinity());
  std::vector<int> from(dearest.size(), 0);
  dearest[at(0, 0)] = 0;
  for (int c = 1; c <= chunks; ++c) {
    for (int n = c; n <= L; ++n) {
      for (int begin = c - 1; begin < n; ++begin) {
        const double run =
            sums[static_cast<std::size_t>(n)] - sums[static_cast<std::size_t>(begin)];
        const double cost = std::max(dearest[at(c - 1, begin)], run);
        if (cost >= dearest[at(c, n)]) continue;
        dearest[at(c, n)] = cost;
        from[at(c, n)] = begin;
      }
    }
  }
  std::vector<LayerRange> ranges;
  for (int c = chunks, end = L; c > 0; --c) {
    ranges.push_back({from[at(c, end)], end});
    end = ranges.back().begin;
  }
  std::ranges::reverse(ranges);
  return ranges;
}

std::vector<LayerRange> ranges_of_stage(const std::vector<LayerRange>& all, int stage, int stages) {
  std::vector<LayerRange> own;
  for (int i = stage; i < static_cast<int>(all.size()); i += stages)
    own.push_back(all[static_cast<std::size_t>(i)]);
  return own;
}

}  // namespace halo::model
