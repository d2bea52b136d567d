#include "launch/bench/step_bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "core/base/text.h"
#include "core/halo/align.h"
#include "core/halo/distill.h"
#include "core/halo/finetune.h"
#include "core/halo/transfer.h"
#include "core/train/trainer.h"
#include "launch/bench/random_weights.h"
#include "parallel/comm/local_communicator.h"
#include "parallel/comm/staged_communicator.h"

namespace halo::launch {
namespace {

using model::ParameterSet;

model::ModelConfig qwen3(std::int64_t V, std::int64_t D, std::int64_t I, int L, int H, int G, int K,
                         bool tied) {
  model::ModelConfig c;
  c.vocab_size = V;
  c.hidden_size = D;
  c.intermediate_size = I;
  c.num_hidden_layers = L;
  c.num_attention_heads = H;
  c.num_key_value_heads = G;
  c.head_dim = K;
  c.tie_word_embeddings = tied;
  return c;
}

const std::map<std::string, BenchModel>& bench_models() {
  static const std::map<std::string, BenchModel> kModels{
      {"tiny", {qwen3(1024, 256, 768, 4, 4, 2, 64, true), {1}}},
      {"small", {qwen3(8192, 512, 1536, 8, 8, 4, 64, true), {2, 5}}},
      {"qwen3-0.6b", {qwen3(151936, 1024, 3072, 28, 16, 8, 128, true), {2, 3, 6, 8, 9, 21, 25}}},
      {"qwen3-1.7b", {qwen3(151936, 2048, 6144, 28, 16, 8, 128, true), {2, 3, 6, 8, 9, 21, 25}}},
      {"qwen3-4b",
       {qwen3(151936, 2560, 9728, 36, 32, 8, 128, true), {0, 1, 7, 14, 15, 22, 24, 31, 33}}},
      {"qwen3-8b",
       {qwen3(151936, 4096, 12288, 36, 32, 8, 128, false), {1, 2, 4, 6, 7, 10, 24, 33, 34}}},
  };
  return kModels;
}

/// A stage on fresh random weights with all that it holds.
struct Bench {
  std::unique_ptr<ParameterSet> teacher_weights, weights;
  std::unique_ptr<method::Chunks> teacher, student;
  std::unique_ptr<train::Stage> stage;
};

std::unique_ptr<ParameterSet> random_weights(const std::vector<model::ParameterSpec>& specs,
                                             DType dtype, ParameterSet::Use use, Stream& stream) {
  auto set = std::make_unique<ParameterSet>(stream, specs, dtype, use);
  fill_random(*set, stream);
  return set;
}

std::unique_ptr<method::Chunks> one_chunk(const model::ModelConfig& config,
                                          const ParameterSet& weights) {
  auto chunks = std::make_unique<method::Chunks>();
  chunks->emplace_back(config, weights.lookup());
  return chunks;
}

Bench make_bench(const BenchModel& m, const StepBenchOptions& o, Stream& stream) {
  Bench b;
  const bool align = o.stage == "align";
  if (align || o.stage == "distill") {
    b.teacher_weights = random_weights(model::parameter_specs(m.teacher), o.dtype,
                                       ParameterSet::Use::kFrozen, stream);
    b.teacher_weights->transpose_matrices(stream);  // as loading a teacher does
    b.teacher = one_chunk(m.teacher, *b.teacher_weights);
  }
  const model::ModelConfig hybrid =
      model::hybrid_config(m.teacher, align ? std::vector<int>{} : m.keep, {});
  b.weights = random_weights(align ? method::align_specs(hybrid) : model::parameter_specs(hybrid),
                             o.dtype, ParameterSet::Use::kTrained, stream);
  if (align) {
    b.stage = std::make_unique<method::AlignStage>(*b.teacher, hybrid, *b.weights, stream);
    return b;
  }
  b.student = one_chunk(hybrid, *b.weights);
  if (o.stage == "distill") {
    b.stage = std::make_unique<method::DistillStage>(*b.teacher, *b.student, *b.weights,
                                                     o.recompute, stream);
  } else {
    HALO_REQUIRE_INPUT(o.stage == "finetune",
                       str('"', o.stage, "\" is no stage: align, distill or finetune"));
    b.stage = std::make_unique<method::FinetuneStage>("finetune", *b.student, *b.weights,
                                                      o.recompute, stream);
  }
  return b;
}

data::MicroBatch random_batch(const StepBenchOptions& o, std::int64_t V) {
  data::MicroBatch batch;
  batch.T = o.T;
  batch.B = o.B;
  batch.tokens.resize(static_cast<std::size_t>(o.T * o.B));
  fill_random(batch.tokens, V, "bench tokens");
  return batch;
}

double peak_gib(const Stream& stream) {
  if (stream.device() == Device::kCuda)
    return static_cast<double>(stream.allocator()->peak_bytes()) / (1 << 30);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

}  // namespace

BenchModel bench_model(const std::string& name) {
  const auto at = bench_models().find(name);
  if (at != bench_models().end()) return at->second;
  std::string names;
  for (const auto& [known, unused] : bench_models()) names += (names.empty() ? "" : ", ") + known;
  throw InputError(str("there is no model \"", name, "\" to bench: choose one of ", names));
}

StepMeasurement measure_step(const BenchModel& model, const StepBenchOptions& options,
                             Stream& stream) {
  const Bench bench = make_bench(model, options, stream);
  const auto self = comm::make_self_communicator("bench");
  comm::StagedCommunicator staged(*self, stream);
  const parallel::DeviceMesh mesh(staged, {});
  train::TrainerOptions training;
  training.record_passes = options.cuda_graphs;
  train::Trainer trainer(*bench.stage, mesh, training, stream);
  const std::vector<data::MicroBatch> batches{random_batch(options, model.teacher.vocab_size)};
  stream.allocator()->reset_peak();
  std::vector<double> ms;
  for (int i = 0; i < options.warmup + options.steps; ++i) {
    const auto start = std::chrono::steady_clock::now();
    trainer.step(i, batches, false);
    stream.synchronize();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (i >= options.warmup) ms.push_back(time.count());
  }
  std::sort(ms.begin(), ms.end());
  StepMeasurement m;
  m.name =
      str(options.stage, " B=", options.B, " T=", options.T, options.recompute ? " recompute" : "");
  m.ms = ms[ms.size() / 2];
  m.tokens_per_s = static_cast<double>(options.B * options.T) / m.ms * 1e3;
  m.gflops = m.tokens_per_s * bench.stage->flops_per_token(options.T) / 1e9;
  m.peak_gib = peak_gib(stream);
  return m;
}

}  // namespace halo::launch
