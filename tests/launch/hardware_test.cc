#include "launch/jobs/hardware.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>

#include "launch/jobs/device_peaks.h"
#include "parallel/comm/local_communicator.h"

namespace halo::launch {
namespace {

/// The processors that this process may use, the first `most` of them.
cpu_set_t first_cpus(int most) {
  cpu_set_t all, some;
  CPU_ZERO(&all);
  CPU_ZERO(&some);
  ::sched_getaffinity(0, sizeof all, &all);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&some) < most; ++cpu)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &some);
  return some;
}

TEST(HardwareTest, ARankHasTheThreadsThatItsProcessorsAllow) {
  const cpu_set_t all = first_cpus(CPU_SETSIZE);
  for (const int ranks : {1, 2, 3}) {
    std::atomic<int> wrong{0};
    comm::run_ranks(ranks, [&](comm::Communicator& world) {
      if (threads_of_rank({}, world) != std::max(1, CPU_COUNT(&all) / ranks)) ++wrong;
      const cpu_set_t one = first_cpus(1);
      ::sched_setaffinity(0, sizeof one, &one);  // of this thread, which is this rank's own
      if (threads_of_rank({}, world) != 1) ++wrong;
      Config config;
      config.set_threads(7);
      if (threads_of_rank(config, world) != 7) ++wrong;
    });
    EXPECT_EQ(wrong, 0) << ranks << " ranks";
  }
}

TEST(HardwareTest, PeaksAreThoseOfDataSheets) {
  EXPECT_EQ(datasheet_flops("NVIDIA H100 80GB HBM3", DType::kBFloat16), 989.4e12);
  EXPECT_EQ(datasheet_flops("NVIDIA H100 PCIe", DType::kBFloat16), 756e12);
  EXPECT_EQ(datasheet_flops("NVIDIA GH200 480GB", DType::kBFloat16), 989.4e12);
  EXPECT_EQ(datasheet_flops("NVIDIA A100-SXM4-80GB", DType::kFloat32), 19.5e12);
  EXPECT_EQ(datasheet_flops("NVIDIA H100 80GB HBM3", DType::kFloat64), 0);
  EXPECT_EQ(datasheet_flops("NVIDIA H100 80GB HBM3 MIG 3g.40gb", DType::kBFloat16), 0);
  EXPECT_EQ(datasheet_flops("NVIDIA GeForce", DType::kBFloat16), 0);
  EXPECT_EQ(datasheet_flops("", DType::kFloat32), 0) << "a processor's peak is measured";
}

}  // namespace
}  // namespace halo::launch
