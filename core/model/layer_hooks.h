#pragma once
#include <functional>
#include <limits>

namespace halo::model {

// Places beside a model's layers, counted as layers are.
inline constexpr int kEmbeddingLayer = -1;
inline constexpr int kAfterLayers = std::numeric_limits<int>::max();  // final norm and head

/// What goes on beside the passes over a model's layers.
struct LayerHooks {
  std::function<void(int layer)> before_forward;  // its weights are about to be read
  std::function<void(int layer)> after_backward;  // a micro-batch has added its gradients
};

}  // namespace halo::model
