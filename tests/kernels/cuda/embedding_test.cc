#include "kernels/embedding.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

class EmbeddingCudaTest : public OnGpu {
 protected:
  struct Case {
    std::int64_t N, V, D;
    VocabularyPart part;
  };
  // Rows in words of 16 bytes and not, longer than a warp's 128 columns; long runs of one id, ids that are elsewhere.
  static std::vector<Case> cases() {
    return {{0, 5, 4, {0, 5}},  {1, 5, 1, {0, 5}},          {7, 0, 4, {2, 5}},
            {65, 5, 3, {0, 5}}, {1000, 3, 260, {0, 3}},     {1000, 5, 257, {2, 9}},
            {33, 1, 8, {0, 1}}, {3000, 64, 128, {64, 256}}, {5000, 70000, 24, {0, 70000}}};
  }
  static std::vector<std::int32_t> random_ids(const Case& c) {
    const CounterRng rng(1, "ids");
    std::vector<std::int32_t> ids;
    for (std::int64_t n = 0; n < c.N; ++n) {
      const auto i = static_cast<std::uint64_t>(n);
      ids.push_back(
          static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(c.part.size), i)));
    }
    return ids;
  }
};

// Rows are copied and sums are taken in the CPU's order, so that nothing is rounded otherwise.
TEST_F(EmbeddingCudaTest, RowsAreTheCpus) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Case& c : cases()) {
      auto ids = random_ids(c);
      auto table = random(c.V * c.D, "table", dtype);
      std::vector<float> expected(static_cast<std::size_t>(c.N * c.D));
      embedding(view(expected.data(), {c.N, c.D}), view(ids.data(), {c.N}),
                view(table.data(), {c.V, c.D}), c.part, cpu_);
      const Tensor ids_up = up(ids, {c.N}), table_up = up(table, {c.V, c.D}, dtype);
      for (const std::int64_t shift : {0, 1}) {
        const Tensor memory = poisoned({shift + c.N * c.D}, dtype);
        const TensorView y = memory.view().slice(0, shift, shift + c.N * c.D).reshape({c.N, c.D});
        embedding(y, ids_up, table_up, c.part, gpu_);
        EXPECT_EQ(down(y), expected) << c.N << ' ' << c.V << ' ' << c.D << '+' << shift;
      }
    }
  }
}

TEST_F(EmbeddingCudaTest, GradientsHaveTheCpusBits) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Case& c : cases()) {
      auto ids = random_ids(c);
      auto dy = random(c.N * c.D, "dy", dtype);
      const auto before = random(c.V * c.D, "dtable", DType::kFloat32);
      auto expected = before;
      embedding_backward(view(expected.data(), {c.V, c.D}), view(ids.data(), {c.N}),
                         view(dy.data(), {c.N, c.D}), c.part, cpu_);
      const Tensor ids_up = up(ids, {c.N}), dy_up = up(dy, {c.N, c.D}, dtype);
      for (const std::int64_t shift : {0, 1}) {
        auto shifted = before;
        shifted.insert(shifted.begin(), static_cast<std::size_t>(shift), 0.0f);
        const Tensor memory = up(shifted, {shift + c.V * c.D});
        const TensorView dtable =
            memory.view().slice(0, shift, shift + c.V * c.D).reshape({c.V, c.D});
        embedding_backward(dtable, ids_up, dy_up, c.part, gpu_);
        EXPECT_EQ(down(dtable), expected) << c.N << ' ' << c.V << ' ' << c.D << '+' << shift;
      }
    }
  }
}

TEST_F(EmbeddingCudaTest, AnIdOutsideTheVocabularyGivesNaNAndGetsNothing) {
  const std::vector<std::int32_t> ids{4, -1, 0, 5, 2147483647, -2147483647 - 1};
  const Tensor ids_up = up(ids, {6});
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const std::int64_t D : {3, 8}) {
      const Tensor table =
          up(std::vector<float>(static_cast<std::size_t>(5 * D), 2), {5, D}, dtype);
      const Tensor y = Tensor::zeros(gpu_, {6, D}, dtype);
      embedding(y, ids_up, table, {0, 5}, gpu_);
      const auto rows = down(y);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t n = i / static_cast<std::size_t>(D);
        EXPECT_EQ(std::isnan(rows[i]), n != 0 && n != 2) << i;
      }
      const Tensor dy = up(std::vector<float>(static_cast<std::size_t>(6 * D), 1), {6, D}, dtype);
      const Tensor dtable = Tensor::zeros(gpu_, {5, D}, DType::kFloat32);
      embedding_backward(dtable, ids_up, dy, {0, 5}, gpu_);
      const auto gradient = down(dtable);
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        const std::size_t row = i / static_cast<std::size_t>(D);
        EXPECT_EQ(gradient[i], row == 0 || row == 4 ? 1 : 0) << i;
      }
    }
  }
}

}  // namespace
}  // namespace halo::kernels
