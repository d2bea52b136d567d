#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/base/file.h"
#include "launch/bench/kernel_report.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

KernelSizes small_sizes() {
  return {.V = 100,
          .D = 32,
          .I = 48,
          .H = 4,
          .G = 2,
          .K = 16,
          .tokens = 64,
          .head_rows = 24,
          .dtype = DType::kFloat32};
}

TEST(KernelBenchTest, EveryOpOfTheKernelsIsTimed) {
  Stream stream(1);
  Operands operands(stream);
  const MachineRates rates = measure_rates(small_sizes(), operands);
  EXPECT_GT(rates.bytes_per_s, 1e8);
  EXPECT_GT(rates.flops_per_s, 1e8);
  std::set<std::string> ops;
  for (const KernelCase& each : kernel_cases(small_sizes())) {
    const KernelTiming t = measure_kernel(each, 2, operands);
    EXPECT_GT(t.seconds, 0) << t.op;
    EXPECT_GT(t.cost.bytes, 0) << t.op;
    EXPECT_GT(t.share(rates), 0) << t.op;
    ops.insert(t.op);
  }
  for (const char* op : {"rms_norm",
                         "rms_norm_backward",
                         "norm_gate",
                         "norm_gate_backward",
                         "linear, adds",
                         "norm_rope",
                         "norm_rope_backward",
                         "row_squares",
                         "row_dots",
                         "apply_rope",
                         "rope_tables",
                         "scale_by_position",
                         "swiglu",
                         "swiglu_backward",
                         "sigmoid_gate",
                         "sigmoid_gate_backward",
                         "add",
                         "multiply",
                         "embedding",
                         "embedding_backward",
                         "linear",
                         "linear_backward_input",
                         "linear_backward_weight",
                         "softmax_attention",
                         "softmax_attention_backward",
                         "merge_attention",
                         "lightning_attention",
                         "lightning_attention_backward",
                         "lightning_carry_state",
                         "mse_loss",
                         "kl_loss",
                         "ce_loss",
                         "token_log_likelihood",
                         "row_maxima",
                         "adamw",
                         "sum_of_squares",
                         "count_nonfinite"})
    EXPECT_TRUE(ops.contains(op)) << op;
}

/// What a case says that it computes and moves.
KernelCost cost_of(const KernelSizes& sizes, const std::string& expression) {
  Stream stream(1);
  Operands operands(stream);
  const auto cases = select_cases(kernel_cases(sizes), expression);
  EXPECT_EQ(cases.size(), 1U) << expression;
  return cases.front().prepare(operands).cost;
}

TEST(KernelBenchTest, CostsAreThoseOfTheFormulas) {
  KernelSizes s = small_sizes();
  EXPECT_EQ(cost_of(s, "^rms_norm 64 x 32$").bytes, (2 * 64 * 32 + 64) * 4);
  EXPECT_EQ(cost_of(s, "^rms_norm_backward, adds 64 x 32$").bytes, (4 * 64 * 32 + 64) * 4);
  EXPECT_EQ(cost_of(s, "^linear 64 x 48 x 32, gate").flops, 2 * 64 * 48 * 32);
  EXPECT_EQ(cost_of(s, "^linear 64 x 48 x 32, gate").bytes, (64 * 48 + 64 * 32 + 48 * 32) * 4);
  EXPECT_EQ(cost_of(s, "^linear_backward_weight, adds .*head").flops, 2 * 24 * 100 * 32);
  EXPECT_EQ(cost_of(s, "^linear_backward_weight, adds .*head").bytes,
            (2 * 100 * 32 + 24 * 100 + 24 * 32) * 4);
  EXPECT_EQ(cost_of(s, "^softmax_attention ").flops, 2 * 64 * 64 * 4 * 16);
  EXPECT_EQ(cost_of(s, "^softmax_attention_backward ").flops, 5 * 64 * 64 * 4 * 16);
  EXPECT_EQ(cost_of(s, "^lightning_attention T").flops, 4 * 64 * 4 * 16 * 16);
  EXPECT_EQ(cost_of(s, "^lightning_attention T").bytes, 4 * 64 * 4 * 16 * 4);
  EXPECT_EQ(cost_of(s, "^lightning_attention_backward T").bytes, 7 * 64 * 4 * 16 * 4);
  EXPECT_EQ(cost_of(s, "^adamw").bytes, 7 * 64 * 32 * 4);
  s.tokens = 1024;  // two sequences of 512
  EXPECT_EQ(cost_of(s, "^softmax_attention T=512 B=2").flops, 2.0 * 512 * 1024 * 4 * 16);
}

