// What calls on the memory of GPUs take by size: `mpirun -np N nccl_bandwidth [LARGEST_MB]`, a GPU for each rank. Prints
// microseconds a call and the bus bandwidth in GB/s, by the formulas of NCCL's own tests (nccl-tests, PERFORMANCE.md):
// bytes / time times 2 (P - 1) / P for an all-reduce, (P - 1) / P for a gather or scatter, 1 for a message each way.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/cuda_device.h"
#include "core/base/tensor.h"
#include "parallel/comm/device_communicator.h"
#include "parallel/comm/mpi_communicator.h"
#include "parallel/comm/nccl_communicator.h"

namespace halo::comm {
namespace {

struct Bench {
  Communicator& ranks;
  Stream& gpu;

  /// Seconds of one call, many of which are on their way at once.
  [[nodiscard]] double seconds(std::int64_t bytes, const std::function<Work()>& call) const {
    const int calls = bytes <= (std::int64_t{64} << 20) ? 40 : 8;
    for (int i = 0; i < 3; ++i) call().wait();
    gpu.synchronize();
    ranks.barrier().wait();
    const double begin = steady_seconds();
    for (int i = 0; i < calls; ++i) call().wait();
    gpu.synchronize();
    double each = (steady_seconds() - begin) / calls;
    ranks.all_reduce(view(&each, {1}), ReduceOp::kMax).wait();
    return each;
  }
  void row(const char* what, std::int64_t bytes, double factor,
           const std::function<Work()>& call) const {
    const double time = seconds(bytes, call);
    if (ranks.rank() != 0) return;
    std::printf("%-24s %8.2f MB %10.1f us %8.1f GB/s\n", what, static_cast<double>(bytes) / 1e6,
                time * 1e6, static_cast<double>(bytes) / time * factor / 1e9);
    std::fflush(stdout);
  }
};

void all_sizes(const Bench& bench, std::int64_t largest) {
  Communicator& ranks = bench.ranks;
  const int P = ranks.size();
  const double share = (P - 1.0) / P;
  for (std::int64_t bytes = 64 << 10; bytes <= largest; bytes *= 4) {
    const std::int64_t each = bytes / 4 / P, n = each * P;
    const Tensor whole = Tensor::zeros(bench.gpu, {n}, DType::kFloat32);
    const Tensor other = Tensor::zeros(bench.gpu, {n}, DType::kFloat32);
    const TensorView part = other.view().slice(0, 0, each);
    const std::vector<std::int64_t> even(static_cast<std::size_t>(P), each);
    std::vector<std::int64_t> uneven = even;
    uneven.front() -= each / 64;
    uneven.back() += each / 64;
    const TensorView own = other.view().slice(0, 0, uneven[static_cast<std::size_t>(ranks.rank())]);
    bench.row("all_reduce", bytes, 2 * share,
              [&] { return ranks.all_reduce(whole, ReduceOp::kSum); });
    bench.row("all_gather", bytes, share, [&] { return ranks.all_gather(whole, part, even); });
    bench.row("all_gather, uneven", bytes, share,
              [&] { return ranks.all_gather(whole, own, uneven); });
    bench.row("reduce_scatter", bytes, share,
              [&] { return ranks.reduce_scatter(part, whole, even, ReduceOp::kSum); });
    bench.row("reduce_scatter, uneven", bytes, share,
              [&] { return ranks.reduce_scatter(own, whole, uneven, ReduceOp::kSum); });
    const Message next{(ranks.rank() + 1) % P, whole}, before{(ranks.rank() + P - 1) % P, other};
    bench.row("send and receive", bytes, 1, [&] {
      return ranks.exchange({&next, 1}, {&before, 1});
    });
  }
}

int run(std::int64_t largest_mb) {
  set_cuda_environment();
  MpiSession session;
  {
    const auto world = session.world();
    Stream gpu = make_cuda_stream(session.rank() % cuda_device_count());
    const auto ranks = make_device_communicator(*world, gpu, DeviceTransport::kAuto, true);
    if (session.rank() == 0) {
      for (const char* name : {"NCCL_ALGO", "NCCL_PROTO", "NCCL_MAX_NCHANNELS"}) {
        const char* value = std::getenv(name);
        std::printf("%s=%s ", name, value == nullptr ? "" : value);
      }
      std::printf("\n");
    }
    all_sizes({*ranks, gpu}, largest_mb << 20);
    std::size_t free = 0, total = 0;
    if (session.rank() == 0 && cudaMemGetInfo(&free, &total) == cudaSuccess)
      std::printf("memory in use on the GPU: %.0f MB, of it %.0f MB of the program's tensors\n",
                  static_cast<double>(total - free) / 1e6,
                  static_cast<double>(gpu.allocator()->peak_bytes()) / 1e6);
  }
  return 0;
}

}  // namespace
}  // namespace halo::comm

int main(int argc, char** argv) { return halo::comm::run(argc > 1 ? std::atoi(argv[1]) : 1024); }
