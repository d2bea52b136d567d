#include "kernels/cuda/softmax_attention_cudnn.h"

#include <algorithm>

#include "core/base/tensor.h"
#include "kernels/gates.h"
#include "kernels/optimizer.h"

// Which calls cuDNN takes, and how they are cut so that its memory stays bounded.
namespace halo::kernels::cuda {
namespace {

/// Every shape costs 40 ms to plan. Lengths that come again and again (training's, blocks of a prompt) are multiples of
/// this; others come once, and pay only where one pass through a model's layers wins the time back.
constexpr std::int64_t kCommonLength = 64;
constexpr double kFlopsThatPay = 1e12;
constexpr std::int64_t kMostChannels = 256;

bool rows_are_aligned(const TensorView& x) {
  constexpr std::int64_t kBytes = 16;
  if (reinterpret_cast<std::uintptr_t>(x.data) % kBytes != 0) return false;
  for (int axis = 0; axis < 3; ++axis)
    if (x.dim(axis) > 1 && x.stride(axis) * std::int64_t{sizeof(BFloat16)} % kBytes != 0)
      return false;
  return x.dim(3) * std::int64_t{sizeof(BFloat16)} % kBytes == 0;
}

bool pays(const AttentionForward& x) {
  const std::int64_t T = x.q.dim(0), S = x.k.dim(0);
  if (T % kCommonLength == 0 && S % kCommonLength == 0) return true;
  return 2.0 * static_cast<double>(x.q.size()) * static_cast<double>(S) >= kFlopsThatPay;
}

bool sees_all(const AttentionMask& mask, std::int64_t S) { return mask.query_offset >= S - 1; }

bool suits(const AttentionForward& x, double scale, const AttentionMask& mask) {
  const std::int64_t T = x.q.dim(0), S = x.k.dim(0);
  return has_cudnn() && x.q.dtype == DType::kBFloat16 && x.q.size() > 0 && x.k.size() > 0 &&
         x.q.dim(3) <= kMostChannels && scale > 0 && mask.first_key.empty() &&
         (sees_all(mask, S) || S == T + mask.query_offset) && pays(x) && rows_are_aligned(x.q) &&
         rows_are_aligned(x.k) && rows_are_aligned(x.v) && rows_are_aligned(x.o);
}

CudnnAttention call_of(const AttentionForward& x, double scale, const AttentionMask& mask) {
  return {x.q, x.k, x.v, x.o, x.lse, !sees_all(mask, x.k.dim(0)), static_cast<float>(scale)};
}

/// The backward pass of one call of softmax_attention_backward, or of a slice of it.
struct Backward {
  AttentionGradients gradients;
  TensorView d_o;
  AttentionForward x;
  double scale;
  AttentionMask mask;

  [[nodiscard]] bool run(SumOrder order, Stream& stream) const {
    return cudnn_differentiate(gradients, d_o, call_of(x, scale, mask), order, stream);
  }
  /// Of batch elements, which are `axis` 1 of every operand.
  [[nodiscard]] Backward of_batch(std::int64_t begin, std::int64_t end) const {
    return sliced(1, {begin, end}, {begin, end});
  }
  /// Of key heads and the query heads that read them.
  [[nodiscard]] Backward of_groups(std::int64_t begin, std::int64_t end) const {
    const std::int64_t heads = x.q.dim(2) / x.k.dim(2);
    return sliced(2, {begin * heads, end * heads}, {begin, end});
  }
  /// Of queries and the keys that they see.
  [[nodiscard]] Backward of_queries(std::int64_t begin, std::int64_t end) const {
    const std::int64_t keys = std::min(x.k.dim(0), mask.query_offset + end);
    Backward part = sliced(0, {begin, end}, {0, keys});
    part.mask.query_offset += begin;
    return part;
  }

