#include "launch/jobs/hardware.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <thread>
#include <vector>

#include "core/base/cuda_device.h"
#include "core/base/rng.h"
#include "core/base/tensor.h"
#include "kernels/matmul.h"
#include "launch/jobs/device_peaks.h"
#include "parallel/comm/device_communicator.h"

namespace halo::launch {
namespace {

std::int64_t host_id() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return static_cast<std::int64_t>(hash64(name.data()) >> 1);
}

constexpr int kCpuWords = CPU_SETSIZE / 64;
using CpuMask = std::array<std::int64_t, kCpuWords>;

/// The processors that this rank may run on, as mpirun's binding, taskset or a container leave them; all when unknown.
CpuMask allowed_cpus() {
  CpuMask mask{};
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool known = ::sched_getaffinity(0, sizeof set, &set) == 0;
  const auto count = static_cast<int>(std::thread::hardware_concurrency());
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    const bool allowed = known ? CPU_ISSET(cpu, &set) != 0 : cpu < count;
    if (allowed) mask[static_cast<std::size_t>(cpu / 64)] |= std::int64_t{1} << (cpu % 64);
  }
  return mask;
}

int count_of(const CpuMask& mask) {
  int count = 0;
  for (const std::int64_t word : mask) count += std::popcount(static_cast<std::uint64_t>(word));
  return count;
}

/// How many ranks before this one are on the same host. Collective.
int place_on_host(comm::Communicator& world) {
  std::vector<std::int64_t> hosts(static_cast<std::size_t>(world.size()));
  std::int64_t mine = host_id();
  const std::vector<std::int64_t> counts(hosts.size(), 1);
  world.all_gather(view(hosts.data(), {world.size()}), view(&mine, {1}), counts).wait();
  return static_cast<int>(std::count(hosts.begin(), hosts.begin() + world.rank(), mine));
}

/// Of this rank, while all ranks measure.
double measured_flops(const JobContext& context) {
  Stream& stream = context.stream;
  const bool gpu = stream.device() == Device::kCuda;
  const std::int64_t n = gpu ? 4096 : 1024, rows = gpu ? n : 256 * stream.threads();
  const Tensor a = Tensor::zeros(stream, {rows, n}, context.dtype());
  const Tensor b = Tensor::zeros(stream, {n, n}, context.dtype());
  Tensor c(stream, {rows, n}, context.dtype());
  kernels::linear(c, a, b, stream);  // a GPU's library looks for its fastest way once
  stream.synchronize();
  constexpr double kSeconds = 0.05;  // many ranks may share a core
  double best = 1e30, sum = 0;
  for (int i = 0; i < 4 && sum < kSeconds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    kernels::linear(c, a, b, stream);
    stream.synchronize();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, seconds);
    sum += seconds;
  }
  return 2.0 * static_cast<double>(rows * n * n) / best;
}

/// This rank's share of a known GPU; 0 where the peak has to be measured. Collective.
double datasheet_share(const JobContext& context) {
  comm::Communicator& world = context.world();
  CudaDeviceProperties gpu;
  if (context.stream.device() == Device::kCuda)
    gpu = cuda_device_properties(context.stream.queue().device());
  std::vector<std::int64_t> gpus(static_cast<std::size_t>(world.size()));
  auto mine = static_cast<std::int64_t>(gpu.id);
  const std::vector<std::int64_t> counts(gpus.size(), 1);
  world.all_gather(view(gpus.data(), {world.size()}), view(&mine, {1}), counts).wait();
  return datasheet_flops(gpu.name, context.dtype()) /
         static_cast<double>(std::ranges::count(gpus, mine));
}

}  // namespace

double peak_flops(const JobContext& context) {
  double flops = datasheet_share(context);
  // All or none measure, so that nobody's products have the machine to themselves.
  double known = flops > 0 ? 1 : 0;
  context.world().all_reduce(view(&known, {1}), comm::ReduceOp::kSum).wait();
  if (known < context.world().size()) flops = measured_flops(context);
  context.world().all_reduce(view(&flops, {1}), comm::ReduceOp::kSum).wait();
  return flops;
}

proto::Device chosen_device(const Config& config) {
  if (config.device() != proto::AUTO) return config.device();
  const bool wide = std::ranges::any_of(
      config.job(), [](const proto::Job& job) { return job.precision() == proto::FP64; });
  return cuda_device_count() > 0 && !wide ? proto::CUDA : proto::CPU;
}

int threads_of_rank(const Config& config, comm::Communicator& world) {
  struct Rank {
    std::int64_t host;
    CpuMask cpus;
  };
  constexpr std::int64_t kWords = sizeof(Rank) / sizeof(std::int64_t);
  std::vector<Rank> ranks(static_cast<std::size_t>(world.size()));
  Rank mine{host_id(), allowed_cpus()};
  const std::vector<std::int64_t> counts(ranks.size(), kWords);
  world
      .all_gather(view(&ranks[0].host, {world.size() * kWords}), view(&mine.host, {kWords}), counts)
      .wait();
  if (config.threads() > 0) return config.threads();
  int neighbours = 0;
  CpuMask of_host{};
  for (const Rank& rank : ranks) {
    if (rank.host != mine.host) continue;
    ++neighbours;
    for (std::size_t i = 0; i < of_host.size(); ++i) of_host[i] |= rank.cpus[i];
  }
  return std::max(1, std::min(count_of(mine.cpus), count_of(of_host) / neighbours));
}

Stream stream_of_rank(const Config& config, comm::Communicator& world) {
  if (config.device() != proto::CUDA) return Stream(threads_of_rank(config, world));
  Stream stream = make_cuda_stream(place_on_host(world) % cuda_device_count());
  if (!config.deterministic()) stream.set_sum_order(SumOrder::kAny);
  if (config.memory_gib() > 0)
    stream.allocator()->set_limit(static_cast<std::size_t>(config.memory_gib() * (1 << 30)));
  return stream;
}

std::unique_ptr<comm::Communicator> device_ranks(const Config& config, comm::Communicator& world,
                                                 Stream& stream) {
  if (stream.device() != Device::kCuda) return nullptr;
  const auto transport = [&] {
    switch (config.comm_backend()) {
      case proto::CommBackend::NCCL:
        return comm::DeviceTransport::kNccl;
      case proto::CommBackend::MPI:
        return comm::DeviceTransport::kMpi;
      default:
        return comm::DeviceTransport::kAuto;
    }
  }();
  try {
    return comm::make_device_communicator(world, stream, transport, config.deterministic());
  } catch (const InputError& error) {
    throw InputError(str("comm_backend: NCCL: ", error.what()));
  }
}

}  // namespace halo::launch
