#pragma once
#include <string>
#include <vector>

#include "core/base/stream.h"
#include "core/model/model_config.h"

namespace halo::launch {

/// One measured training stage.
struct StepMeasurement {
  std::string name;  // "align B=4 T=512"
  double tokens_per_s = 0;
  double ms = 0;      // median of the steps
  double gflops = 0;  // model FLOP/s / 1e9
  double peak_gib =
      0;  // on a GPU of its allocator, during this measurement; else of the process, since its start
};

struct StepBenchOptions {
  std::string stage;              // "align", "distill" or "finetune"
  DType dtype = DType::kFloat32;  // of weights and activations
  std::int64_t B = 4, T = 512;
  int warmup = 2;
  int steps = 8;
  bool recompute = false;
  bool cuda_graphs = true;
};

/// A model's dimensions by name: "tiny", "small", "qwen3-0.6b", "qwen3-1.7b", ..., and the layers that stay attention.
struct BenchModel {
  model::ModelConfig teacher;
  std::vector<int> keep;
};
/// Throws InputError that lists the names.
[[nodiscard]] BenchModel bench_model(const std::string& name);

/// Times whole optimizer steps (forward, backward, clipping, AdamW) on random weights and tokens.
[[nodiscard]] StepMeasurement measure_step(const BenchModel& model, const StepBenchOptions& options,
                                           Stream& stream);

}  // namespace halo::launch
