#include "launch/plan/measure_machine.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>

#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/base/tensor.h"
#include "kernels/gates.h"
#include "kernels/matmul.h"
#include "kernels/softmax_attention.h"
#include "parallel/comm/local_communicator.h"

namespace halo::launch {
namespace {

/// What is measured, large enough that a GPU is busy and a processor soon done.
struct Sizes {
  std::int64_t rows, columns, depth;  // of a product
  std::int64_t T, H, K;               // of an attention
  std::int64_t elements;              // of an addition
  std::int64_t message;               // bytes
  int calls;                          // queued together
};
constexpr Sizes kCpu{1024, 1024, 1024, 1024, 8, 64, 16 << 20, 16 << 20, 1};
constexpr Sizes kGpu{8192, 6144, 2048, 8192, 16, 128, 128 << 20, 256 << 20, 10};

/// Measures kernels of one dtype on a stream.
class Rates {
 public:
  Rates(Stream& stream, DType dtype)
      : stream_(stream), dtype_(dtype), sizes_(stream.device() == Device::kCuda ? kGpu : kCpu) {}

  /// FLOP/s.
  [[nodiscard]] double matmul() const {
    const auto [rows, columns, depth] = std::tuple(sizes_.rows, sizes_.columns, sizes_.depth);
    const Tensor a = random({rows, depth}), b = random({columns, depth});
    const Tensor c(stream_, {rows, columns}, dtype_);
    const double seconds = fastest([&] { kernels::linear(c, a, b, stream_); });
    return 2.0 * static_cast<double>(rows * columns * depth) / seconds;
  }
  [[nodiscard]] double attention() const {
    const auto [T, H, K] = std::tuple(sizes_.T, sizes_.H, sizes_.K);
    const Tensor q = random({T, 1, H, K});
    const Tensor o(stream_, {T, 1, H, K}, dtype_), lse(stream_, {T, 1, H}, wide_dtype(dtype_));
    const double seconds =
        fastest([&] { kernels::softmax_attention(o, lse, q, q, q, 0.125, {}, stream_); });
    return 4.0 * static_cast<double>(H * K) * static_cast<double>(T * (T + 1)) / 2 / seconds;
  }
  /// Bytes a second.
  [[nodiscard]] double memory() const {
    const Shape n{sizes_.elements};
    const Tensor a = Tensor::zeros(stream_, n, dtype_), b = Tensor::zeros(stream_, n, dtype_);
    const Tensor c(stream_, n, dtype_);
    const double seconds = fastest([&] { kernels::add(c, a, b, stream_); });
    return 3.0 * static_cast<double>(c.view().bytes()) / seconds;
  }
  /// Seconds from one small kernel to the next.
  [[nodiscard]] double between_kernels() const {
    if (stream_.device() != Device::kCuda) return 1e-6;
    const Tensor a = Tensor::zeros(stream_, {1024}, dtype_);
    return fastest([&] { kernels::add(a, a, a, stream_); });
  }

 private:
  [[nodiscard]] Tensor random(const Shape& shape) const {
    const Tensor values(stream_.host(), shape, dtype_);
    const CounterRng rng(0, "machine");
    dispatch_float(dtype_, [&](auto zero) {
      auto* const x = values.view().as<decltype(zero)>();
      for (std::int64_t i = 0; i < values.view().size(); ++i)
        x[i] = decltype(zero)(static_cast<float>(rng.uniform(static_cast<std::uint64_t>(i)) - 0.5));
    });
    return Tensor::copy_of(stream_, values);
  }
  /// Seconds of a call in the fastest of some runs.
  template <class Work>
  [[nodiscard]] double fastest(Work&& work) const {
    work();
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 5; ++i) {
      stream_.synchronize();
      const double begin = steady_seconds();
      for (int call = 0; call < sizes_.calls; ++call) work();
      stream_.synchronize();
      best = std::min(best, (steady_seconds() - begin) / sizes_.calls);
    }
    return best;
  }

