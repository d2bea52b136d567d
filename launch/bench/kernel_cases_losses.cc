#include <algorithm>

#include "core/base/text.h"
#include "kernels/losses.h"
#include "kernels/split_losses.h"
#include "launch/bench/kernel_cases.h"

// What overwrites its logits gets its own results on later calls, which are finite and cost the same.

namespace halo::launch {
namespace {

using Cases = std::vector<KernelCase>;

TensorView zero_sum(Operands& o) {
  const TensorView sum = o.room({1}, DType::kFloat64);
  fill_zero(sum, o.stream());
  return sum;
}

void add_whole(Cases& cases, std::int64_t N, const KernelSizes& s) {
  const Shape logits{N, s.V};
  const double scale = 1.0 / static_cast<double>(N);
  cases.push_back(
      {"kl_loss", to_string(logits), [=](Operands& o) -> KernelCall {
         const TensorView z = o.normal(logits, s.dtype), y = o.normal(logits, s.dtype);
         const TensorView sum = zero_sum(o);
         return {[=](Stream& stream) { kernels::add_kl_loss(sum, z, y, {}, scale, stream); },
                 moves({z, z, y})};
       }});
  for (const bool gradient : {true, false}) {
    cases.push_back({gradient ? "ce_loss" : "ce_loss, value alone", to_string(logits),
                     [=](Operands& o) -> KernelCall {
                       const TensorView z = o.normal(logits, s.dtype), labels = o.tokens(N, s.V);
                       const TensorView sum = zero_sum(o);
                       return {[=](Stream& stream) {
                                 kernels::add_ce_loss(sum, z, labels, scale, gradient, stream);
                               },
                               gradient ? moves({z, z}) : moves({z})};
                     }});
  }
  cases.push_back({"token_log_likelihood", to_string(logits), [=](Operands& o) -> KernelCall {
                     const TensorView z = o.normal(logits, s.dtype), labels = o.tokens(N, s.V);
                     const TensorView loss = o.room({N}, DType::kFloat64);
                     const TensorView greedy = o.room({N}, DType::kInt32);
                     return {[=](Stream& stream) {
                               kernels::token_log_likelihood(loss, greedy, z, labels, stream);
                             },
                             moves({z})};
                   }});
}

/// Along the tensor axis, on a rank that has all columns.
void add_split(Cases& cases, std::int64_t N, const KernelSizes& s) {
  const Shape logits{N, s.V};
  const kernels::VocabularyPart part{0, s.V};
  const double scale = 1.0 / static_cast<double>(N);
  cases.push_back(
      {"row_maxima", to_string(logits), [=](Operands& o) -> KernelCall {
         const TensorView z = o.normal(logits, s.dtype);
         const TensorView maxima = o.room({N}, s.dtype);
         return {[=](Stream& stream) { kernels::row_maxima(maxima, z, stream); }, moves({z})};
       }});
  cases.push_back(
      {"split_kl_sums, split_kl_loss", to_string(logits), [=](Operands& o) -> KernelCall {
         const TensorView z = o.normal(logits, s.dtype), y = o.normal(logits, s.dtype);
         const TensorView of_z = o.room({N}, s.dtype), of_y = o.room({N}, s.dtype);
         const TensorView sums = o.room({N, 5}, DType::kFloat64), sum = zero_sum(o);
         kernels::row_maxima(of_z, z, o.stream());
         kernels::row_maxima(of_y, y, o.stream());
         return {[=](Stream& stream) {
                   kernels::split_kl_sums(sums, z, y, of_z, of_y, stream);
                   kernels::add_split_kl_loss(sum, z, y, sums, {}, scale, stream);
                 },
                 moves({z, z, y, y, z, z, y})};
       }});
  cases.push_back(
      {"split_ce_sums, split_ce_loss", to_string(logits), [=](Operands& o) -> KernelCall {
         const TensorView z = o.normal(logits, s.dtype), labels = o.tokens(N, s.V);
         const TensorView maxima = o.room({N}, s.dtype);
         const TensorView sums = o.room({N, 2}, DType::kFloat64), sum = zero_sum(o);
         kernels::row_maxima(maxima, z, o.stream());
         return {[=](Stream& stream) {
                   kernels::split_ce_sums(sums, z, labels, maxima, part, true, stream);
                   kernels::add_split_ce_loss(sum, z, labels, sums, part, scale, true, stream);
                 },
                 moves({z, z, z, z})};
       }});
}

}  // namespace

void add_loss_cases(Cases& cases, const KernelSizes& s) {
  const Shape hidden{s.tokens, s.D};
  cases.push_back(
      {"mse_loss", to_string(hidden), [=](Operands& o) -> KernelCall {
         const TensorView d = o.room(hidden, s.dtype), x = o.normal(hidden, s.dtype);
         const TensorView y = o.normal(hidden, s.dtype), sum = zero_sum(o);
         return {[=](Stream& stream) { kernels::add_mse_loss(sum, d, x, y, {}, 1, stream); },
                 moves({d, x, y})};
       }});
  const std::int64_t N = std::min(s.head_rows, s.tokens);
  add_whole(cases, N, s);
  add_split(cases, N, s);
}

}  // namespace halo::launch
