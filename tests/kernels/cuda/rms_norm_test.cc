#include "kernels/rms_norm.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

constexpr double kNormEps = 1e-6;
// One rounding to bfloat16, whose significand has 8 bits, is of at most 2^-8 of the value.
constexpr double kRounding = 0x1p-8;
constexpr double kFloatBound = 1e-5;  // float32 sums of the CPU's and the GPU's order

double bound_of(DType dtype, int roundings) {
  return kFloatBound + (dtype == DType::kBFloat16 ? roundings * kRounding * (1 + kRounding) : 0);
}

/// One case's operands, which `dtype` holds exactly, and the CPU's results in float32.
struct NormCase {
  std::int64_t N, D;
  std::vector<float> x, weight, dy, dx, dweight;  // dx and dweight: before the backward pass
  std::vector<float> y, inv_rms;

  [[nodiscard]] Shape shape() const { return {N, D}; }
  void forward(Stream& cpu, const SplitRows& split = {}) {
    y.resize(x.size());
    inv_rms.resize(static_cast<std::size_t>(N));
    rms_norm(view(y.data(), shape()), view(inv_rms.data(), {N}), view(x.data(), shape()),
             view(weight.data(), {D}), kNormEps, cpu, split);
  }
  void backward(bool accumulate, Stream& cpu, const SplitRows& split = {}) {
    rms_norm_backward(view(dx.data(), shape()), view(dweight.data(), {D}), view(dy.data(), shape()),
                      view(x.data(), shape()), view(weight.data(), {D}), view(inv_rms.data(), {N}),
                      accumulate, cpu, split);
  }
};

class RmsNormCudaTest : public OnGpu {
 protected:
  static NormCase make(std::int64_t N, std::int64_t D, DType dtype) {
    return {N,
            D,
            random(N * D, "x", dtype),
            random(D, "weight", dtype),
            random(N * D, "dy", dtype),
            random(N * D, "dx", dtype),
            random(D, "dweight", DType::kFloat32),
            {},
            {}};
  }

  void expect_forward(NormCase c, DType dtype) {
    const std::string name = str("N=", c.N, " D=", c.D, ' ', dtype_name(dtype));
    const Tensor x = up(c.x, c.shape(), dtype), weight = up(c.weight, {c.D}, dtype);
    const Tensor y = poisoned(c.shape(), dtype), inv_rms = poisoned({c.N}, DType::kFloat32);
    rms_norm(y, inv_rms, x, weight, kNormEps, gpu_);
    c.forward(cpu_);
    expect_near(down(inv_rms), c.inv_rms, kFloatBound, "inv_rms " + name);
    expect_near(down(y), c.y, bound_of(dtype, 2), "y " + name);  // x / rms is rounded, then y
    rms_norm(x, inv_rms, x, weight, kNormEps, gpu_);
    EXPECT_EQ(down(x), down(y)) << "in place " << name;
  }

  void expect_backward(NormCase c, bool accumulate, DType dtype) {
    const std::string name =
        str("N=", c.N, " D=", c.D, ' ', dtype_name(dtype), accumulate ? " accumulated" : "");
    c.forward(cpu_);
    const Tensor x = up(c.x, c.shape(), dtype), weight = up(c.weight, {c.D}, dtype);
    const Tensor dy = up(c.dy, c.shape(), dtype), inv_rms = up(c.inv_rms, {c.N});
    const Tensor dweight = up(c.dweight, {c.D});
    const Tensor dx = accumulate ? up(c.dx, c.shape(), dtype) : poisoned(c.shape(), dtype);
    rms_norm_backward(dx, dweight, dy, x, weight, inv_rms, accumulate, gpu_);
    const Tensor frozen = accumulate ? up(c.dx, c.shape(), dtype) : poisoned(c.shape(), dtype);
    rms_norm_backward(frozen, {}, dy, x, weight, inv_rms, accumulate, gpu_);
    EXPECT_EQ(down(frozen), down(dx)) << "without the weight's gradient " << name;

    const auto dweight_before = c.dweight;
    c.backward(accumulate, cpu_);
    expect_near(down(dx), c.dx, bound_of(dtype, 1), "dx " + name);
    expect_near(down(dweight), c.dweight, kFloatBound, "dweight " + name);
    if (accumulate) return;
    const Tensor again = up(dweight_before, {c.D});
    rms_norm_backward(dy, again, dy, x, weight, inv_rms, false, gpu_);
    EXPECT_EQ(down(dy), down(dx)) << "in place " << name;
    EXPECT_EQ(down(again), down(dweight)) << "bits repeat " << name;
  }
};

constexpr DType kNormTypes[] = {DType::kFloat32, DType::kBFloat16};
// Parts of a warp, a warp, a block, rows too long for registers; in packs and, of odd length, without.
constexpr std::int64_t kChannels[] = {16, 33, 64, 128, 131, 1024, 2048, 2050, 4100, 8200};

TEST_F(RmsNormCudaTest, ForwardEqualsTheCpus) {
  for (const DType dtype : kNormTypes) {
    for (const std::int64_t N : {1, 63, 131}) {
      for (const std::int64_t D : kChannels) expect_forward(make(N, D, dtype), dtype);
    }
    expect_forward(make(1, 1, dtype), dtype);
    expect_forward(make(40003, 64, dtype), dtype);
  }
}

