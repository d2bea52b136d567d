#include "kernels/lightning_attention.h"

#include "tests/kernels/cuda/on_gpu.h"

namespace halo::kernels {
namespace {

struct Dims {
  std::int64_t T, B, H, G, K;
};
using Floats = std::vector<float>;

/// The inputs of all passes, in values that the dtype holds.
struct Inputs {
  Dims d;
  DType dtype;
  Floats q, k, v, d_o, state_in, dstate_out;  // states may be empty
  std::vector<std::int32_t> starts;           // empty: no documents

  [[nodiscard]] Shape queries() const { return {d.T, d.B, d.H, d.K}; }
  [[nodiscard]] Shape keys() const { return {d.T, d.B, d.G, d.K}; }
  [[nodiscard]] Shape states() const { return {d.B, d.H, d.K, d.K}; }
  [[nodiscard]] LightningOptions options() const {
    return {.slopes = slopes(static_cast<int>(d.H)),
            .scale = 1 / std::sqrt(static_cast<double>(d.K)),
            .document_start = {}};
  }
};
struct Results {
  Floats o, state_out, dq, dk, dv, dstate_in;
};
/// Where a device's kernels read and write. Views may be empty.
struct Operands {
  TensorView q, k, v, d_o, state_in, dstate_out, o, state_out, dq, dk, dv, dstate_in;
};

void run_whole(const Operands& x, const LightningOptions& options, Stream& stream) {
  lightning_attention(x.o, x.state_out, x.q, x.k, x.v, x.state_in, options, stream);
  lightning_attention_backward({x.dq, x.dk, x.dv, x.dstate_in}, x.d_o, x.dstate_out,
                               {x.q, x.k, x.v, x.state_in}, options, stream);
}

class LightningAttentionCudaTest : public OnGpu {
 protected:
  [[nodiscard]] static Inputs inputs(const Dims& d, DType dtype) {
    Inputs x{.d = d,
             .dtype = dtype,
             .q = random(d.T * d.B * d.H * d.K, "q", dtype),
             .k = random(d.T * d.B * d.G * d.K, "k", dtype),
             .v = random(d.T * d.B * d.G * d.K, "v", dtype),
             .d_o = random(d.T * d.B * d.H * d.K, "do", dtype),
             .state_in = random(d.B * d.H * d.K * d.K, "state_in", DType::kFloat32),
             .dstate_out = random(d.B * d.H * d.K * d.K, "dstate_out", DType::kFloat32),
             .starts = {}};
    return x;
  }
  /// Documents of batch element b begin at these tokens; before the first the incoming state goes on.
  static void set_documents(Inputs& x, std::int64_t b, const std::vector<std::int32_t>& at) {
    x.starts.resize(static_cast<std::size_t>(x.d.T * x.d.B), -1);
    for (const std::int32_t start : at)
      for (std::int64_t t = start; t < x.d.T; ++t)
        x.starts[static_cast<std::size_t>(t * x.d.B + b)] = start;
  }

  [[nodiscard]] Results on_cpu(const Inputs& x) {
    const auto room = [](const Shape& shape) {
      return Floats(static_cast<std::size_t>(shape.elements()), NAN);
    };
    Results r{room(x.queries()), room(x.states()), room(x.queries()),
              room(x.keys()),    room(x.keys()),   room(x.states())};
    const auto states = [&](const Floats& s) {
      return s.empty() ? TensorView{} : view(s.data(), x.states());
    };
    LightningOptions options = x.options();
    if (!x.starts.empty()) options.document_start = view(x.starts.data(), {x.d.T, x.d.B});
    run_whole(
        {view(x.q.data(), x.queries()), view(x.k.data(), x.keys()), view(x.v.data(), x.keys()),
         view(x.d_o.data(), x.queries()), states(x.state_in), states(x.dstate_out),
         view(r.o.data(), x.queries()), states(r.state_out), view(r.dq.data(), x.queries()),
         view(r.dk.data(), x.keys()), view(r.dv.data(), x.keys()), states(r.dstate_in)},
        options, cpu_);
    return r;
  }

