#include "launch/bench/kernel_bench.h"

#include <algorithm>
#include <iterator>
#include <regex>

#include "kernels/matmul.h"
#include "launch/bench/median.h"

namespace halo::launch {
namespace {

/// Calls are queued before the first is waited for, so that a GPU need not wait for the host between them.
double median_seconds(const std::function<void()>& call, int repeats, Stream& stream) {
  constexpr double kSeconds = 1;
  constexpr int kLeast = 3;
  call();  // libraries choose their way on the first call
  const StreamMark begin = stream.mark();
  call();
  const double once = stream.mark().seconds_since(begin);
  const int n = std::clamp(static_cast<int>(std::min(kSeconds / once, 1e6)),
                           std::min(kLeast, repeats), repeats);
  call();
  std::vector<StreamMark> marks;
  marks.push_back(stream.mark());
  for (int i = 0; i < n; ++i) {
    call();
    marks.push_back(stream.mark());
  }
  std::vector<double> seconds;
  for (std::size_t i = 1; i < marks.size(); ++i)
    seconds.push_back(marks[i].seconds_since(marks[i - 1]));
  return median(std::move(seconds));
}

constexpr int kRateRepeats = 10;

double copy_rate(std::int64_t bytes, Operands& operands) {
  const Shape shape{bytes / 4};
  const TensorView from = operands.normal(shape, DType::kFloat32);
  const TensorView to = operands.room(shape, DType::kFloat32);
  Stream& stream = operands.stream();
  const double seconds = median_seconds([&] { copy(to, from, stream); }, kRateRepeats, stream);
  operands.clear();
  return 2 * static_cast<double>(bytes) / seconds;
}

double product_rate(std::int64_t M, std::int64_t N, std::int64_t K, DType dtype,
                    Operands& operands) {
  const TensorView y = operands.room({M, N}, dtype), x = operands.normal({M, K}, dtype);
  const TensorView weight = operands.normal({N, K}, dtype);
  Stream& stream = operands.stream();
  const double seconds =
      median_seconds([&] { kernels::linear(y, x, weight, stream); }, kRateRepeats, stream);
  operands.clear();
  return matmul_flops(M, N, K) / seconds;
}

}  // namespace

MachineRates measure_rates(const KernelSizes& sizes, Operands& operands) {
  const bool gpu = operands.stream().device() == Device::kCuda;
  const std::int64_t n = gpu ? 8192 : 1024, rows = std::min(sizes.tokens, n);
  MachineRates rates;
  rates.bytes_per_s = copy_rate(std::int64_t{1} << (gpu ? 30 : 26), operands);
  rates.flops_per_s = std::max({product_rate(n, n, n, sizes.dtype, operands),
                                product_rate(rows, sizes.I, sizes.D, sizes.dtype, operands),
                                product_rate(rows, sizes.D, sizes.I, sizes.dtype, operands)});
  return rates;
}

std::vector<KernelCase> select_cases(const std::vector<KernelCase>& cases,
                                     const std::string& expression) {
  std::vector<KernelCase> selected;
  try {
    const std::regex wanted(expression);
    std::ranges::copy_if(cases, std::back_inserter(selected), [&](const KernelCase& each) {
      return std::regex_search(each.op + ' ' + each.shape, wanted);
    });
  } catch (const std::regex_error&) {
    throw InputError(str('"', expression, "\" is no regular expression"));
  }
  HALO_REQUIRE_INPUT(!selected.empty(),
                     str("no kernel's name and shape match \"", expression, '"'));
  return selected;
}

KernelTiming measure_kernel(const KernelCase& kernel, int repeats, Operands& operands) {
  const KernelCall call = kernel.prepare(operands);
  Stream& stream = operands.stream();
  const double seconds = median_seconds([&] { call.run(stream); }, repeats, stream);
  operands.clear();
  return {kernel.op, kernel.shape, seconds, call.cost, kernel.peers};
}

}  // namespace halo::launch
