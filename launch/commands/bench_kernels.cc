#include "launch/commands/bench_kernels.h"

#include <filesystem>
#include <iostream>
#include <thread>

#include "core/base/cuda_device.h"
#include "core/base/file.h"
#include "core/model/head.h"
#include "kernels/matmul_choice.h"
#include "launch/bench/kernel_report.h"
#include "launch/bench/step_bench.h"

namespace halo::launch {
namespace {

struct Options {
  std::string device = "cpu";
  std::string dtype;  // empty: what the device computes fastest in
  std::string model;  // empty: one that the device can do in a minute
  std::int64_t tokens = 0;
  std::string only;
  int threads = 0;
  int repeats = 20;
  std::string json;
  std::string peer;
};

KernelSizes sizes_of(const Options& options, const std::string& name, bool gpu) {
  const model::ModelConfig c = bench_model(name).teacher;
  KernelSizes s{.V = c.vocab_size,
                .D = c.hidden_size,
                .I = c.intermediate_size,
                .H = c.num_attention_heads,
                .G = c.num_key_value_heads,
                .K = c.head_dim,
                .eps = c.rms_norm_eps,
                .theta = c.rope_theta};
  s.tokens = options.tokens > 0 ? options.tokens : gpu ? 32768 : 2048;
  const bool short_dtype = options.dtype.empty() ? gpu : options.dtype == "BF16";
  HALO_REQUIRE_INPUT(gpu || !short_dtype,
                     "BF16 is computed on a GPU alone: add --device cuda, or take FP32");
  s.dtype = short_dtype ? DType::kBFloat16 : DType::kFloat32;
  s.head_rows = model::head_chunk_rows(s.V, s.dtype, gpu ? Device::kCuda : Device::kCpu, 1);
  return s;
}

/// Before minutes have gone into what shall be written there.
void require_writable(const std::filesystem::path& file) {
  const auto folder = std::filesystem::absolute(file).parent_path();
  HALO_REQUIRE_INPUT(std::filesystem::is_directory(folder),
                     str("--json ", file.string(), ": there is no folder ", folder.string()));
  HALO_REQUIRE_INPUT(!std::filesystem::is_directory(file),
                     str("--json ", file.string(), ": a folder, no file"));
}

void run(const Options& options) {
  const bool gpu = options.device == "cuda";
  HALO_REQUIRE_INPUT(!gpu || cuda_device_count() > 0, "--device cuda: no GPU that can be used");
  KernelRun run;
  run.model = !options.model.empty() ? options.model : gpu ? "qwen3-1.7b" : "small";
  const KernelSizes sizes = sizes_of(options, run.model, gpu);
  run.dtype = sizes.dtype;
  const std::vector<KernelCase> cases = select_cases(kernel_cases(sizes), options.only);
  if (!options.json.empty()) require_writable(options.json);
  if (!options.peer.empty()) run.peer = read_peer_times(options.peer);

  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  Stream stream = gpu ? make_cuda_stream(0) : Stream(options.threads > 0 ? options.threads : cores);
  run.device = gpu ? cuda_device_properties(0).name : str("CPU, ", stream.threads(), " threads");
  kernels::choose_matmuls(stream, kernels::MatmulChoice::kFastest);
  Operands operands(stream);
  run.rates = measure_rates(sizes, operands);
  std::cout << kernel_table_head(run) << std::endl;
  for (const KernelCase& each : cases) {
    run.timings.push_back(measure_kernel(each, options.repeats, operands));
    std::cout << kernel_table_row(run.timings.back(), run) << std::endl;
  }
  if (!options.json.empty()) write_file_atomically(options.json, to_json(run));
}

}  // namespace

void add_kernel_bench(Command& bench) {
  auto options = std::make_shared<Options>();
  Command kernels = bench.command(
      "kernels", "Every kernel, forward and backward, at a model's shapes, beside the roofline");
  kernels.option("--device", options->device, "cpu or cuda")
      .one_of({"cpu", "cuda"})
      .shows_default();
  kernels.option("--dtype", options->dtype, "FP32, or on a GPU BF16, which is its default")
      .one_of({"FP32", "BF16"});
  kernels.option("--model", options->model,
                 "tiny, small (a CPU's default), qwen3-0.6b, qwen3-1.7b (a GPU's), qwen3-4b or "
                 "qwen3-8b");
  kernels.option("--tokens", options->tokens, "Tokens of an op; 0: 32768 on a GPU, 2048 on a CPU")
      .in_range(0, 1 << 24);
  kernels.option("--only", options->only, "A part of the name and shape of ops to time alone")
      .takes("REGEX");
  kernels.option("--threads", options->threads, "Threads; 0: all cores").in_range(0, 4096);
  kernels.option("--repeats", options->repeats, "Calls to take the median of")
      .in_range(1, 10000)
      .shows_default();
  kernels.option("--json", options->json, "Also write the table there").takes("FILE");
  kernels
      .option("--peer", options->peer,
              "What a PyTorch peer wrote: its times stand beside those of the same ops")
      .takes("FILE");
  kernels.does([options] { run(*options); });
}

}  // namespace halo::launch