  Stream& stream_;
  DType dtype_;
  Sizes sizes_;
};

/// Seconds in which every rank sends the next one of the ring `n` bytes.
double ring_seconds(std::int64_t n, Stream& stream, comm::Communicator& ranks) {
  const Tensor out = Tensor::zeros(stream, {n}, DType::kUint8), in(stream, {n}, DType::kUint8);
  const int size = ranks.size();
  const comm::Message send{(ranks.rank() + 1) % size, out};
  const comm::Message receive{(ranks.rank() + size - 1) % size, in};
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 6; ++i) {
    stream.synchronize();
    ranks.barrier().wait();
    const double begin = steady_seconds();
    ranks.exchange({&send, 1}, {&receive, 1}).wait();
    stream.synchronize();
    if (i > 0) best = std::min(best, steady_seconds() - begin);  // the first one connects
  }
  return best;
}

proto::Link measure_link(Stream& stream, comm::Communicator& ranks) {
  proto::Link link;
  link.set_latency_us(0);
  link.set_gbytes_per_s(1e3);  // a rank alone sends nothing
  if (ranks.size() == 1) return link;
  const std::int64_t n = (stream.device() == Device::kCuda ? kGpu : kCpu).message;
  const double latency = ring_seconds(1, stream, ranks);
  link.set_latency_us(latency * 1e6);
  link.set_gbytes_per_s(static_cast<double>(n) /
                        std::max(1e-9, ring_seconds(n, stream, ranks) - latency) / 1e9);
  return link;
}

double memory_bytes(Stream& stream) {
  if (stream.device() == Device::kCuda)
    return static_cast<double>(stream.allocator()->available_bytes());
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

proto::Machine measure_rank(Stream& stream, DType dtype) {
  proto::Machine machine;
  machine.set_name("measured");
  machine.set_ranks_per_node(1 << 20);
  machine.set_memory_gib(memory_bytes(stream) / (1 << 30));
  const Rates rates(stream, dtype);
  machine.set_matmul_tflops(rates.matmul() / 1e12);
  machine.set_attention_tflops(rates.attention() / 1e12);
  machine.set_memory_gbytes_per_s(rates.memory() / 1e9);
  machine.set_kernel_us(rates.between_kernels() * 1e6);
  return machine;
}

void set_link(proto::Machine& machine, const proto::Link& link) {
  const proto::Link copy = link;  // it may be the machine's own
  *machine.mutable_node() = copy;
  *machine.mutable_network() = copy;
}

}  // namespace

proto::Machine measure_machine(Stream& stream, comm::Communicator& ranks,
                               proto::Precision precision) {
  const DType dtype = precision == proto::BF16   ? DType::kBFloat16
                      : precision == proto::FP64 ? DType::kFloat64
                                                 : DType::kFloat32;
  ranks.barrier().wait();
  proto::Machine machine = measure_rank(stream, dtype);
  set_link(machine, measure_link(stream, ranks));
  // The slowest rank's: the smallest rate is the largest of negative ones.
  std::array<double, 6> slowest{-machine.memory_gib(),          -machine.matmul_tflops(),
                                -machine.attention_tflops(),    -machine.memory_gbytes_per_s(),
                                -machine.node().gbytes_per_s(), machine.kernel_us()};
  ranks.all_reduce(view(slowest.data(), {6}), comm::ReduceOp::kMax).wait();
  machine.set_memory_gib(-slowest[0]);
  machine.set_matmul_tflops(-slowest[1]);
  machine.set_attention_tflops(-slowest[2]);
  machine.set_memory_gbytes_per_s(-slowest[3]);
  machine.mutable_node()->set_gbytes_per_s(-slowest[4]);
  machine.set_kernel_us(slowest[5]);
  set_link(machine, machine.node());
  return machine;
}

proto::Machine measure_machine(int threads) {
  Stream stream(threads);
  proto::Machine machine = measure_rank(stream, DType::kFloat32);
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    Stream own(1);
    const proto::Link link = measure_link(own, ranks);
    if (ranks.rank() == 0) set_link(machine, link);
  });
  return machine;
}

}  // namespace halo::launch