  /// `run` is given the operands on the GPU, outputs poisoned.
  template <class Run = decltype(run_whole)>
  [[nodiscard]] Results on_gpu(const Inputs& x, Run&& run = run_whole) {
    const Tensor q = up(x.q, x.queries(), x.dtype), k = up(x.k, x.keys(), x.dtype);
    const Tensor v = up(x.v, x.keys(), x.dtype), d_o = up(x.d_o, x.queries(), x.dtype);
    const auto states = [&](const Floats& s) { return s.empty() ? Tensor() : up(s, x.states()); };
    const Tensor state_in = states(x.state_in), dstate_out = states(x.dstate_out);
    const Tensor o = poisoned(x.queries(), x.dtype), dq = poisoned(x.queries(), x.dtype);
    const Tensor dk = poisoned(x.keys(), x.dtype), dv = poisoned(x.keys(), x.dtype);
    const Tensor state_out = poisoned(x.states(), DType::kFloat32);
    const Tensor dstate_in = poisoned(x.states(), DType::kFloat32);
    const Tensor starts = x.starts.empty() ? Tensor() : up(x.starts, {x.d.T, x.d.B});
    LightningOptions options = x.options();
    options.document_start = starts;
    run(Operands{q, k, v, d_o, state_in, dstate_out, o, state_out, dq, dk, dv, dstate_in}, options,
        gpu_);
    return {down(o), down(state_out), down(dq), down(dk), down(dv), down(dstate_in)};
  }

  /// float32: sums of some hundred terms in another order, which wander by far less than 100 eps of the largest.
  /// bfloat16: rounding a result is up to 2^-8 of it. Products, decayed operands and states are rounded before that, which
  /// over many terms averages out to less than another 2^-8: 2^-7 of the largest in all (2^-8.2 was seen).
  [[nodiscard]] static double bound(DType dtype) {
    return dtype == DType::kFloat32 ? 1e-5 : std::ldexp(1.0, -7);
  }
  static void expect_same(const Results& actual, const Results& expected, double bound) {
    expect_near(actual.o, expected.o, bound, "o");
    expect_near(actual.state_out, expected.state_out, bound, "state_out");
    expect_near(actual.dq, expected.dq, bound, "dq");
    expect_near(actual.dk, expected.dk, bound, "dk");
    expect_near(actual.dv, expected.dv, bound, "dv");
    expect_near(actual.dstate_in, expected.dstate_in, bound, "dstate_in");
  }
  void expect_as_on_cpu(const Inputs& x) {
    SCOPED_TRACE(str("T ", x.d.T, " B ", x.d.B, " H ", x.d.H, " G ", x.d.G, " K ", x.d.K, " in ",
                     dtype_name(x.dtype)));
    expect_same(on_gpu(x), on_cpu(x), bound(x.dtype));
  }

  static constexpr DType kDTypes[] = {DType::kFloat32, DType::kBFloat16};
};

TEST_F(LightningAttentionCudaTest, MatchesTheCpuAtOddSizes) {
  for (const DType dtype : kDTypes)
    for (const std::int64_t T : {0, 1, 63, 65, 131, 300})
      for (const std::int64_t K : {16, 32, 64, 128})
        for (const auto& [H, G] : {std::pair{1, 1}, {3, 3}, {4, 2}, {4, 1}})
          for (const std::int64_t B : {1, 2}) expect_as_on_cpu(inputs({T, B, H, G, K}, dtype));
}

/// Neither a power of two, nor whole packs, nor whole tiles.
TEST_F(LightningAttentionCudaTest, TakesAnyNumberOfChannels) {
  for (const DType dtype : kDTypes)
    for (const std::int64_t K : {1, 7, 24, 65, 100, 256})
      expect_as_on_cpu(inputs({70, 1, 2, 1, K}, dtype));
}

TEST_F(LightningAttentionCudaTest, AnEmptyStateIsZero) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t K : {64, 128}) {
      Inputs x = inputs({131, 2, 4, 2, K}, dtype);
      x.state_in.clear();
      x.dstate_out.clear();
      expect_as_on_cpu(x);
      const Results expected = on_gpu(x);
      Results without =
          on_gpu(x, [](Operands operands, const LightningOptions& options, Stream& s) {
            operands.state_out = operands.dstate_in = {};  // not wanted
            run_whole(operands, options, s);
          });
      without.state_out = expected.state_out;
      without.dstate_in = expected.dstate_in;
      expect_same(without, expected, 0);
    }
  }
}

TEST_F(LightningAttentionCudaTest, ResetsTheStateAtDocuments) {
  for (const DType dtype : kDTypes) {
    for (const auto& [K, G] : {std::pair{64, 2}, {64, 4}, {128, 2}, {128, 4}}) {
      Inputs x = inputs({200, 4, 4, G, K}, dtype);
      set_documents(x, 0, {1, 5, 63, 64, 65, 199});
      set_documents(x, 1, {0, 128});
      set_documents(x, 2, {70, 100});
      expect_as_on_cpu(x);  // batch element 3 goes on from state_in
    }
  }
}

