#include <iomanip>
#include <iostream>
#include <thread>

#include "core/base/cuda_device.h"
#include "core/base/text.h"
#include "launch/bench/checkpoint_bench.h"
#include "launch/bench/context_bench.h"
#include "launch/bench/step_bench.h"
#include "launch/commands/bench_kernels.h"
#include "launch/commands/commands.h"
#include "launch/jobs/device_peaks.h"
#include "launch/jobs/matmul_tables.h"

namespace halo::launch {
namespace {

struct Options {
  std::string model = "small";
  std::string stages = "align,distill,finetune";
  int threads = 0;
  int steps = 8;
  std::int64_t sequences = 4;
  std::int64_t sequence_length = 512;
  std::int64_t finetune_length = 2048;
  std::string device = "cpu";
  double memory_gib = 0;
  std::string sum_order = "fixed";
  std::string precision;  // empty: FP32 on a processor, BF16 on a GPU
  bool recompute = false;
  bool no_cuda_graphs = false;
};

Stream bench_stream(const Options& options) {
  if (options.device == "cuda") return make_cuda_stream(0);
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return Stream(options.threads > 0 ? options.threads : std::max(1, cores));
}

DType bench_dtype(const Options& options) {
  const bool gpu = options.device == "cuda";
  if (options.precision.empty()) return gpu ? DType::kBFloat16 : DType::kFloat32;
  if (options.precision == "BF16" && !gpu)
    throw InputError("BF16 is computed on a GPU alone: add --device cuda, or take FP32");
  return options.precision == "BF16" ? DType::kBFloat16 : DType::kFloat32;
}

/// What MFU is over; 0 for a processor and a GPU that is not known.
double datasheet_peak(const Stream& stream, DType dtype) {
  if (stream.device() != Device::kCuda) return 0;
  return datasheet_flops(cuda_device_properties(stream.queue().device()).name, dtype);
}

void run_step(const Options& options) {
  const BenchModel model = bench_model(options.model);
  Stream stream = bench_stream(options);
  stream.set_sum_order(options.sum_order == "any" ? SumOrder::kAny : SumOrder::kFixed);
  if (options.memory_gib > 0)
    stream.allocator()->set_limit(static_cast<std::size_t>(options.memory_gib * (1 << 30)));
  MatmulTables matmul_tables(stream);
  const double peak = datasheet_peak(stream, bench_dtype(options));
  for (const std::string& stage : split(options.stages, ',')) {
    StepBenchOptions step;
    step.stage = stage;
    step.dtype = bench_dtype(options);
    step.B = stage == "finetune" ? 1 : options.sequences;
    step.T = stage == "finetune" ? options.finetune_length : options.sequence_length;
    step.steps = options.steps;
    step.recompute = options.recompute;
    step.cuda_graphs = !options.no_cuda_graphs;
    const StepMeasurement m = measure_step(model, step, stream);
    std::cout << std::fixed << std::left << std::setw(26) << m.name << std::right
              << std::setprecision(0) << std::setw(8) << m.tokens_per_s << " tokens/s"
              << std::setprecision(1) << std::setw(9) << m.ms << " ms" << std::setw(8) << m.gflops
              << " GFLOP/s" << std::setprecision(2) << std::setw(7) << m.peak_gib << " GiB peak";
    if (peak > 0) std::cout << std::setprecision(1) << ", MFU " << 100e9 * m.gflops / peak << '%';
    std::cout << std::endl;
  }
  matmul_tables.save();
}

void run_context(const ContextBenchOptions& options) {
  const std::int64_t fragments = options.ranks * (options.contiguous ? 1 : 2);
  const std::int64_t fewer = options.T / fragments * fragments;
  HALO_REQUIRE_INPUT(options.T % fragments == 0,
                     str("--sequence_length: ", options.T, " tokens do not divide into ", fragments,
                         " fragments: choose ", fewer > 0 ? str(fewer, " or ") : std::string(),
                         fewer + fragments));
  HALO_REQUIRE_INPUT(options.H % options.G == 0,
                     str("--key_heads: ", options.G, " does not divide ", options.H, " heads"));
  const ContextMeasurement m = measure_context(options);
  std::cout << std::fixed << std::setprecision(1) << "lightning attention, T=" << options.T
            << ": one rank " << m.one_ms << " ms, " << m.ranks << " ranks " << m.all_ms << " ms, "
            << std::setprecision(3) << m.ratio << " of a perfect share (" << m.apart_ratio
            << " without exchange; of the shortest times " << m.best_ratio << ", "
            << m.best_apart_ratio << "), " << std::setprecision(1) << 100 * m.wait_share
            << "% waiting, " << human_bytes(m.bytes) << " sent by rank 0" << std::endl;
}

void add_context(Command& bench) {
  Command context = bench.command(
      "context", "Lightning attention over a sequence cut among ranks, beside one rank");
  auto options = std::make_shared<ContextBenchOptions>();
  context.option("--sequence_length", options->T, "Tokens of the sequence")
      .in_range(1, 1 << 24)
      .shows_default();
  context.option("--heads", options->H, "Query heads").in_range(1, 1024).shows_default();
  context.option("--key_heads", options->G, "Key and value heads")
      .in_range(1, 1024)
      .shows_default();
  context.option("--head_dim", options->K, "Channels of a head").in_range(1, 1024).shows_default();
  context.option("--ranks", options->ranks, "Threads as ranks, one thread each")
      .in_range(1, 256)
      .shows_default();
  context.option("--turns", options->turns, "Turns to take the median of")
      .in_range(1, 1000)
      .shows_default();
  context.flag("--scan", options->scan, "States by a prefix scan in place of a ring");
  context.flag("--contiguous", options->contiguous, "One fragment a rank in place of zigzag's two");
  context.does([options] { run_context(*options); });
}

void run_checkpoint(const CheckpointBenchOptions& options) {
  const CheckpointMeasurement m = measure_checkpoint(options);
  const auto rate = [](double bytes) { return human_bytes(bytes) + "/s"; };
  std::cout << human_bytes(m.bytes) << " of state, " << options.ranks
            << " ranks: plain write and sync " << rate(m.plain_write) << ", save " << rate(m.save)
            << ", save beside training " << rate(m.save_beside) << " with a stall of "
            << formatted("%.0f ms", 1e3 * m.stalled) << "; plain read " << rate(m.plain_read)
            << ", load with checksums " << rate(m.load) << std::endl;
}

void add_checkpoint(Command& bench) {
  Command checkpoint =
      bench.command("checkpoint", "Saving and loading checkpoints, beside plain files");
  auto options = std::make_shared<CheckpointBenchOptions>();
  checkpoint.option("--folder", options->folder, "On the disk to measure").shows_default();
  checkpoint.option("--gib", options->gib, "Of masters and moments, over all ranks")
      .in_range(0.001, 1e6)
      .shows_default();
  checkpoint.option("--ranks", options->ranks, "Threads as ranks, a file each")
      .in_range(1, 256)
      .shows_default();
  checkpoint.option("--turns", options->turns, "Turns to take the median of")
      .in_range(1, 1000)
      .shows_default();
  checkpoint.does([options] { run_checkpoint(*options); });
}

}  // namespace

void add_bench(Command& program) {
  Command bench = program.command("bench", "Measure this machine");
  bench.require_command();
  add_checkpoint(bench);
  add_context(bench);
  add_kernel_bench(bench);
  auto options = std::make_shared<Options>();
  Command step = bench.command("step", "Whole training steps on random weights and tokens");
  step.option("--model", options->model,
              "tiny, small, qwen3-0.6b, qwen3-1.7b, qwen3-4b or qwen3-8b")
      .shows_default();
  step.option("--stages", options->stages, "Which, separated by commas").shows_default();
  step.option("--device", options->device, "cpu or cuda").one_of({"cpu", "cuda"}).shows_default();
  step.option("--precision", options->precision, "FP32, or on a GPU BF16, which is its default")
      .one_of({"FP32", "BF16"});
  step.option("--memory_gib", options->memory_gib,
              "A GPU's memory that activations are fitted to; 0: all that is free")
      .in_range(0.0, 1e6);
  step.option("--sum_order", options->sum_order,
              "fixed, as a deterministic run on a GPU sums, or any, which is faster")
      .one_of({"fixed", "any"})
      .shows_default();
  step.option("--threads", options->threads, "Threads; 0: all cores").in_range(0, 4096);
  step.option("--steps", options->steps, "Steps to take the median of")
      .in_range(1, 10000)
      .shows_default();
  step.option("--sequences", options->sequences, "Sequences a step of align and distill")
      .in_range(1, 4096)
      .shows_default();
  step.option("--sequence_length", options->sequence_length, "Tokens of each")
      .in_range(1, 1 << 24)
      .shows_default();
  step.option("--finetune_length", options->finetune_length, "Tokens of finetune's one sequence")
      .in_range(2, 1 << 24)
      .shows_default();
  step.flag("--recompute", options->recompute,
            "Compute each layer's activations again in the backward pass");
  step.flag("--no_cuda_graphs", options->no_cuda_graphs,
            "On a GPU, queue a step's passes call by call");
  step.does([options] { run_step(*options); });
}

}  // namespace halo::launch
