// NCCL between GPUs, one a rank. On a machine with fewer GPUs than ranks what needs NCCL is skipped, and how ranks that
// share a GPU are told apart is still tested.
#include "parallel/comm/nccl_communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/base/clock.h"
#include "core/base/cuda_device.h"
#include "core/base/tensor.h"
#include "parallel/comm/device_communicator.h"
#include "parallel/comm/staged_communicator.h"
#include "tests/comm/case_values.h"
#include "tests/comm/communicator_cases.h"
#include "tests/comm/device_cases.h"
#include "tests/comm/mpi_main.h"
#include "tests/comm/nccl_fixture.h"

namespace halo::comm {
namespace {

using std::chrono::milliseconds;

// The suite of all communicators, on the memory of the GPU and on the host's.

struct SuiteRun {
  Case body;
  bool on_device;
};
void PrintTo(const SuiteRun& run, std::ostream* out) { *out << run.body.name; }

std::vector<SuiteRun> suite_runs() {
  std::vector<SuiteRun> runs;
  for (const bool on_device : {true, false})
    for (const Case& body : collective_cases()) runs.push_back({body, on_device});
  return runs;
}

class NcclSuiteTest : public NcclTest, public testing::WithParamInterface<SuiteRun> {};

TEST_P(NcclSuiteTest, Holds) {
  const SuiteRun& run = GetParam();
  const std::string name = run.body.name;
  if (!run.on_device) return run.body.run(nccl());
  if (name == "ANanWinsAMaximum" || name == "CallsAreRecorded") GTEST_SKIP() << "not of NCCL";
  const std::set<std::string> of_rank_order{
      "AllReduceInRankOrder", "Bfloat16IsRoundedOnce", "ReduceScatterOfUnevenCounts",
      "FiveMegabyteMessages", "AnyOrderOfWaits",       "DestroyingAWorkWaitsForIt"};
  if (size() > 2 && of_rank_order.contains(name))
    GTEST_SKIP() << "NCCL has an order of its own for the sum of " << size();
  const auto uploading = make_uploading_communicator(nccl(), gpu());
  run.body.run(*uploading);
}

INSTANTIATE_TEST_SUITE_P(Cases, NcclSuiteTest, testing::ValuesIn(suite_runs()),
                         [](const auto& run) {
                           return str(run.param.body.name,
                                      run.param.on_device ? "OnDevice" : "OnHost");
                         });

// What is NCCL's own.

/// Small whole numbers, whose sums no order rounds, in bfloat16 neither.
template <class T>
std::vector<T> whole_values(int rank, std::int64_t n) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < n; ++i)
    values.push_back(static_cast<T>(static_cast<float>((i * 7 + rank * 3) % 11 - 5)));
  return values;
}
template <class T>
std::vector<float> as_floats(const std::vector<T>& values) {
  std::vector<float> floats;
  for (const T value : values) floats.push_back(static_cast<float>(value));
  return floats;
}
template <class T>
std::vector<float> whole_sums(int ranks, std::int64_t n) {
  std::vector<float> sums(static_cast<std::size_t>(n), 0.0f);
  for (int r = 0; r < ranks; ++r) {
    const std::vector<T> values = whole_values<T>(r, n);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<float>(values[i]);
  }
  return sums;
}

/// Shares of n elements, of unlike size and some of them 0.
std::vector<std::int64_t> shares(int ranks, std::int64_t n) {
  std::vector<std::int64_t> counts;
  std::int64_t given = 0;
  for (int r = 0; r < ranks; ++r) {
    const std::int64_t end = r + 1 == ranks ? n : n * r * r / (ranks * ranks);
    counts.push_back(end - given);
    given = end;
  }
  return counts;
}

TEST_F(NcclTest, SumsOfEveryTypeAndShare) {
  const auto check = [&](auto zero) {
    using T = decltype(zero);
    for (const std::int64_t n : {1, 7, 4099, 300007}) {
      const std::vector<float> expected = whole_sums<T>(size(), n);
      const Tensor all = up(whole_values<T>(rank(), n));
      const auto counts = shares(size(), n);
      const std::int64_t begin =
          std::accumulate(counts.begin(), counts.begin() + rank(), std::int64_t{0});
      const std::int64_t own = counts[static_cast<std::size_t>(rank())];
      const Tensor part(gpu(), {own}, dtype_of<T>());
      Work scattered = nccl().reduce_scatter(part, all, counts, ReduceOp::kSum);
      const Tensor sums = up(whole_values<T>(rank(), n));
      nccl().all_reduce(sums, ReduceOp::kSum).wait();
      EXPECT_EQ(as_floats(down<T>(sums)), expected) << dtype_name(dtype_of<T>()) << ' ' << n;
      scattered.wait();
      EXPECT_EQ(as_floats(down<T>(part)),
                std::vector<float>(expected.begin() + begin, expected.begin() + begin + own));
      EXPECT_EQ(as_floats(down<T>(all)), as_floats(whole_values<T>(rank(), n)));
    }
  };
  check(float{});
  check(double{});
  check(BFloat16{});
  check(std::int32_t{});
  check(std::int64_t{});
}

