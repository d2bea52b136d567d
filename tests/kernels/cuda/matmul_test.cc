#include "kernels/matmul.h"

#include <algorithm>

#include "kernels/matmul_choice.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

class MatmulCudaTest : public OnGpu {
 protected:
  struct Case {
    std::int64_t M, N, K;
    bool transpose_a, transpose_b;
    double beta;
  };

  void expect_equal(const Case& x, DType dtype, DType out, double bound) {
    const Shape a_shape = x.transpose_a ? Shape{x.K, x.M} : Shape{x.M, x.K};
    const Shape b_shape = x.transpose_b ? Shape{x.N, x.K} : Shape{x.K, x.N};
    std::vector<float> a = random(x.M * x.K, "a", dtype), b = random(x.K * x.N, "b", dtype);
    std::vector<float> c = random(x.M * x.N, "c", out);
    const Matmul options{x.transpose_a, x.transpose_b, 0.5, x.beta};
    Tensor d = x.beta == 0 ? poisoned({x.M, x.N}, out) : up(c, {x.M, x.N}, out);
    matmul(d, up(a, a_shape, dtype), up(b, b_shape, dtype), options, gpu_);
    matmul(view(c.data(), {x.M, x.N}), view(a.data(), a_shape), view(b.data(), b_shape), options,
           cpu_);
    expect_near(down(d), c, bound, str(x.M, " x ", x.N, " x ", x.K));
  }
};

const std::vector<std::array<std::int64_t, 3>> kSizes{{1, 1, 1},      {1, 64, 64},   {63, 65, 131},
                                                      {128, 256, 64}, {65, 8, 1000}, {300, 1, 7}};

TEST_F(MatmulCudaTest, EqualsTheCpu) {
  for (const auto& [M, N, K] : kSizes) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const double beta : {0.0, 1.0}) {
          const Case x{M, N, K, ta, tb, beta};
          expect_equal(x, DType::kFloat32, DType::kFloat32, 1e-5);
          // float32 sums of exact products
          expect_equal(x, DType::kBFloat16, DType::kFloat32, 1e-5);
          // one rounding of the result, half of 2^-7 of it; the library may round the product before it adds to c
          const double roundings = beta == 0 ? 1 : 2;
          expect_equal(x, DType::kBFloat16, DType::kBFloat16, roundings / 256 + 1e-5);
        }
      }
    }
  }
}

TEST_F(MatmulCudaTest, RowsMayBeStrided) {
  const std::vector<float> a = random(40 * 96, "a", DType::kFloat32);
  const std::vector<float> b = random(64 * 48, "b", DType::kFloat32);
  const Tensor whole = up(a, {40, 96}), other = up(b, {64, 48});
  Tensor c = poisoned({40, 100}, DType::kFloat32);
  matmul(c.view().slice(1, 20, 68), whole.view().slice(1, 32, 96), other, {}, gpu_);
  std::vector<float> expected(40 * 48);
  matmul(view(expected.data(), {40, 48}), view(a.data(), {40, 96}).slice(1, 32, 96),
         view(b.data(), {64, 48}), {}, cpu_);
  expect_near(down(c.view().slice(1, 20, 68)), expected, 1e-5, "c");
  for (const float x : down(c.view().slice(1, 0, 20))) EXPECT_TRUE(std::isnan(x));
}

TEST_F(MatmulCudaTest, LinearAddsToAnother) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [N, I, O] :
         {std::array<std::int64_t, 3>{131, 64, 96}, {63, 7, 33}, {1, 1, 1}}) {
      const auto x = random(N * I, "x", dtype), weight = random(O * I, "weight", dtype);
      const auto addend = random(N * O, "addend", dtype);
      std::vector<float> expected(static_cast<std::size_t>(N * O));
      const auto host = [](const std::vector<float>& values, Shape shape) {
        return view(const_cast<float*>(values.data()), shape);
      };
      linear(view(expected.data(), {N, O}), host(x, {N, I}), host(weight, {O, I}), cpu_,
             host(addend, {N, O}));
      const Tensor a = up(addend, {N, O}, dtype), y = poisoned({N, O}, dtype);
      const Tensor w = up(weight, {O, I}, dtype), in = up(x, {N, I}, dtype);
      linear(y, in, w, gpu_, a);
      const std::string name = str(N, " x ", I, " x ", O, ' ', dtype_name(dtype));
      expect_near(down(y), expected, dtype == DType::kFloat32 ? 1e-5 : 1.0 / 128, name);
      EXPECT_EQ(down(a), addend) << name;
      linear(a, in, w, gpu_, a);
      expect_near(down(a), expected, dtype == DType::kFloat32 ? 1e-5 : 1.0 / 128, name);
    }
  }
}

TEST_F(MatmulCudaTest, NoElementsToSumOver) {
  Tensor c = poisoned({3, 5}, DType::kFloat32);
  const Tensor a = up(std::vector<float>(1), {1}), none(gpu_, {3, 0}, DType::kFloat32);
  const Tensor nothing(gpu_, {0, 5}, DType::kFloat32);
  matmul(c, none, nothing, {}, gpu_);
  for (const float x : down(c)) EXPECT_EQ(x, 0);
}

TEST_F(MatmulCudaTest, ATableGivesAnotherStreamTheSameAlgorithms) {
  const Tensor a = up(random(300 * 256, "a", DType::kBFloat16), {300, 256}, DType::kBFloat16);
  const Tensor b = up(random(512 * 256, "b", DType::kBFloat16), {512, 256}, DType::kBFloat16);
  const auto product = [&](Stream& stream) {
    const Tensor x = Tensor::copy_of(stream, a), w = Tensor::copy_of(stream, b);
    const Tensor y = Tensor::zeros(stream, {300, 512}, DType::kBFloat16);
    linear(y, x, w, stream);
    stream.synchronize();
    return down(y);
  };
  gpu_.synchronize();
  Stream first = make_cuda_stream(0), second = make_cuda_stream(0);
  choose_matmuls(first, MatmulChoice::kFastest);
  const auto values = product(first);
  const std::string table = matmul_table(first);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2) << table;
  ASSERT_TRUE(load_matmul_table(second, table));
  EXPECT_EQ(product(second), values);
  EXPECT_EQ(matmul_table(second), table);

  Stream third = make_cuda_stream(0);
  EXPECT_FALSE(load_matmul_table(third, "halo products of another GPU, cublasLt 1\n1 2 3\n"));
  EXPECT_THROW(load_matmul_table(third, "something else"), Error);
  EXPECT_THROW(load_matmul_table(third, table + "1 2 3\n"), Error);
}

}  // namespace
}  // namespace halo::kernels
