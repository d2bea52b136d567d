#include "kernels/norm_rope.h"

#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

/// One pass over memory beside the two kernels it stands for, on the same GPU: their roundings are the same.
class NormRopeCudaTest : public OnGpu {
 protected:
  static constexpr double kEps = 1e-6;

  static TensorView rows(const TensorView& x) { return x.reshape({x.size() / x.dim(3), x.dim(3)}); }
  HeadRotation tables(std::int64_t T, std::int64_t K, DType dtype) {
    cos_ = Tensor(gpu_, {T, K / 2}, dtype);
    sin_ = Tensor(gpu_, {T, K / 2}, dtype);
    rope_tables(cos_, sin_, 3, 1e6, gpu_);
    return {cos_, sin_};
  }
  Tensor cos_, sin_;
};

// Teams of 4, 8 and 16 threads, and heads that no team takes at once; rows that leave teams of the last block idle.
const std::vector<Shape> kHeads{{1, 1, 1, 64},  {65, 2, 3, 64}, {131, 1, 5, 128}, {63, 3, 16, 128},
                                {33, 1, 2, 32}, {2, 1, 3, 256}, {17, 1, 1, 16},   {5, 1, 2, 96}};

TEST_F(NormRopeCudaTest, ForwardIsNormThenRope) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Shape& shape : kHeads) {
      const std::int64_t K = shape[3], N = shape.elements() / K;
      const Tensor x = up(random(shape.elements(), "x", dtype), shape, dtype);
      const Tensor weight = up(random(K, "weight", dtype), {K}, dtype);
      const HeadRotation rotation = tables(shape[0], K, dtype);
      const Tensor y = poisoned(shape, dtype), inv_rms = poisoned({N}, DType::kFloat32);
      norm_rope(y, inv_rms, x, weight, kEps, rotation, gpu_);
      const Tensor expected = poisoned(shape, dtype), statistics = poisoned({N}, DType::kFloat32);
      rms_norm(rows(expected), statistics, rows(x), weight, kEps, gpu_);
      apply_rope(expected, rotation.cos, rotation.sin, false, gpu_);
      const std::string name = str(to_string(shape), ' ', dtype_name(dtype));
      expect_near(down(y), down(expected), 1e-6, name);
      EXPECT_EQ(down(inv_rms), down(statistics)) << name;
    }
  }
}

TEST_F(NormRopeCudaTest, BackwardIsRopeThenNorm) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Shape& shape : kHeads) {
      const std::int64_t K = shape[3], N = shape.elements() / K;
      const Tensor x = up(random(shape.elements(), "x", dtype), shape, dtype);
      const Tensor weight = up(random(K, "weight", dtype), {K}, dtype);
      const HeadRotation rotation = tables(shape[0], K, dtype);
      const Tensor y = poisoned(shape, dtype), inv_rms = poisoned({N}, DType::kFloat32);
      norm_rope(y, inv_rms, x, weight, kEps, rotation, gpu_);
      const auto dy = random(shape.elements(), "dy", dtype);
      const Tensor d = up(dy, shape, dtype), expected = up(dy, shape, dtype);
      const Tensor dweight = up(std::vector<float>(static_cast<std::size_t>(K), 2.0f), {K});
      const Tensor expected_dweight =
          up(std::vector<float>(static_cast<std::size_t>(K), 2.0f), {K});
      norm_rope_backward(d, dweight, x, weight, inv_rms, rotation, gpu_);
      apply_rope(expected, rotation.cos, rotation.sin, true, gpu_);
      rms_norm_backward(rows(expected), expected_dweight, rows(expected), rows(x), weight, inv_rms,
                        false, gpu_);
      const std::string name = str(to_string(shape), ' ', dtype_name(dtype));
      expect_near(down(d), down(expected), 1e-6, name);
      expect_near(down(dweight), down(expected_dweight), 1e-6, name);
    }
  }
}

TEST_F(NormRopeCudaTest, FrozenWeightsAndNoRotation) {
  const Shape shape{9, 1, 4, 128};
  const Tensor x = up(random(shape.elements(), "x", DType::kBFloat16), shape, DType::kBFloat16);
  const Tensor weight = up(random(128, "weight", DType::kBFloat16), {128}, DType::kBFloat16);
  const HeadRotation rotation = tables(9, 128, DType::kBFloat16);
  const Tensor y = poisoned(shape, DType::kBFloat16), inv_rms = poisoned({36}, DType::kFloat32);
  const Tensor plain = poisoned(shape, DType::kBFloat16);
  norm_rope(y, inv_rms, x, weight, kEps, {}, gpu_);
  rms_norm(rows(plain), inv_rms, rows(x), weight, kEps, gpu_);
  EXPECT_EQ(down(y), down(plain));
  const Tensor d = up(random(shape.elements(), "dy", DType::kBFloat16), shape, DType::kBFloat16);
  const Tensor same = Tensor::copy_of(gpu_, d.view());
  const Tensor dweight = Tensor::zeros(gpu_, {128}, DType::kFloat32);
  norm_rope_backward(d, {}, x, weight, inv_rms, rotation, gpu_);
  norm_rope_backward(same, dweight, x, weight, inv_rms, rotation, gpu_);
  EXPECT_EQ(down(d), down(same));
}

}  // namespace
}  // namespace halo::kernels
