#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "launch/bench/kernel_cost.h"

namespace halo::launch {

/// The dimensions that kernels are timed at; the glossary's names.
struct KernelSizes {
  std::int64_t V = 0, D = 0, I = 0;
  std::int64_t H = 0, G = 0, K = 0;
  double eps = 1e-6, theta = 1e6;
  std::int64_t tokens = 0;     // of an op, in all
  std::int64_t head_rows = 0;  // of logits that exist at once
  DType dtype = DType::kFloat32;
};

/// The memory that one case works on, with values as a model has them: zeros would be faster than life.
class Operands {
 public:
  explicit Operands(Stream& stream) : stream_(stream) {}
  /// Normal values, a block of them again and again.
  [[nodiscard]] TensorView normal(const Shape& shape, DType dtype);
  /// Uninitialised.
  [[nodiscard]] TensorView room(const Shape& shape, DType dtype);
  /// (n) int32 in [0, V).
  [[nodiscard]] TensorView tokens(std::int64_t n, std::int64_t V);
  [[nodiscard]] Stream& stream() const { return stream_; }
  /// Ends the life of all that was handed out.
  void clear() { all_.clear(); }

 private:
  [[nodiscard]] TensorView block(DType dtype);
  Stream& stream_;
  std::vector<Tensor> all_;
  std::map<DType, Tensor> blocks_;
};

/// A call that can be made again and again, and what it costs.
struct KernelCall {
  std::function<void(Stream&)> run;
  KernelCost cost;
};

/// One op at one shape.
struct KernelCase {
  std::string op;     // "rms_norm_backward"
  std::string shape;  // "32768 x 2048"
  std::function<KernelCall(Operands&)> prepare;
  std::vector<std::string> peers = {};  // rows of a peer's file that compute the same
};

/// Every op of kernels/, forward and backward, at the shapes of a model.
[[nodiscard]] std::vector<KernelCase> kernel_cases(const KernelSizes& sizes);

// Its parts: ops of rows and elements, matrix products, attention, losses.
void add_row_cases(std::vector<KernelCase>& cases, const KernelSizes& sizes);
void add_matmul_cases(std::vector<KernelCase>& cases, const KernelSizes& sizes);
void add_attention_cases(std::vector<KernelCase>& cases, const KernelSizes& sizes);
void add_loss_cases(std::vector<KernelCase>& cases, const KernelSizes& sizes);

}  // namespace halo::launch
