#include "launch/plan/machine.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>

#include "core/base/file.h"
#include "core/base/tensor.h"
#include "kernels/gates.h"
#include "kernels/matmul.h"
#include "kernels/softmax_attention.h"
#include "parallel/comm/local_communicator.h"

namespace halo::launch {
namespace {

// Rates that well-written training reaches, below the data sheets' peaks.
constexpr const char* kH100 = R"(
  name: "h100" ranks_per_node: 8 memory_gib: 79
  matmul_tflops: 600 attention_tflops: 350 memory_gbytes_per_s: 2600 kernel_us: 4
  node { gbytes_per_s: 350 latency_us: 10 } network { gbytes_per_s: 42 latency_us: 20 })";
constexpr const char* kH200 = R"(
  name: "h200" ranks_per_node: 8 memory_gib: 140
  matmul_tflops: 600 attention_tflops: 350 memory_gbytes_per_s: 3800 kernel_us: 4
  node { gbytes_per_s: 350 latency_us: 10 } network { gbytes_per_s: 42 latency_us: 20 })";

class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (text.empty()) text = str(line + 1, ':', column + 1, ": ", message);
  }
  std::string text;
};

proto::Machine parse_machine(const std::string& text, const std::string& name) {
  proto::Machine machine;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  HALO_REQUIRE_INPUT(parser.ParseFromString(text, &machine), str(name, ':', error.text));
  const auto require = [&](double value, const char* field) {
    HALO_REQUIRE_INPUT(value >= 1e-6 && value <= 1e12,
                       str(name, ": ", field, " must be given, from 1e-6 to 1e12"));
  };
  require(machine.ranks_per_node(), "ranks_per_node");
  require(machine.memory_gib(), "memory_gib");
  require(machine.matmul_tflops(), "matmul_tflops");
  require(machine.attention_tflops(), "attention_tflops");
  require(machine.memory_gbytes_per_s(), "memory_gbytes_per_s");
  require(machine.node().gbytes_per_s(), "node.gbytes_per_s");
  require(machine.network().gbytes_per_s(), "network.gbytes_per_s");
  const auto require_time = [&](double value, const char* field) {
    HALO_REQUIRE_INPUT(value >= 0 && value <= 1e9,
                       str(name, ": ", field, " is ", value, ": it must be 0 to 1e9"));
  };
  require_time(machine.kernel_us(), "kernel_us");
  require_time(machine.node().latency_us(), "node.latency_us");
  require_time(machine.network().latency_us(), "network.latency_us");
  return machine;
}

/// Seconds of the fastest of some runs.
template <class Work>
double fastest(Work&& work) {
  using Clock = std::chrono::steady_clock;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) {
    const auto begin = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

double matmul_rate(Stream& stream) {
  constexpr std::int64_t n = 1024;
  const Tensor a = Tensor::zeros(stream, {n, n}, DType::kFloat32);
  const Tensor b = Tensor::zeros(stream, {n, n}, DType::kFloat32);
  const Tensor c(stream, {n, n}, DType::kFloat32);
  const double seconds = fastest([&] { kernels::matmul(c, a, b, {}, stream); });
  return 2.0 * n * n * n / seconds;
}

double attention_rate(Stream& stream) {
  constexpr std::int64_t T = 1024, H = 8, K = 64;
  const Tensor q = Tensor::zeros(stream, {T, 1, H, K}, DType::kFloat32);
  const Tensor o(stream, {T, 1, H, K}, DType::kFloat32), lse(stream, {T, 1, H}, DType::kFloat32);
  const double seconds =
      fastest([&] { kernels::softmax_attention(o, lse, q, q, q, 0.125, {}, stream); });
  return 4.0 * H * K * (T * (T + 1) / 2.0) / seconds;
}

double memory_rate(Stream& stream) {
  constexpr std::int64_t n = std::int64_t{16} << 20;
  const Tensor a = Tensor::zeros(stream, {n}, DType::kFloat32);
  const Tensor b = Tensor::zeros(stream, {n}, DType::kFloat32);
  const Tensor c = Tensor::zeros(stream, {n}, DType::kFloat32);
  const double seconds = fastest([&] { kernels::add(c, a, b, stream); });
  return 3.0 * n * 4 / seconds;
}

/// Seconds in which two ranks send each other `n` bytes.
double exchange_seconds(std::int64_t n) {
  double seconds = 0;
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(n)), in(out.size());
    const int peer = 1 - ranks.rank();
    const comm::Message send{peer, view(out.data(), {n})}, receive{peer, view(in.data(), {n})};
    const double each = fastest([&] { ranks.exchange({&send, 1}, {&receive, 1}).wait(); });
    if (ranks.rank() == 0) seconds = each;
  });
  return seconds;
}

}  // namespace

proto::Machine read_machine(const std::string& name_or_file) {
  if (name_or_file == "h100") return parse_machine(kH100, "h100");
  if (name_or_file == "h200") return parse_machine(kH200, "h200");
  HALO_REQUIRE_INPUT(
      std::filesystem::exists(name_or_file),
      str("machine ", name_or_file,
          " is neither h100, h200 nor a file; `halo plan --measure FILE` writes one"));
  return parse_machine(read_file(name_or_file), name_or_file);
}

proto::Machine measure_machine(int threads) {
  Stream stream(threads);
  proto::Machine machine;
  machine.set_name("measured");
  machine.set_ranks_per_node(1 << 20);
  machine.set_memory_gib(static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                         static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30));
  machine.set_matmul_tflops(matmul_rate(stream) / 1e12);
  machine.set_attention_tflops(attention_rate(stream) / 1e12);
  machine.set_memory_gbytes_per_s(memory_rate(stream) / 1e9);
  machine.set_kernel_us(1);
  constexpr std::int64_t kLong = std::int64_t{16} << 20;
  const double latency = exchange_seconds(1);
  machine.mutable_node()->set_latency_us(latency * 1e6);
  machine.mutable_node()->set_gbytes_per_s(static_cast<double>(kLong) /
                                           std::max(1e-9, exchange_seconds(kLong) - latency) / 1e9);
  *machine.mutable_network() = machine.node();
  return machine;
}

double seconds_of(const proto::Machine& machine, const KernelWork& work) {
  const double rate = work.kind == KernelWork::Kind::kAttention ? machine.attention_tflops()
                                                                : machine.matmul_tflops();
  return machine.kernel_us() * 1e-6 +
         std::max(work.flops / (rate * 1e12), work.bytes / (machine.memory_gbytes_per_s() * 1e9));
}

double seconds_of(const proto::Machine& machine, const comm::Call& call, int stride) {
  const bool near = static_cast<std::int64_t>(stride) * call.ranks <= machine.ranks_per_node();
  const proto::Link& link = near ? machine.node() : machine.network();
  const double rounds = call.op == "exchange" ? 1 : std::ceil(std::log2(call.ranks));
  const double bytes =
      std::max(comm::bytes_sent(call),
               static_cast<double>(call.op == "exchange" ? call.bytes - call.sent : 0));
  return rounds * link.latency_us() * 1e-6 + bytes / (link.gbytes_per_s() * 1e9);
}

}  // namespace halo::launch