TEST(KernelBenchTest, TheRooflineIsTheSlowerOfMemoryAndArithmetic) {
  const MachineRates rates{.bytes_per_s = 100, .flops_per_s = 1000};
  KernelTiming t{
      .op = "op", .shape = "", .seconds = 4, .cost = {.flops = 1000, .bytes = 200}, .peers = {}};
  EXPECT_FALSE(t.computes(rates));
  EXPECT_DOUBLE_EQ(t.share(rates), 0.5);
  t.cost.flops = 3000;
  EXPECT_TRUE(t.computes(rates));
  EXPECT_DOUBLE_EQ(t.share(rates), 0.75);
}

TEST(KernelBenchTest, AnExpressionSelects) {
  const auto cases = kernel_cases(small_sizes());
  for (const KernelCase& each : select_cases(cases, "^swiglu"))
    EXPECT_TRUE(each.op.starts_with("swiglu"));
  EXPECT_EQ(select_cases(cases, "").size(), cases.size());
  EXPECT_THROW(static_cast<void>(select_cases(cases, "swiglu(")), InputError);
  EXPECT_THROW(static_cast<void>(select_cases(cases, "no such kernel")), InputError);
}

TEST(KernelBenchTest, ThePeersFastestRowStandsBeside) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "peer.json";
  write_file_atomically(path, R"({"device": "a peer's", "rows": [
      {"name": "sdpa FLASH_ATTENTION fwd T=512 B=2", "ms": 3.0, "tflops": 1},
      {"name": "sdpa CUDNN_ATTENTION fwd T=512 B=2", "ms": 2.0, "tflops": 1},
      {"name": "sdpa CUDNN_ATTENTION T=4096", "error": "no such engine"},
      {"name": "gemm 1024x48x32", "ms": 0.5, "tflops": 1}]})");
  KernelSizes s = small_sizes();
  s.tokens = 1024;
  KernelRun run{.device = "this",
                .model = "a model",
                .dtype = s.dtype,
                .rates = {1e9, 1e9},
                .peer = read_peer_times(path)};
  for (const KernelCase& each : kernel_cases(s))
    run.timings.push_back({each.op, each.shape, 1e-3, {1e6, 1e6}, each.peers});
  const auto document = nlohmann::json::parse(to_json(run));
  int with_peer = 0;
  for (const auto& row : document["rows"]) with_peer += row.contains("peer") ? 1 : 0;
  EXPECT_EQ(with_peer, 2);
  for (std::size_t i = 0; i < run.timings.size(); ++i) {
    const KernelTiming& t = run.timings[i];
    const auto& row = document["rows"][i];
    EXPECT_EQ(row["op"], t.op);
    EXPECT_DOUBLE_EQ(row["ms"], 1);
    if (t.op == "softmax_attention" && t.shape.starts_with("T=512 ")) {
      EXPECT_EQ(row["peer"], "sdpa CUDNN_ATTENTION fwd T=512 B=2");
      EXPECT_DOUBLE_EQ(row["peer_ms"], 2);
      EXPECT_TRUE(kernel_table_row(t, run).ends_with("   2.00")) << kernel_table_row(t, run);
    }
    if (t.op == "linear" && t.shape.ends_with("gate and up")) {
      EXPECT_EQ(row["peer_ms"], 0.5);
    }
  }
  EXPECT_NE(kernel_table_head(run).find("a peer's"), std::string::npos);
}

TEST(KernelBenchTest, APeersFileThatIsNoneIsRefused) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "peer.json";
  EXPECT_THROW(static_cast<void>(read_peer_times(path)), InputError);
  for (const char* text : {"", "[]", "{}", R"({"device": "d"})", R"({"device": "d", "rows": {}})",
                           R"({"device": "d", "rows": [{"ms": 1}]})",
                           R"({"device": "d", "rows": [{"name": "n", "ms": 0}]})",
                           R"({"device": "d", "rows": [{"name": "n", "ms": "1"}]})"}) {
    write_file_atomically(path, text);
    EXPECT_THROW(static_cast<void>(read_peer_times(path)), InputError) << text;
  }
}

}  // namespace
}  // namespace halo::launch
