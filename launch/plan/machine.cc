#include "launch/plan/machine.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/base/file.h"

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
