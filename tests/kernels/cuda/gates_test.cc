#include "kernels/gates.h"

#include <functional>

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

class GatesCudaTest : public OnGpu {
 protected:
  using Views = std::vector<TensorView>;
  using Values = std::vector<std::vector<float>>;

  /// An op whose output i may lie over its input i.
  struct Op {
    std::string name;
    std::size_t inputs, outputs;
    std::function<void(const Views& out, const Views& in, Stream&)> run;
  };
  static std::vector<Op> ops() {
    using V = const Views&;
    return {
        {"swiglu", 2, 1, [](V out, V in, Stream& s) { swiglu(out[0], in[0], in[1], s); }},
        {"sigmoid_gate", 2, 1,
         [](V out, V in, Stream& s) { sigmoid_gate(out[0], in[0], in[1], s); }},
        {"add", 2, 1, [](V out, V in, Stream& s) { add(out[0], in[0], in[1], s); }},
        {"multiply", 2, 1, [](V out, V in, Stream& s) { multiply(out[0], in[0], in[1], s); }},
        {"swiglu_backward", 3, 2,
         [](V out, V in, Stream& s) {
           swiglu_backward(out[0], out[1], {}, in[2], in[0], in[1], s);
         }},
        {"swiglu_backward with y", 3, 3,
         [](V out, V in, Stream& s) {
           swiglu_backward(out[0], out[1], out[2], in[2], in[0], in[1], s);
         }},
        {"sigmoid_gate_backward", 3, 2,
         [](V out, V in, Stream& s) {
           sigmoid_gate_backward(out[0], out[1], {}, in[0], in[2], in[1], s);
         }},
        {"sigmoid_gate_backward with y", 3, 3,
         [](V out, V in, Stream& s) {
           sigmoid_gate_backward(out[0], out[1], out[2], in[2], in[0], in[1], s);
         }},
    };
  }

  /// Where the sigmoid bends and where it is flat.
  static Values inputs_of(const Op& op, std::int64_t n, DType dtype) {
    Values inputs;
    for (std::size_t i = 0; i < op.inputs; ++i) {
      inputs.push_back(random(n, str("input ", i), dtype));
      for (float& x : inputs.back()) x *= 4;
    }
    return inputs;
  }
  Values on_cpu(const Op& op, Values inputs) {
    const std::int64_t n = std::ssize(inputs[0]);
    Values outputs(op.outputs, std::vector<float>(inputs[0].size()));
    Views in, out;
    for (auto& values : inputs) in.push_back(view(values.data(), {n}));
    for (auto& values : outputs) out.push_back(view(values.data(), {n}));
    op.run(out, in, cpu_);
    return outputs;
  }
  /// Operands begin `shift` elements behind aligned memory.
  Values on_gpu(const Op& op, const Values& inputs, DType dtype, std::int64_t shift,
                bool in_place) {
    const std::int64_t n = std::ssize(inputs[0]);
    std::vector<Tensor> memory;
    Views in, out;
    const auto place = [&](Tensor tensor) {
      memory.push_back(std::move(tensor));
      return memory.back().view().slice(0, shift, shift + n);
    };
    for (const auto& values : inputs) {
      auto shifted = values;
      shifted.insert(shifted.begin(), static_cast<std::size_t>(shift), 0.0f);
      in.push_back(place(up(shifted, {shift + n}, dtype)));
    }
    for (std::size_t i = 0; i < op.outputs; ++i)
      out.push_back(in_place ? in[i] : place(poisoned({shift + n}, dtype)));
    op.run(out, in, gpu_);
    Values outputs;
    for (const TensorView& x : out) outputs.push_back(down(x));
    return outputs;
  }
};

// Each side is within 8 units of 2^-23 (tests/kernels/gates_test.cc); bfloat16 results are rounded once, by at most 2^-8.
constexpr double kGateBound = 16 * 0x1p-23;

TEST_F(GatesCudaTest, EqualTheCpus) {
  for (const Op& op : ops()) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const double bound = kGateBound + (dtype == DType::kBFloat16 ? 0x1p-8 : 0);
      for (const std::int64_t n : {0, 1, 7, 8, 257, 9001, 300000}) {
        const Values inputs = inputs_of(op, n, dtype), expected = on_cpu(op, inputs);
        for (const std::int64_t shift : {0, 1}) {
          const std::string name = str(op.name, ' ', dtype_name(dtype), ' ', n, '+', shift);
          const Values actual = on_gpu(op, inputs, dtype, shift, /*in_place=*/false);
          for (std::size_t i = 0; i < op.outputs; ++i)
            expect_near(actual[i], expected[i], bound, str(name, " output ", i));
          EXPECT_EQ(on_gpu(op, inputs, dtype, shift, /*in_place=*/true), actual) << name;
        }
      }
    }
  }
}

TEST_F(GatesCudaTest, AddTakesABFloat16ToFloat32) {
  for (const std::int64_t n : {1, 4, 9001}) {
    const auto a = random(n, "a", DType::kFloat32), b = random(n, "b", DType::kBFloat16);
    std::vector<float> expected;
    for (std::size_t i = 0; i < a.size(); ++i) expected.push_back(a[i] + b[i]);
    const Tensor left = up(a, {n}), right = up(b, {n}, DType::kBFloat16);
    const Tensor y = poisoned({n}, DType::kFloat32);
    add(y, left, right, gpu_);
    EXPECT_EQ(down(y), expected);
    add(left, left, right, gpu_);
    EXPECT_EQ(down(left), expected);
  }
}

TEST_F(GatesCudaTest, HugeInputsSaturateAndNaNStays) {
  const std::vector<float> a{1e4f, -1e4f, 100, -100, std::numeric_limits<float>::quiet_NaN()};
  const Tensor x = up(a, {5}), one = up(std::vector<float>(5, 1), {5});
  const Tensor dx = poisoned({5}, DType::kFloat32), dz = poisoned({5}, DType::kFloat32);
  sigmoid_gate_backward(dx, dz, {}, one, one, x, gpu_);
  const auto slope = down(dx), curve = down(dz);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(slope[i], i % 2 == 0 ? 1 : 0, 1e-20) << a[i];
    EXPECT_NEAR(curve[i], 0, 1e-20) << a[i];
  }
  EXPECT_TRUE(std::isnan(slope[4]) && std::isnan(curve[4]));
  swiglu(dx, x, one, gpu_);
  const auto silu = down(dx);
  EXPECT_EQ(silu[0], 1e4f);
  EXPECT_NEAR(silu[1], 0, 1e-20);
  EXPECT_TRUE(std::isnan(silu[4]));
}

TEST_F(GatesCudaTest, RefuseFloat64) {
  const Tensor x = up(std::vector<double>{1, 2}, {2});
  EXPECT_THROW(add(x, x, x, gpu_), Error);
}

}  // namespace
}  // namespace halo::kernels