/// Nothing waits on the host: memory comes from and goes back to the allocator while calls are on their way, and what they
/// read is written late.
TEST_F(NcclTest, CallsKeepTheOrderOfTheStream) {
  constexpr std::int64_t n = 1 << 18, kSlow = 1 << 26;
  constexpr int kRounds = 20;
  std::vector<Tensor> values, results;
  for (int i = 0; i < kRounds; ++i) {
    values.push_back(up(std::vector<std::int32_t>(n, 1000 * i + rank())));
    results.push_back(Tensor::zeros(gpu(), {n * size()}, DType::kInt32));
  }
  const Tensor slow(gpu(), {kSlow}, DType::kUint8), copied(gpu(), {kSlow}, DType::kUint8);
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), n);
  for (std::size_t i = 0; i < kRounds; ++i) {
    Tensor x = Tensor::zeros(gpu(), {n}, DType::kInt32), all(gpu(), {n * size()}, DType::kInt32);
    copy(copied, slow, gpu());
    copy(x, values[i], gpu());
    nccl().all_gather(all, x, counts).wait();
    copy(results[i], all, gpu());
    x.reset();
    all.reset();
    const Tensor over_it =
        Tensor::zeros(gpu(), {n * size()}, DType::kInt32);  // likely where `all` was
  }
  for (int i = 0; i < kRounds; ++i) {
    const std::vector<std::int32_t> all = down<std::int32_t>(results[static_cast<std::size_t>(i)]);
    for (int r = 0; r < size(); ++r) {
      const auto block = all.begin() + r * n;
      EXPECT_EQ(std::count(block, block + n, 1000 * i + r), n) << i << " of rank " << r;
    }
  }
}

TEST_F(NcclTest, GroupsOverlap) {
  constexpr std::int64_t n = 100003;
  const auto pairs = nccl().split(rank() / 2, rank(), "pairs");
  const auto reversed = nccl().split(0, -rank(), "reversed");
  std::vector<Tensor> buffers;
  std::vector<Work> works;
  std::vector<int> ranks;
  for (int i = 0; i < 30; ++i) {
    Communicator& comm = i % 3 == 0 ? nccl() : i % 3 == 1 ? *pairs : *reversed;
    buffers.push_back(up(std::vector<std::int32_t>(n, i + 1)));
    works.push_back(comm.all_reduce(buffers.back(), ReduceOp::kSum));
    ranks.push_back(comm.size());
  }
  for (std::size_t i = works.size(); i-- > 0;) works[i].wait();
  for (std::size_t i = 0; i < works.size(); ++i) {
    const std::int32_t sum = (static_cast<std::int32_t>(i) + 1) * ranks[i];
    EXPECT_EQ(down<std::int32_t>(buffers[i]), std::vector<std::int32_t>(n, sum)) << i;
  }
}

/// Long messages around the ring, each sent before the one that answers it is received, in calls of their own.
TEST_F(NcclTest, SendsDoNotHoldReceivesBack) {
  constexpr std::int64_t n = 4 << 20;
  const int next = (rank() + 1) % size(), before = (rank() + size() - 1) % size();
  if (size() == 1) GTEST_SKIP() << "one rank";
  const Tensor first(gpu(), {1}, DType::kInt32), second(gpu(), {1}, DType::kInt32);
  fill_zero(first, gpu());
  const Message hello{next, first}, answer{before, second};
  nccl().exchange({&hello, 1}, {&answer, 1}).wait();
  std::vector<Tensor> out, in;
  std::vector<Work> sent;
  for (int i = 0; i < 4; ++i) {
    out.push_back(up(std::vector<std::int32_t>(n, 10 * rank() + i)));
    const Message message{next, out.back()};
    sent.push_back(nccl().exchange({&message, 1}, {}));
  }
  for (int i = 0; i < 4; ++i) {
    in.emplace_back(gpu(), Shape{n}, DType::kInt32);
    const Message message{before, in.back()};
    nccl().exchange({}, {&message, 1}).wait();
  }
  for (Work& work : sent) work.wait();
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(down<std::int32_t>(in[static_cast<std::size_t>(i)]),
              std::vector<std::int32_t>(n, 10 * before + i));
}

TEST_F(NcclTest, TheSameBitsEachTime) {
  const Tensor values = up(halo::comm::values<float>(rank(), 1000003));
  std::vector<float> first;
  for (int run = 0; run < 5; ++run) {
    const Tensor sums = Tensor::copy_of(gpu(), values);
    nccl().all_reduce(sums, ReduceOp::kSum).wait();
    const std::vector<float> now = down<float>(sums);
    if (run == 0) first = now;
    EXPECT_EQ(now, first) << run;
  }
}

class Spans final : public CallObserver {
 public:
  void on_call(const CallSpan& span) override { all.push_back(span); }
  std::vector<CallSpan> all;
};