TEST_F(RmsNormCudaTest, BackwardEqualsTheCpus) {
  for (const DType dtype : kNormTypes) {
    for (const std::int64_t N : {1, 63, 131}) {
      for (const std::int64_t D : kChannels) {
        for (const bool accumulate : {false, true})
          expect_backward(make(N, D, dtype), accumulate, dtype);
      }
    }
    // More rows than teams: each sums several for the weight.
    expect_backward(make(40003, 64, dtype), false, dtype);
    expect_backward(make(601, 4096, dtype), false, dtype);
  }
}

/// Memory that is not aligned to 16 bytes, though the rows' length would allow packs.
TEST_F(RmsNormCudaTest, TakesUnalignedRows) {
  for (const DType dtype : kNormTypes) {
    NormCase c = make(63, 64, dtype);
    auto shifted = c.x;
    shifted.insert(shifted.begin(), 7.0f);
    const Tensor memory = up(shifted, {63 * 64 + 1}, dtype);
    const TensorView x = memory.view().slice(0, 1, 63 * 64 + 1).reshape({63, 64});
    const Tensor y = poisoned({63, 64}, dtype), inv_rms = poisoned({63}, DType::kFloat32);
    const Tensor weight = up(c.weight, {64}, dtype);
    rms_norm(y, inv_rms, x, weight, kNormEps, gpu_);
    c.forward(cpu_);
    expect_near(down(y), c.y, bound_of(dtype, 2), "y");

    const Tensor dy = up(c.dy, {63, 64}, dtype), dweight = up(c.dweight, {64});
    rms_norm_backward(dy, dweight, dy, x, weight, inv_rms, false, gpu_);
    c.backward(false, cpu_);
    expect_near(down(dy), c.dx, bound_of(dtype, 1), "dx");
    expect_near(down(dweight), c.dweight, kFloatBound, "dweight");
  }
}

TEST_F(RmsNormCudaTest, SumsOfRowsEqualTheCpus) {
  for (const DType dtype : kNormTypes) {
    for (const std::int64_t N : {63, 131}) {
      for (const std::int64_t D : kChannels) {
        NormCase c = make(N, D, dtype);
        const std::string name = str("N=", N, " D=", D, ' ', dtype_name(dtype));
        const Tensor x = up(c.x, c.shape(), dtype), dy = up(c.dy, c.shape(), dtype);
        const Tensor weight = up(c.weight, {D}, dtype);
        const Tensor squares = poisoned({N}, DType::kFloat32),
                     dots = poisoned({N}, DType::kFloat32);
        row_squares(squares, x, gpu_);
        row_dots(dots, dy, x, weight, gpu_);
        std::vector<float> expected(static_cast<std::size_t>(N));
        const TensorView to = view(expected.data(), {N});
        row_squares(to, view(c.x.data(), c.shape()), cpu_);
        expect_near(down(squares), expected, kFloatBound, "squares " + name);
        row_dots(to, view(c.dy.data(), c.shape()), view(c.x.data(), c.shape()),
                 view(c.weight.data(), {D}), cpu_);
        expect_near(down(dots), expected, kFloatBound, "dots " + name);
      }
    }
  }
}

/// These channels are a third of their rows: the sums come from elsewhere.
TEST_F(RmsNormCudaTest, TakesTheSumsOfSplitRows) {
  for (const DType dtype : kNormTypes) {
    for (const std::int64_t D : kChannels) {
      NormCase c = make(63, D, dtype);
      const std::string name = str("D=", D, ' ', dtype_name(dtype));
      std::vector<float> squares, dots;
      for (const float z : random(63, "sums", DType::kFloat32)) {
        squares.push_back(static_cast<float>(3 * D) * (1 + std::fabs(z)));
        dots.push_back(z * std::sqrt(static_cast<float>(3 * D)));
      }
      const Tensor gpu_squares = up(squares, {63}), gpu_dots = up(dots, {63});
      const Tensor x = up(c.x, c.shape(), dtype), weight = up(c.weight, {D}, dtype);
      const Tensor dy = up(c.dy, c.shape(), dtype), dweight = up(c.dweight, {D});
      const Tensor y = poisoned(c.shape(), dtype), inv_rms = poisoned({63}, DType::kFloat32);
      rms_norm(y, inv_rms, x, weight, kNormEps, gpu_, {gpu_squares, 3 * D});
      rms_norm_backward(dy, dweight, dy, x, weight, inv_rms, false, gpu_, {gpu_dots, 3 * D});
      c.forward(cpu_, {view(squares.data(), {63}), 3 * D});
      c.backward(false, cpu_, {view(dots.data(), {63}), 3 * D});
      expect_near(down(inv_rms), c.inv_rms, kFloatBound, "inv_rms " + name);
      expect_near(down(y), c.y, bound_of(dtype, 2), "y " + name);
      expect_near(down(dy), c.dx, bound_of(dtype, 1), "dx " + name);
      expect_near(down(dweight), c.dweight, kFloatBound, "dweight " + name);
    }
  }
}

TEST_F(RmsNormCudaTest, NoRowsChangeNothing) {
  const Tensor x(gpu_, {0, 64}, DType::kFloat32), dx(gpu_, {0, 64}, DType::kFloat32);
  const Tensor inv_rms(gpu_, {0}, DType::kFloat32);
  const std::vector<float> ones(64, 1.0f);
  const Tensor weight = up(ones, {64}), dweight = up(ones, {64});
  rms_norm(dx, inv_rms, x, weight, kNormEps, gpu_);
  rms_norm_backward(dx, dweight, dx, x, weight, inv_rms, false, gpu_);
  row_squares(inv_rms, x, gpu_);
  EXPECT_EQ(down(dweight), ones);
}

}  // namespace
}  // namespace halo::kernels
