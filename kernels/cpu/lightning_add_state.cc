#include <limits>

#include "kernels/cpu/lightning_chunks.h"
#include "kernels/lightning_attention.h"

namespace halo::kernels::cpu {
namespace {

constexpr std::int64_t kRows = 256;  // tokens of one product

/// How many tokens from a state on it still shows in: beyond, the decay is below 2^-8 of T's last digit.
template <class T>
std::int64_t reach(double slope, std::int64_t tokens) {
  constexpr double kBits = std::numeric_limits<T>::digits + 8;
  const double steps = std::ceil(kBits * std::log(2.0) / slope);  // infinite for slope 0
  return steps < static_cast<double>(tokens) ? static_cast<std::int64_t>(steps) : tokens;
}

std::int32_t document_start(const TensorView& starts, std::int64_t t, std::int64_t b) {
  return static_cast<const std::int32_t*>(starts.data)[t * starts.stride(0) + b * starts.stride(1)];
}

/// Tokens [0, n) of batch element b see the state before the first.
std::int64_t continuing(const TensorView& starts, std::int64_t tokens, std::int64_t b) {
  if (starts.empty()) return tokens;
  std::int64_t n = 0;
  while (n < tokens && document_start(starts, n, b) < 0) ++n;
  return n;
}

/// Tokens [n, tokens) of batch element b enter the state after the last.
std::int64_t tail(const TensorView& starts, std::int64_t tokens, std::int64_t b) {
  return starts.empty() || tokens == 0
             ? 0
             : std::max<std::int64_t>(document_start(starts, tokens - 1, b), 0);
}

/// to_i = factor e^(-slope (first + i)) from_i, or falling the other way with step -1.
template <class T>
void decayed(T* to, const T* from, std::int64_t count, std::int64_t K, double factor, double slope,
             std::int64_t first, std::int64_t step) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto f =
        static_cast<T>(factor * std::exp(-slope * static_cast<double>(first + step * i)));
    for (std::int64_t c = 0; c < K; ++c) to[i * K + c] = f * from[i * K + c];
  }
}

template <class T>
void add_state(const TensorView& o, const TensorView& q, const TensorView& state,
               const LightningOptions& options, Stream& stream) {
  const std::int64_t tokens = q.dim(0), H = q.dim(2), K = q.dim(3);
  const std::int64_t pieces = (tokens + kRows - 1) / kRows;
  const std::int64_t room = K * (kRows + K);
  each_with_workspace<T>(
      stream, q.dim(1) * H * pieces, room, [&](std::int64_t i, Workspace<T>& memory) {
        const std::int64_t b = i / pieces / H, h = i / pieces % H, begin = i % pieces * kRows;
        const double slope = options.slopes[static_cast<std::size_t>(h)];
        const std::int64_t seen =
            std::min(continuing(options.document_start, tokens, b), reach<T>(slope, tokens));
        const std::int64_t n = std::min(kRows, seen - begin);
        if (n <= 0) return;
        T *rows = memory.take(n * K), *S = memory.take(K * K);
        gather(rows, q, {b, h, 1, begin, n});
        decayed(rows, rows, n, K, options.scale, slope, begin + 1, 1);
        read_state(S, state, b, h, K);
        T* to = head_row<T>(o, begin, b, h);
        const std::int64_t stride = tokens > 1 ? o.stride(0) : K;
        matmul_block(MatmulBlock<T>{n, K, K, rows, K, false, S, K, false, to, stride, T{1}, T{1}});
      });
}

template <class T>
void add_state_gradient(const LightningGradients& gradients, const TensorView& k,
                        const TensorView& v, const TensorView& dstate,
                        const LightningOptions& options, Stream& stream) {
  const std::int64_t tokens = k.dim(0), G = k.dim(2), K = k.dim(3), R = dstate.dim(1) / G;
  const std::int64_t pieces = (tokens + kRows - 1) / kRows;
  const std::int64_t room = K * (4 * kRows + K);
  each_with_workspace<T>(
      stream, k.dim(1) * G * pieces, room, [&](std::int64_t i, Workspace<T>& memory) {
        const std::int64_t b = i / pieces / G, g = i / pieces % G, begin = i % pieces * kRows;
        const std::int64_t end = std::min(tokens, begin + kRows);
        T *keys = memory.take(kRows * K), *values = memory.take(kRows * K),
          *decayed_rows = memory.take(kRows * K), *dS = memory.take(K * K);
        gather(keys, k, {b, g, 1, begin, end - begin});
        gather(values, v, {b, g, 1, begin, end - begin});
        for (std::int64_t h = g * R; h < (g + 1) * R; ++h) {  // in this order for each row
          const double slope = options.slopes[static_cast<std::size_t>(h)];
          const std::int64_t from = std::max(
              {begin, tail(options.document_start, tokens, b), tokens - reach<T>(slope, tokens)});
          const std::int64_t n = end - from, skipped = (from - begin) * K;
          if (n <= 0) continue;
          read_state(dS, dstate, b, h, K);
          const auto add = [&](const TensorView& to, const T* rows, bool transpose) {
            decayed(decayed_rows, rows + skipped, n, K, 1.0, slope, tokens - 1 - from, -1);
            const std::int64_t stride = tokens > 1 ? to.stride(0) : K;
            matmul_block(MatmulBlock<T>{n, K, K, decayed_rows, K, false, dS, K, transpose,
                                        head_row<T>(to, from, b, g), stride, T{1}, T{1}});
          };
          add(gradients.dk, values, /*transpose=*/true);
          add(gradients.dv, keys, /*transpose=*/false);
        }
      });
}

}  // namespace

void lightning_carry_state(TensorView out, TensorView in, TensorView own, TensorView kept,
                           Stream& stream) {
  const std::int64_t heads = kept.size(), size = out.size() / std::max<std::int64_t>(heads, 1);
  dispatch_cpu_float(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* const to = out.as<T>();
    const T *from = in.as<T>(), *added = own.as<T>(), *factors = kept.as<T>();
    stream.parallel_for(heads, size, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * size; i < end * size; ++i)
        to[i] = factors[i / size] * from[i] + added[i];
    });
  });
}

void lightning_add_state(TensorView o, TensorView q, TensorView state,
                         const LightningOptions& options, Stream& stream) {
  dispatch_cpu_float(q.dtype,
                     [&](auto zero) { add_state<decltype(zero)>(o, q, state, options, stream); });
}

void lightning_add_state_gradient(TensorView dk, TensorView dv, TensorView k, TensorView v,
                                  TensorView dstate, const LightningOptions& options,
                                  Stream& stream) {
  dispatch_cpu_float(k.dtype, [&](auto zero) {
    add_state_gradient<decltype(zero)>({{}, dk, dv, {}}, k, v, dstate, options, stream);
  });
}

}  // namespace halo::kernels::cpu