TEST_F(LightningAttentionCudaTest, TakesSlopesFromNoneToSteep) {
  for (const auto& [slope, dtype] : {std::pair{0.0, DType::kFloat32},
                                     {1.0, DType::kFloat32},
                                     {50.0, DType::kFloat32},
                                     {0.0, DType::kBFloat16},
                                     {1.0, DType::kBFloat16},
                                     {50.0, DType::kBFloat16}}) {
    const Inputs x = inputs({1000, 1, 2, dtype == DType::kFloat32 ? 1 : 2, 64}, dtype);
    const auto with_slope = [&](const Operands& operands, LightningOptions options, Stream& s) {
      options.slopes = {slope, slope};
      run_whole(operands, options, s);
    };
    const Results actual = on_gpu(x, with_slope);
    const auto views = [&](const Floats& values, const Shape& shape) {
      return view(values.data(), shape);
    };
    Results r = actual;
    with_slope(
        {views(x.q, x.queries()), views(x.k, x.keys()), views(x.v, x.keys()),
         views(x.d_o, x.queries()), views(x.state_in, x.states()), views(x.dstate_out, x.states()),
         views(r.o, x.queries()), views(r.state_out, x.states()), views(r.dq, x.queries()),
         views(r.dk, x.keys()), views(r.dv, x.keys()), views(r.dstate_in, x.states())},
        x.options(), cpu_);
    expect_same(actual, r, bound(x.dtype));
  }
}

/// Sequences that are cut into segments, whose states come from near or from far.
TEST_F(LightningAttentionCudaTest, MatchesTheCpuAlongManyChunks) {
  for (const DType dtype : kDTypes) {
    for (const Dims& dims : {Dims{1500, 2, 4, 4, 128}, Dims{4100, 1, 2, 2, 64},
                             Dims{2500, 1, 4, 2, 64}, Dims{5000, 1, 1, 1, 128}}) {
      Inputs x = inputs(dims, dtype);
      expect_as_on_cpu(x);
      set_documents(x, 0, {100, 900, 960, 1472});
      expect_as_on_cpu(x);
    }
  }
}

/// Documents that begin in a later chunk of 64 tokens, or end in an earlier one.
TEST_F(LightningAttentionCudaTest, WhatIsNotANumberStaysInItsDocument) {
  for (const DType dtype : kDTypes) {
    for (const auto& [K, G] : {std::pair{64, 2}, {64, 1}, {128, 2}, {32, 2}}) {
      Inputs x = inputs({1000, 1, 2, G, K}, dtype);
      set_documents(x, 0, {300, 800});
      const Results expected = on_gpu(x);
      const auto poison = [&](Floats& values, std::int64_t t, std::int64_t heads) {
        for (std::int64_t i = t * heads * K; i < (t + 1) * heads * K; ++i)
          values[static_cast<std::size_t>(i)] = NAN;
      };
      for (const std::int64_t t : {300, 500, 799}) {
        poison(x.q, t, 2), poison(x.k, t, G), poison(x.v, t, G), poison(x.d_o, t, 2);
      }
      const Results actual = on_gpu(x);
      const auto outside = [&](const Floats& values) {
        Floats kept;
        const auto width = std::ssize(values) / x.d.T;
        for (std::int64_t t = 0; t < x.d.T; ++t)
          if (t < 256 || t >= 832)
            kept.insert(kept.end(), values.begin() + t * width, values.begin() + (t + 1) * width);
        return kept;
      };
      expect_near(outside(actual.o), outside(expected.o), 0, "o");
      expect_near(outside(actual.dq), outside(expected.dq), 0, "dq");
      expect_near(outside(actual.dk), outside(expected.dk), 0, "dk");
      expect_near(outside(actual.dv), outside(expected.dv), 0, "dv");
      expect_near(actual.state_out, expected.state_out, 0, "state_out");
      expect_near(actual.dstate_in, expected.dstate_in, 0, "dstate_in");
    }
  }
}

