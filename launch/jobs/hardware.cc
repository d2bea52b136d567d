#include "launch/jobs/hardware.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "core/base/rng.h"
#include "core/base/tensor.h"
#include "kernels/matmul.h"

namespace halo::launch {
namespace {

std::int64_t host_id() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return static_cast<std::int64_t>(hash64(name.data()) >> 1);
}

}  // namespace

double measured_flops(const JobContext& context) {
  constexpr std::int64_t n = 1024;
  Stream& stream = context.stream;
  const Tensor a = Tensor::zeros(stream, {n, n}, context.dtype());
  const Tensor b = Tensor::zeros(stream, {n, n}, context.dtype());
  Tensor c(stream, {n, n}, context.dtype());
  double best = 1e30;
  for (int i = 0; i < 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    kernels::linear(c, a, b, stream);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  double flops = 2.0 * n * n * n / best;
  context.world().all_reduce(view(&flops, {1}), comm::ReduceOp::kSum).wait();
  return flops;
}

int threads_of_rank(const Config& config, comm::Communicator& world) {
  std::vector<std::int64_t> hosts(static_cast<std::size_t>(world.size()));
  std::int64_t mine = host_id();
  const std::vector<std::int64_t> counts(hosts.size(), 1);
  world.all_gather(view(hosts.data(), {world.size()}), view(&mine, {1}), counts).wait();
  if (config.threads() > 0) return config.threads();
  const auto neighbours = static_cast<int>(std::count(hosts.begin(), hosts.end(), mine));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / neighbours);
}

}  // namespace halo::launch
