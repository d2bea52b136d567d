#include "kernels/rope.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

class RopeCudaTest : public OnGpu {
 protected:
  static constexpr double kTheta = 1e6;

  /// A few roundings of float32 on either side; a bfloat16 result is rounded once more, by at most 2^-8.
  static double bound(DType dtype) { return 1e-6 + (dtype == DType::kBFloat16 ? 0x1p-8 : 0); }

  /// Values on the GPU, `shift` elements behind aligned memory that `memory` then owns.
  TensorView place(Tensor& memory, std::vector<float> values, const Shape& shape, DType dtype,
                   std::int64_t shift) {
    values.insert(values.begin(), static_cast<std::size_t>(shift), 0.0f);
    memory = up(values, {std::ssize(values)}, dtype);
    return memory.view().slice(0, shift, std::ssize(values)).reshape(shape);
  }
};

TEST_F(RopeCudaTest, TablesEqualTheCpus) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Shape& shape :
         {Shape{0, 4}, Shape{3, 0}, Shape{1, 1}, Shape{65, 33}, Shape{2500, 64}}) {
      for (const std::int64_t first : {0, 1, 1000000}) {
        const auto n = static_cast<std::size_t>(shape.elements());
        std::vector<float> cos(n), sin(n);
        rope_tables(view(cos.data(), shape), view(sin.data(), shape), first, kTheta, cpu_);
        const Tensor c = poisoned(shape, dtype), s = poisoned(shape, dtype);
        rope_tables(c, s, first, kTheta, gpu_);
        const std::string name = str(to_string(shape), ' ', dtype_name(dtype), " from ", first);
        expect_near(down(c), cos, bound(dtype), str("cos ", name));
        expect_near(down(s), sin, bound(dtype), str("sin ", name));
      }
    }
  }
}

// Heads that fill a block's threads and that do not, more heads than a block has threads for, halves in packs and not, and
// a half longer than a block.
TEST_F(RopeCudaTest, RotationsEqualTheCpus) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Shape& shape : {Shape{0, 1, 1, 4}, Shape{1, 1, 1, 2}, Shape{65, 2, 3, 6},
                               Shape{33, 1, 2, 16}, Shape{7, 3, 5, 128}, Shape{2, 1, 300, 32},
                               Shape{1100, 1, 40, 64}, Shape{3, 1, 2, 4800}}) {
      const std::int64_t half = shape[3] / 2, first = 7;
      const Shape table{shape[0], half};
      const auto x = random(shape.elements(), "x", dtype);
      const Tensor cos = poisoned(table, dtype), sin = poisoned(table, dtype);
      rope_tables(cos, sin, first, kTheta, gpu_);
      auto c = down(cos), s = down(sin);
      for (const bool inverse : {false, true}) {
        auto expected = x;
        apply_rope(view(expected.data(), shape), view(c.data(), table), view(s.data(), table),
                   inverse, cpu_);
        std::vector<float> in_packs;
        for (const std::int64_t shift : {0, 1}) {
          Tensor memory;
          const TensorView y = place(memory, x, shape, dtype, shift);
          apply_rope(y, cos, sin, inverse, gpu_);
          const auto actual = down(y);
          const std::string name = str(to_string(shape), ' ', dtype_name(dtype), '+', shift);
          expect_near(actual, expected, bound(dtype), name);
          if (shift == 0) in_packs = actual;
          EXPECT_EQ(actual, in_packs) << name;
        }
      }
    }
  }
}

TEST_F(RopeCudaTest, ScalingsEqualTheCpus) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Shape& shape : {Shape{0, 1, 1, 4}, Shape{1, 1, 1, 1}, Shape{65, 2, 3, 5},
                               Shape{2, 3, 40, 128}, Shape{1100, 1, 3, 128}}) {
      for (const std::int64_t first : {0, 1000000}) {
        const auto x = random(shape.elements(), "x", dtype);
        auto expected = x;
        scale_by_position(view(expected.data(), shape), first, 500, cpu_);
        for (const std::int64_t shift : {0, 1}) {
          Tensor memory;
          const TensorView y = place(memory, x, shape, dtype, shift);
          scale_by_position(y, first, 500, gpu_);
          expect_near(down(y), expected, bound(dtype),
                      str(to_string(shape), ' ', dtype_name(dtype), '+', shift, " from ", first));
        }
      }
    }
  }
}

}  // namespace
}  // namespace halo::kernels