/// q, k and v as parts of one tensor and their gradients of another, whose rows begin at 16 bytes or do not.
TEST_F(LightningAttentionCudaTest, ReadsAndWritesStridedViews) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t odd : {0, 1}) {
      const Inputs x = inputs({131, 2, 4, 2, 64}, dtype);
      const Shape fused{x.d.T, x.d.B, 8, x.d.K + odd};
      const Tensor in = poisoned(fused, dtype), out = poisoned(fused, dtype);
      const Tensor wide_o = poisoned({x.d.T, x.d.B, 8, x.d.K + odd}, dtype);
      const auto part = [&](const TensorView& all, std::int64_t first, std::int64_t heads) {
        return all.slice(2, first, first + heads).slice(3, odd, odd + x.d.K);
      };
      const Results strided =
          on_gpu(x, [&](const Operands& dense, const LightningOptions& options, Stream& stream) {
            Operands operands = dense;
            operands.q = part(in, 0, 4), operands.k = part(in, 4, 2), operands.v = part(in, 6, 2);
            operands.dq = part(out, 0, 4), operands.dk = part(out, 4, 2);
            operands.dv = part(out, 6, 2), operands.o = part(wide_o, 4, 4);
            copy(operands.q, dense.q, stream);
            copy(operands.k, dense.k, stream);
            copy(operands.v, dense.v, stream);
            run_whole(operands, options, stream);
            copy(dense.o, operands.o, stream);
            copy(dense.dq, operands.dq, stream);
            copy(dense.dk, operands.dk, stream);
            copy(dense.dv, operands.dv, stream);
          });
      // The same products in the same order, but where odd rows of bfloat16 are for other kernels.
      const bool same = dtype == DType::kFloat32 || odd == 0;
      expect_same(strided, on_gpu(x), same ? 0 : bound(dtype));
    }
  }
}

/// The whole's results, but for what the states from outside give to those at the other end.
TEST_F(LightningAttentionCudaTest, WhatWaitsForAStateIsFinishedWithIt) {
  const auto in_parts = [&](const Operands& x, const LightningOptions& options, Stream& stream) {
    lightning_attention_begin(x.o, x.state_out, x.q, x.k, x.v, options, stream);
    lightning_attention_finish(x.o, x.q, x.k, x.v, x.state_in, options, stream);
    const Tensor waiting = poisoned(x.state_in.shape, DType::kFloat32);
    const LightningForward forward{x.q, x.k, x.v, x.state_in};
    lightning_attention_backward_begin({x.dq, x.dk, x.dv, x.dstate_in}, waiting, x.d_o, forward,
                                       options, stream);
    lightning_attention_backward_finish({x.dq, x.dk, x.dv, {}}, waiting, x.d_o, x.dstate_out,
                                        forward, options, stream);
  };
  for (const DType dtype : kDTypes) {
    for (const Dims& dims :
         {Dims{1, 1, 2, 2, 64}, Dims{65, 2, 4, 2, 64}, Dims{1000, 1, 4, 1, 64},
          Dims{1337, 2, 4, 2, 32}, Dims{1337, 1, 2, 1, 128}, Dims{65, 2, 4, 4, 64},
          Dims{1337, 2, 4, 4, 128}, Dims{3000, 1, 2, 2, 64}}) {
      for (const bool documents : {false, true}) {
        SCOPED_TRACE(str(dims.T, " tokens in ", dtype_name(dtype)));
        Inputs x = inputs(dims, dtype);
        if (documents) set_documents(x, 0, {static_cast<std::int32_t>(dims.T / 3)});
        Results expected = on_cpu(x);
        Inputs alone = x;
        alone.state_in.clear();
        expected.state_out = on_cpu(alone).state_out;
        alone = x;
        alone.dstate_out.clear();
        expected.dstate_in = on_cpu(alone).dstate_in;
        expect_same(on_gpu(x, in_parts), expected, bound(dtype));
      }
    }
  }
}

TEST_F(LightningAttentionCudaTest, TwoRunsGiveTheSameBits) {
  for (const DType dtype : kDTypes)
    for (const std::int64_t K : {64, 128}) {
      const Inputs x = inputs({1000, 2, 4, 4, K}, dtype);
      expect_same(on_gpu(x), on_gpu(x), 0);
    }
}

TEST_F(LightningAttentionCudaTest, CarriesAState) {
  const Shape shape{2, 3, 20, 20}, heads{2, 3};
  const Floats in = random(shape.elements(), "in", DType::kFloat32);
  const Floats own = random(shape.elements(), "own", DType::kFloat32), kept{0, 1, .5, .25, 2, 3};
  Floats expected(in.size());
  lightning_carry_state(view(expected.data(), shape), view(in.data(), shape),
                        view(own.data(), shape), view(kept.data(), heads), cpu_);
  const Tensor factors = up(kept, heads), added = up(own, shape), state = up(in, shape);
  lightning_carry_state(state, state, added, factors, gpu_);  // in place
  expect_near(down(state), expected, 1e-6, "carried");  // two roundings or one, near 2^-24 each
}

TEST_F(LightningAttentionCudaTest, RefusesMoreHeadsThanItsParametersHold) {
  EXPECT_THROW(static_cast<void>(on_gpu(inputs({1, 1, 129, 1, 4}, DType::kFloat32))), Error);
}

}  // namespace
}  // namespace halo::kernels
