#include "kernels/norm_gate.h"

#include "kernels/gates.h"
#include "kernels/rms_norm.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

constexpr double kEps = 1e-6;

/// One pass over memory beside the kernels it stands for, on the same GPU: their roundings are the same.
class NormGateCudaTest : public OnGpu {
 protected:
  struct Operands {
    Tensor x, z, weight;
  };
  Operands operands(std::int64_t N, std::int64_t D, DType dtype) {
    return {up(random(N * D, "x", dtype), {N, D}, dtype),
            up(random(N * D, "z", dtype), {N, D}, dtype),
            up(random(D, "weight", dtype), {D}, dtype)};
  }
};

// Rows of a part of a warp, of a warp, of a block with one and several packs a thread, and rows that no team takes.
const std::vector<std::array<std::int64_t, 2>> kRows{
    {1, 64}, {65, 128}, {131, 512}, {63, 2048}, {7, 4096}, {3, 16384}, {5, 77}, {2000, 2048}};

TEST_F(NormGateCudaTest, ForwardIsNormThenGate) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [N, D] : kRows) {
      const Operands a = operands(N, D, dtype);
      const Tensor y = poisoned({N, D}, dtype), inv_rms = poisoned({N}, DType::kFloat32);
      norm_gate(y, inv_rms, a.x, a.weight, a.z, kEps, gpu_);
      const Tensor expected = poisoned({N, D}, dtype), statistics = poisoned({N}, DType::kFloat32);
      rms_norm(expected, statistics, a.x, a.weight, kEps, gpu_);
      sigmoid_gate(expected, expected, a.z, gpu_);
      const std::string name = str(N, " x ", D, ' ', dtype_name(dtype));
      expect_near(down(y), down(expected), 1e-6, name);
      EXPECT_EQ(down(inv_rms), down(statistics)) << name;
    }
  }
}

TEST_F(NormGateCudaTest, BackwardIsGateThenNorm) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [N, D] : kRows) {
      for (const bool output : {true, false}) {
        const Operands a = operands(N, D, dtype);
        const Tensor n = poisoned({N, D}, dtype), inv_rms = poisoned({N}, DType::kFloat32);
        rms_norm(n, inv_rms, a.x, a.weight, kEps, gpu_);
        const auto dy = random(N * D, "dy", dtype);
        const Tensor d = up(dy, {N, D}, dtype), expected = up(dy, {N, D}, dtype);
        const Tensor z = Tensor::copy_of(gpu_, a.z), expected_z = Tensor::copy_of(gpu_, a.z);
        const std::vector<float> before(static_cast<std::size_t>(D), 2.0f);
        const Tensor dweight = up(before, {D}), expected_dweight = up(before, {D});
        Tensor y;
        if (output) y = poisoned({N, D}, dtype);
        norm_gate_backward(d, dweight, output ? y.view() : TensorView{}, z, a.x, a.weight, inv_rms,
                           kEps, gpu_);
        sigmoid_gate_backward(expected, expected_z, n, expected, n, expected_z, gpu_);
        rms_norm_backward(expected, expected_dweight, expected, a.x, a.weight, inv_rms, false,
                          gpu_);
        const std::string name = str(N, " x ", D, ' ', dtype_name(dtype), output ? " with y" : "");
        expect_near(down(d), down(expected), 1e-6, name);
        expect_near(down(z), down(expected_z), 1e-6, name);
        expect_near(down(dweight), down(expected_dweight), 1e-6, name);
        if (output) expect_near(down(y), down(n), 1e-6, name);
      }
    }
  }
}

TEST_F(NormGateCudaTest, MemoryMayBeginAnywhere) {
  const Operands a = operands(9, 64, DType::kBFloat16);
  const Tensor memory = poisoned({9 * 64 + 1}, DType::kBFloat16);
  const Tensor inv_rms = poisoned({9}, DType::kFloat32), y = poisoned({9, 64}, DType::kBFloat16);
  norm_gate(y, inv_rms, a.x, a.weight, a.z, kEps, gpu_);
  const TensorView shifted = memory.view().slice(0, 1, 9 * 64 + 1).reshape({9, 64});
  norm_gate(shifted, inv_rms, a.x, a.weight, a.z, kEps, gpu_);
  expect_near(down(Tensor::copy_of(gpu_, shifted)), down(y), 1e-6, "shifted");
}

}  // namespace
}  // namespace halo::kernels