TEST_F(NcclTest, CallsAreTimedAndRecorded) {
  Spans spans;
  nccl().observe(&spans);
  nccl().set_context({3, 1});
  const double before = steady_seconds();
  const Tensor x = up(std::vector<float>(1 << 20, 1.0f));
  Work work = nccl().all_reduce(x, ReduceOp::kSum);
  work.wait();
  gpu().synchronize();
  const double after = steady_seconds();
  std::this_thread::sleep_for(milliseconds(2));
  nccl().check();  // looks after what has ended
  nccl().observe(nullptr);
  const auto of_device = [](const CallSpan& span) { return span.call.op == "all_reduce"; };
  ASSERT_EQ(std::ranges::count_if(spans.all, of_device), 1);
  const CallSpan span = *std::ranges::find_if(spans.all, of_device);
  EXPECT_EQ(span.call, (Call{"all_reduce", "world", size(), 4 << 20, 0, {}, {}, {3, 1}}));
  constexpr double kClocks = 1e-3;  // the device's against the host's
  EXPECT_GE(span.begin, before - kClocks);
  EXPECT_LE(span.end, after + kClocks);
  EXPECT_LE(span.begin, span.end);
  EXPECT_GE(span.waited, 0);
  EXPECT_LE(span.waited, span.end - span.begin + 1e-9);
  EXPECT_NE(nccl().recent_calls().find("all_reduce world 4194304 bytes step 3 micro-batch 1: done"),
            std::string::npos)
      << nccl().recent_calls();
}

TEST_F(NcclTest, WrongArgumentsAreRefused) {
  const Tensor whole(gpu(), {2 * size()}, DType::kFloat32), part(gpu(), {2}, DType::kFloat32);
  std::vector<float> on_host(2);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), 2);
  const auto refuses = [&](auto call) { EXPECT_THROW(static_cast<void>(call()), Error); };
  refuses([&] { return nccl().all_reduce(Tensor(gpu(), {2}, DType::kFloat16), ReduceOp::kSum); });
  refuses([&] { return nccl().all_gather(whole, flat(on_host), counts); });
  refuses([&] { return nccl().broadcast(part, size()); });
  refuses([&] {
    const Message to_itself{rank(), part};
    return nccl().exchange({&to_itself, 1}, {});
  });
  counts[0] += 1;
  refuses([&] { return nccl().reduce_scatter(part, whole, counts, ReduceOp::kSum); });
  nccl().barrier().wait();
}

/// All ranks agree, whether they share a GPU or not.
TEST(DeviceCommunicatorTest, NcclIsForRanksWithGpusOfTheirOwn) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const auto world = test_session().world();
  Stream& gpu = gpu_of_rank();
  const bool apart = why_not().empty() && world->size() > 1;
  const auto staged = [&](DeviceTransport transport) {
    const auto ranks = make_device_communicator(*world, gpu, transport, true);
    const Tensor x = Tensor::zeros(gpu, {1000}, DType::kFloat32);
    ranks->all_reduce(x, ReduceOp::kSum).wait();
    gpu.synchronize();
    return dynamic_cast<StagedCommunicator*>(ranks.get()) != nullptr;
  };
  EXPECT_EQ(staged(DeviceTransport::kAuto), !apart);
  EXPECT_TRUE(staged(DeviceTransport::kMpi));
  if (world->size() == 1) return;
  if (apart) {
    EXPECT_FALSE(staged(DeviceTransport::kNccl));
    return;
  }
  try {
    std::ignore = staged(DeviceTransport::kNccl);
    ADD_FAILURE() << "NCCL for ranks that share a GPU";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(nccl_missing().empty() ? "share a GPU" : "no NCCL"),
              std::string::npos)
        << error.what();
  }
}

/// bfloat16 through the host, and what a rank alone does without leaving the device.
TEST(DeviceCommunicatorTest, StagedSumsAndRanksAlone) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const auto world = test_session().world();
  Stream& gpu = gpu_of_rank();
  StagedCommunicator staged(*world, gpu);
  constexpr std::int64_t n = 5003;
  const std::vector<BFloat16> own = whole_values<BFloat16>(world->rank(), n);
  const Tensor x = Tensor::copy_of(gpu, view(own.data(), {n}));
  const auto on_host = [&](const Tensor& device) {
    std::vector<BFloat16> values(static_cast<std::size_t>(n));
    copy(view(values.data(), {n}), device, gpu);
    return as_floats(values);
  };
  const auto alone = staged.alone("alone");
  const Tensor gathered(gpu, {n}, DType::kBFloat16);
  alone->all_gather(gathered, x, std::vector<std::int64_t>{n}).wait();
  alone->all_reduce(gathered, ReduceOp::kSum).wait();
  EXPECT_EQ(on_host(gathered), as_floats(own));
  staged.all_reduce(x, ReduceOp::kSum).wait();
  EXPECT_EQ(on_host(x), whole_sums<BFloat16>(world->size(), n));
}

}  // namespace
}  // namespace halo::comm
