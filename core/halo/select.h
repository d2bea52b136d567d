#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halo::method {

/// Mean scores of the teacher with one layer alone replaced by its aligned mixer, as fractions of 1.
struct LayerScore {
  double recall = 0;  // R_i: recall tasks
  double csr = 0;     // C_i: commonsense reasoning tasks
};

/// How much each layer's softmax attention matters for recall, against what it matters for commonsense reasoning:
/// (max_j R_j - R_i) / (max_j C_j - C_i + 1e-10), at most 50; the maxima are over the given layers.
/// Throws InputError when there is no layer, a score is not finite, or all recalls are equal (the tasks say nothing).
/// Source: HALO (arXiv 2601.22156), layer selection.
[[nodiscard]] std::vector<double> importance(std::span<const LayerScore> layers);

/// The `keep` layers of greatest importance, ascending. Of equal ones the lower comes first.
/// Throws InputError unless 0 <= keep <= layers.
[[nodiscard]] std::vector<int> select_layers(std::span<const double> importance, int keep);

/// The recall lost with each layer, max_j R_j - R_i: importance without its divisor. Throws like importance.
[[nodiscard]] std::vector<double> recall_drop(std::span<const LayerScore> layers);

/// `keep` layers at even distances, the last layer among them: what selection is compared with. Throws like
/// select_layers.
[[nodiscard]] std::vector<int> uniform_layers(int layers, int keep);

/// The first `keep` layers. Throws like select_layers.
[[nodiscard]] std::vector<int> first_layers(int layers, int keep);

/// A quarter of the layers, as published: floor(layers / 4), at least 1.
[[nodiscard]] int default_keep(int layers);

/// A layer sweep's scores, as measured or as read from a file.
struct Sweep {
  std::string model;
  std::vector<LayerScore> layers;
  int keep = 0;                    // how many layers the file says to keep; 0: it does not say
  std::vector<int> expected_keep;  // the selection that the file says to come to; may be empty
};

/// Reads {"model", "keep", "layers": [{"layer", "csr", "recall"}, ...], "expected_keep"}: layers in any order, each
/// once, from 0; further fields are ignored. `name` names the text in messages. Throws InputError with the place.
[[nodiscard]] Sweep parse_sweep(std::string_view json, std::string_view name);
/// The JSON that parse_sweep reads, with the importance of each layer beside its scores; doubles at full precision.
[[nodiscard]] std::string sweep_to_json(const Sweep& sweep);

}  // namespace halo::method
