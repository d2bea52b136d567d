#pragma once
#include <vector>

#include "core/model/parameters.h"

namespace halo::model {

/// What the passes over a model cost by place, in any one unit.
struct LayerCosts {
  std::vector<double> layers;
  double embedding = 0;  // before the first
  double head = 0;       // after the last
};

/// Cuts a model's layers into `chunks` runs, at least one layer each, so that the dearest run is as cheap as can be.
/// Throws InputError when there are more chunks than layers.
[[nodiscard]] std::vector<LayerRange> split_layers(const LayerCosts& costs, int chunks);

/// Those that stage `stage` of `stages` holds: every stages-th.
[[nodiscard]] std::vector<LayerRange> ranges_of_stage(const std::vector<LayerRange>& all, int stage,
                                                      int stages);

}  // namespace halo::model