 private:
  struct Range {
    std::int64_t begin, end;
  };
  [[nodiscard]] Backward sliced(int axis, Range queries, Range keys) const {
    const auto of_queries = [&](const TensorView& y) {
      return y.slice(axis, queries.begin, queries.end);
    };
    const auto of_keys = [&](const TensorView& y) { return y.slice(axis, keys.begin, keys.end); };
    return {{of_queries(gradients.dq), of_keys(gradients.dk), of_keys(gradients.dv)},
            of_queries(d_o),
            {of_queries(x.q), of_keys(x.k), of_keys(x.v), of_queries(x.o), of_queries(x.lse)},
            scale,
            mask};
  }
};

/// to = from, rounded.
void store(const TensorView& to, const TensorView& from, Stream& stream) {
  const Tensor rounded(stream, to.shape, to.dtype);
  cuda::cast(rounded, from, stream);
  copy(to, rounded, stream);
}

/// Queries `step` at a time; gradients of keys are summed over them in float32.
bool run_by_queries(const Backward& whole, std::int64_t step, Stream& stream) {
  const auto& [dq, dk, dv] = whole.gradients;
  const Tensor dk_sum = Tensor::zeros(stream, dk.shape, DType::kFloat32),
               dv_sum = Tensor::zeros(stream, dv.shape, DType::kFloat32);
  const std::int64_t T = whole.x.q.dim(0);
  for (std::int64_t t = 0; t < T; t += step) {
    Backward part = whole.of_queries(t, std::min(t + step, T));
    const Shape& keys = part.x.k.shape;
    const Tensor dk_part(stream, keys, dk.dtype), dv_part(stream, keys, dv.dtype);
    part.gradients.dk = dk_part;
    part.gradients.dv = dv_part;
    if (!part.run(SumOrder::kFixed, stream)) return false;
    const TensorView dk_seen = dk_sum.view().slice(0, 0, keys[0]),
                     dv_seen = dv_sum.view().slice(0, 0, keys[0]);
    cuda::add(dk_seen, dk_seen, dk_part, stream);
    cuda::add(dv_seen, dv_seen, dv_part, stream);
  }
  store(dk, dk_sum, stream);
  store(dv, dv_sum, stream);
  return true;
}

/// The size of the fewest nearly equal parts of n that have at most `most`.
std::int64_t part_size(std::int64_t n, std::int64_t most) {
  const std::int64_t parts = (n + most - 1) / most;
  return (n + parts - 1) / parts;
}

/// Batch elements, then groups of heads, then queries at a time, so that the logits' gradients fit into `bytes`.
bool run_in_parts(const Backward& whole, std::int64_t bytes, Stream& stream) {
  constexpr std::int64_t kTile = 128;
  const auto padded = [](std::int64_t n) { return (n + kTile - 1) / kTile * kTile; };
  const std::int64_t T = whole.x.q.dim(0), B = whole.x.q.dim(1), G = whole.x.k.dim(2);
  const std::int64_t row = 2 * padded(whole.x.k.dim(0)) * (whole.x.q.dim(2) / G);  // of a group
  const std::int64_t group = row * padded(T);
  const std::int64_t batch = part_size(B, std::max<std::int64_t>(bytes / (group * G), 1));
  const std::int64_t groups = part_size(G, std::max<std::int64_t>(bytes / group, 1));
  const std::int64_t queries = std::max(bytes / row / kTile, std::int64_t{1}) * kTile;
  for (std::int64_t b = 0; b < B; b += batch) {
    const Backward some = whole.of_batch(b, std::min(b + batch, B));
    for (std::int64_t g = 0; g < G; g += groups) {
      const Backward part = some.of_groups(g, std::min(g + groups, G));
      const bool taken =
          queries >= T ? part.run(SumOrder::kFixed, stream) : run_by_queries(part, queries, stream);
      if (!taken) return false;
    }
  }
  return true;
}

}  // namespace

bool softmax_attention_by_cudnn(const AttentionForward& x, double scale, const AttentionMask& mask,
                                Stream& stream) {
  return suits(x, scale, mask) && cudnn_attend(call_of(x, scale, mask), stream);
}

bool softmax_attention_backward_by_cudnn(const AttentionGradients& gradients, TensorView d_o,
                                         const AttentionForward& x, double scale,
                                         const AttentionMask& mask, SumOrder order, Stream& stream,
                                         std::int64_t logit_gradient_bytes) {
  if (!suits(x, scale, mask) || !rows_are_aligned(d_o) || !rows_are_aligned(gradients.dq) ||
      !rows_are_aligned(gradients.dk) || !rows_are_aligned(gradients.dv))
    return false;
  const Backward whole{gradients, d_o, x, scale, mask};
  if (order == SumOrder::kAny) return whole.run(order, stream);
  return run_in_parts(whole, logit_gradient_bytes, stream);
}

}  // namespace halo::kernels::cuda
