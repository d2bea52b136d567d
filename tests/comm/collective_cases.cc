#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "core/base/rng.h"
#include "tests/comm/case_values.h"
#include "tests/comm/communicator_cases.h"

namespace halo::comm {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 3, 7, 513, 4099, 70001};
constexpr DType kAllDtypes[] = {DType::kFloat64, DType::kFloat32, DType::kBFloat16,
                                DType::kFloat16, DType::kInt64,   DType::kInt32,
                                DType::kUint32,  DType::kUint16,  DType::kUint8};

template <class Body>
void for_reduced_dtypes(Body body) {
  body(double{});
  body(float{});
  body(std::int64_t{});
  body(std::int32_t{});
}

void all_reduce_in_rank_order(Communicator& world) {
  for_reduced_dtypes([&](auto zero) {
    using T = decltype(zero);
    for (const std::int64_t n : kSizes) {
      for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
        std::vector<T> buffer = values<T>(world.rank(), n);
        world.all_reduce(flat(buffer), op).wait();
        EXPECT_EQ(buffer, reduced<T>(world.size(), n, op)) << n << " of " << sizeof(T);
      }
    }
  });
}

/// Summed in float32 in the order of ranks and rounded once.
void bfloat16_is_rounded_once(Communicator& world) {
  constexpr std::int64_t n = 4099;
  std::vector<BFloat16> buffer(n);
  std::vector<float> sums(n);
  for (int r = 0; r < world.size(); ++r) {
    const std::vector<float> of_rank = values<float>(r, n);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const BFloat16 rounded(of_rank[i]);
      sums[i] = r == 0 ? static_cast<float>(rounded) : sums[i] + static_cast<float>(rounded);
      if (r == world.rank()) buffer[i] = rounded;
    }
  }
  world.all_reduce(TensorView(buffer.data(), DType::kBFloat16, {n}), ReduceOp::kSum).wait();
  for (std::size_t i = 0; i < sums.size(); ++i)
    ASSERT_EQ(buffer[i].bits, BFloat16(sums[i]).bits) << "element " << i;
}

/// Uneven shares of n elements, the first ranks' often 0.
std::vector<std::int64_t> uneven_counts(int ranks, std::int64_t n) {
  std::vector<std::int64_t> counts;
  std::int64_t given = 0;
  for (int r = 0; r < ranks; ++r) {
    const std::int64_t end = r + 1 == ranks ? n : n * r * r / (ranks * ranks);
    counts.push_back(end - given);
    given = end;
  }
  return counts;
}

std::int64_t begin_of(const std::vector<std::int64_t>& counts, int rank) {
  std::int64_t begin = 0;
  for (int r = 0; r < rank; ++r) begin += counts[index(r)];
  return begin;
}

template <class T>
void check_reduce_scatter(Communicator& world, std::int64_t n, bool in_place, ReduceOp op) {
  const auto counts = uneven_counts(world.size(), n);
  const std::int64_t begin = begin_of(counts, world.rank());
  const std::int64_t own = counts[index(world.rank())];
  std::vector<T> in = values<T>(world.rank(), n);
  std::vector<T> apart(static_cast<std::size_t>(own), T{1});
  const TensorView out = in_place ? flat(in).slice(0, begin, begin + own) : flat(apart);
  world.reduce_scatter(out, flat(in), counts, op).wait();
  const std::vector<T> all = reduced<T>(world.size(), n, op);
  const std::vector<T> expected(all.begin() + begin, all.begin() + begin + own);
  std::vector<T> unchanged = values<T>(world.rank(), n);
  if (in_place) {
    std::copy(expected.begin(), expected.end(), unchanged.begin() + begin);
  } else {
    EXPECT_EQ(apart, expected) << n << " of " << sizeof(T);
  }
  EXPECT_EQ(in, unchanged) << n << " of " << sizeof(T);
}

void reduce_scatter_of_uneven_counts(Communicator& world) {
  for_reduced_dtypes([&](auto zero) {
    using T = decltype(zero);
    for (const std::int64_t n : kSizes) {
      for (const bool in_place : {false, true}) {
        check_reduce_scatter<T>(world, n, in_place, ReduceOp::kSum);
      }
    }
    check_reduce_scatter<T>(world, 4099, true, ReduceOp::kMax);
  });
}

/// Buffers of any dtype, as the bytes they are.
struct Buffer {
  Buffer(int rank, std::int64_t n, DType dtype)
      : bytes(values<std::uint8_t>(rank, n * static_cast<std::int64_t>(dtype_size(dtype)))),
        view(bytes.data(), dtype, {n}) {}
  std::vector<std::uint8_t> bytes;
  TensorView view;
};

void all_gather_of_uneven_counts(Communicator& world) {
  for (const DType dtype : kAllDtypes) {
    for (const std::int64_t n : kSizes) {
      for (const bool in_place : {false, true}) {
        const auto counts = uneven_counts(world.size(), n);
        const std::int64_t begin = begin_of(counts, world.rank());
        Buffer own(world.rank(), counts[index(world.rank())], dtype);
        Buffer out(99, n, dtype);
        TensorView in = own.view;
        if (in_place) {
          in = out.view.slice(0, begin, begin + own.view.size());
          std::copy(own.bytes.begin(), own.bytes.end(), static_cast<std::uint8_t*>(in.data));
        }
        world.all_gather(out.view, in, counts).wait();
        std::vector<std::uint8_t> expected;
        for (int r = 0; r < world.size(); ++r) {
          const Buffer block(r, counts[index(r)], dtype);
          expected.insert(expected.end(), block.bytes.begin(), block.bytes.end());
        }
        EXPECT_EQ(out.bytes, expected) << dtype_name(dtype) << ' ' << n;
      }
    }
  }
}

void broadcast_from_every_root(Communicator& world) {
  for (const DType dtype : kAllDtypes) {
    for (const std::int64_t n : kSizes) {
      const int root = static_cast<int>(n + static_cast<int>(dtype)) % world.size();
      Buffer buffer(world.rank(), n, dtype);
      world.broadcast(buffer.view, root).wait();
      EXPECT_EQ(buffer.bytes, Buffer(root, n, dtype).bytes) << dtype_name(dtype) << ' ' << n;
    }
  }
}

/// Everybody sends every rank, itself included, two messages at once.
void exchange_with_everyone(Communicator& world) {
  for (const DType dtype : kAllDtypes) {
    for (const std::int64_t n : {0, 1, 1000, 9001}) {
      std::vector<Buffer> buffers;
      for (int r = 0; r < world.size(); ++r) {
        buffers.emplace_back(world.rank() * 10 + r, n, dtype);      // to r, first
        buffers.emplace_back(world.rank() * 10 + r + 5, n, dtype);  // to r, second
        buffers.emplace_back(99, n, dtype);                         // from r, first
        buffers.emplace_back(99, n, dtype);                         // from r, second
      }
      std::vector<Message> sends, receives;
      for (int r = 0; r < world.size(); ++r) {
        for (const int k : {0, 1}) sends.push_back({r, buffers[index(r * 4 + k)].view});
        for (const int k : {2, 3}) receives.push_back({r, buffers[index(r * 4 + k)].view});
      }
      world.exchange(sends, receives).wait();
      for (int r = 0; r < world.size(); ++r) {
        for (const int k : {0, 1}) {
          EXPECT_EQ(buffers[index(r * 4 + 2 + k)].bytes,
                    Buffer(r * 10 + world.rank() + 5 * k, n, dtype).bytes)
              << dtype_name(dtype) << ' ' << n;
        }
      }
    }
  }
}

/// A chain where ranks call exchange differently often: no collective.
void exchange_down_a_chain_keeps_the_order(Communicator& world) {
  constexpr int kMessages = 20;
  const int rank = world.rank();
  for (int i = 0; i < kMessages; ++i) {
    std::vector<std::int32_t> token{i, rank};
    if (rank > 0) world.exchange({}, std::vector<Message>{{rank - 1, flat(token)}}).wait();
    EXPECT_EQ(token, (std::vector<std::int32_t>{i, std::max(0, rank - 1)}));
    token[1] = rank;
    if (rank + 1 < world.size()) {
      world.exchange(std::vector<Message>{{rank + 1, flat(token)}}, {}).wait();
    }
  }
}

/// Nobody passes before the last has come. Ranks of one host share the steady clock.
void barriers_hold_everyone_back(Communicator& world) {
  const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
  for (int round = 0; round < 2 * world.size(); ++round) {
    if (world.rank() == round % world.size()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
    std::int64_t last_came = now();
    Work barrier = world.barrier();
    if (round % 2 == 0) {
      barrier.wait();
    } else {
      while (!barrier.test()) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    const std::int64_t passed = now();
    world.all_reduce(view(&last_came, {1}), ReduceOp::kMax).wait();
    EXPECT_GE(passed, last_came) << round;
  }
}

void five_megabyte_messages(Communicator& world) {
  const std::int64_t n = (world.size() <= 4 ? 5 : 1) * 1024 * 1024 / 4 + 3;
  std::vector<float> sum = values<float>(world.rank(), n);
  std::vector<float> copy = values<float>(world.rank(), n);
  Work one = world.all_reduce(flat(sum), ReduceOp::kSum);
  Work two = world.broadcast(flat(copy), world.size() - 1);
  two.wait();
  one.wait();
  EXPECT_EQ(sum, reduced<float>(world.size(), n, ReduceOp::kSum));
  EXPECT_EQ(copy, values<float>(world.size() - 1, n));
  const std::vector<std::int64_t> counts(index(world.size()), n);
  std::vector<float> all(static_cast<std::size_t>(n * world.size()));
  std::vector<float> own = values<float>(world.rank(), n);
  world.all_gather(flat(all), flat(own), counts).wait();
  for (int r = 0; r < world.size(); ++r) {
    const std::vector<float> block = values<float>(r, n);
    EXPECT_EQ(std::memcmp(all.data() + n * r, block.data(), block.size() * sizeof(float)), 0);
  }
  check_reduce_scatter<float>(world, n, true, ReduceOp::kSum);
}

/// Operations of three communicators under way together, waited for in another order on each rank.
void any_order_of_waits(Communicator& world) {
  const auto twin = world.split(0, world.rank(), "twin");
  const auto reversed = world.split(0, -world.rank(), "reversed");
  const CounterRng rng(3, str("order ", world.rank()));
  for (int round = 0; round < 5; ++round) {
    constexpr int kOperations = 18;
    std::vector<std::vector<float>> buffers;
    std::vector<Work> works;
    for (int i = 0; i < kOperations; ++i) {
      Communicator& comm = i % 3 == 0 ? world : i % 3 == 1 ? *twin : *reversed;
      const std::int64_t n = i % 5 == 0 ? 50001 : 100 + i;
      const bool sums = i % 2 == 0;
      buffers.push_back(values<float>(sums ? comm.rank() : world.rank(), n));
      works.push_back(sums ? comm.all_reduce(flat(buffers.back()), ReduceOp::kSum)
                           : world.broadcast(flat(buffers.back()), i % world.size()));
    }
    std::vector<int> order(kOperations);
    for (int i = 0; i < kOperations; ++i) {
      order[index(i)] = i;
      std::swap(order[index(i)], order[rng.below(index(i) + 1, index(round * kOperations + i))]);
    }
    for (const int i : order) works[index(i)].wait();
    for (int i = 0; i < kOperations; ++i) {
      const auto n = static_cast<std::int64_t>(buffers[index(i)].size());
      EXPECT_EQ(buffers[index(i)], i % 2 == 0 ? reduced<float>(world.size(), n, ReduceOp::kSum)
                                              : values<float>(i % world.size(), n));
    }
  }
}

void destroying_a_work_waits_for_it(Communicator& world) {
  std::vector<float> buffer = values<float>(world.rank(), 9001);
  { const Work work = world.all_reduce(flat(buffer), ReduceOp::kSum); }
  EXPECT_EQ(buffer, reduced<float>(world.size(), 9001, ReduceOp::kSum));
  std::vector<float> again = values<float>(world.rank(), 9001);
  Work work = world.all_reduce(flat(again), ReduceOp::kSum);
  work = Work();  // waits likewise
  EXPECT_EQ(again, buffer);
}

void the_same_bits_every_time_and_everywhere(Communicator& world) {
  std::vector<float> first = values<float>(world.rank(), 30011);
  world.all_reduce(flat(first), ReduceOp::kSum).wait();
  for (int run = 0; run < 10; ++run) {
    std::vector<float> again = values<float>(world.rank(), 30011);
    world.all_reduce(flat(again), ReduceOp::kSum).wait();
    EXPECT_EQ(again, first);
  }
  std::vector<float> of_rank_0 = first;
  world.broadcast(flat(of_rank_0), 0).wait();
  EXPECT_EQ(first, of_rank_0);
}

void a_nan_wins_a_maximum(Communicator& world) {
  for (int r = 0; r < world.size(); ++r) {
    double value = world.rank() == r ? std::nan("") : world.rank();
    world.all_reduce(view(&value, {1}), ReduceOp::kMax).wait();
    EXPECT_TRUE(std::isnan(value)) << r;
  }
}

void splits_into_rows_and_columns(Communicator& world) {
  constexpr int kColumns = 2;
  const int row = world.rank() / kColumns, column = world.rank() % kColumns;
  const auto rows = world.split(row, column, "row");
  const auto columns = world.split(column, row, "column");
  EXPECT_EQ(rows->rank(), column);
  EXPECT_EQ(columns->rank(), row);
  EXPECT_EQ(rows->name(), "row");
  std::int64_t in_row = 1 << world.rank(), in_column = in_row;
  Work a = rows->all_reduce(view(&in_row, {1}), ReduceOp::kSum);
  columns->all_reduce(view(&in_column, {1}), ReduceOp::kSum).wait();
  a.wait();
  std::int64_t expected_row = 0, expected_column = 0;
  for (int r = 0; r < world.size(); ++r) {
    if (r / kColumns == row) expected_row += 1 << r;
    if (r % kColumns == column) expected_column += 1 << r;
  }
  EXPECT_EQ(in_row, expected_row);
  EXPECT_EQ(in_column, expected_column);
}

/// Keys reverse the order, equal keys keep it, and splits of splits stay apart from their parents.
void splits_of_splits(Communicator& world) {
  const auto reversed = world.split(0, -world.rank(), "reversed");
  EXPECT_EQ(reversed->rank(), world.size() - 1 - world.rank());
  const auto same = reversed->split(5, 0, "same");
  EXPECT_EQ(same->rank(), reversed->rank());
  const auto halves = same->split(same->rank() % 2, same->rank(), "half");
  EXPECT_EQ(halves->rank(), same->rank() / 2);
  const auto alone = halves->split(halves->rank(), 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  for (Communicator* comm : {reversed.get(), same.get(), halves.get(), alone.get()}) {
    std::int32_t sum = 1, root = world.rank();
    comm->all_reduce(view(&sum, {1}), ReduceOp::kSum).wait();
    EXPECT_EQ(sum, comm->size()) << comm->name();
    comm->broadcast(view(&root, {1}), 0).wait();
    if (comm->rank() == 0) {
      EXPECT_EQ(root, world.rank());
    }
  }
}

/// Members alone take part, in the order given; groups that share ranks stay apart.
void groups_of_some(Communicator& world) {
  const int P = world.size();
  if (world.rank() > 0 || P == 1) {  // all but the first, backwards
    std::vector<int> members;
    for (int r = P - 1; r >= (P == 1 ? 0 : 1); --r) members.push_back(r);
    const auto others = world.group(members, "others");
    EXPECT_EQ(others->name(), "others");
    EXPECT_EQ(others->size(), std::ssize(members));
    EXPECT_EQ(others->rank(), P - 1 - world.rank());
    std::int32_t sum = 1 << world.rank();
    Work under_way = others->all_reduce(view(&sum, {1}), ReduceOp::kSum);
    if (world.rank() == P - 1) {
      const std::vector<int> self{P - 1};
      std::int32_t own = 7;
      world.group(self, "self")->all_reduce(view(&own, {1}), ReduceOp::kSum).wait();
      EXPECT_EQ(own, 7);
    }
    under_way.wait();
    EXPECT_EQ(sum, (1 << P) - (P == 1 ? 1 : 2));
  }
  std::vector<int> all(static_cast<std::size_t>(P));
  std::iota(all.begin(), all.end(), 0);
  const auto everyone = world.group(all, "everyone");
  std::int32_t root = world.rank();
  everyone->broadcast(view(&root, {1}), P - 1).wait();
  EXPECT_EQ(root, P - 1);
  const std::vector<int> twice{world.rank(), world.rank()}, none;
  EXPECT_THROW(static_cast<void>(world.group(twice, "twice")), Error);
  EXPECT_THROW(static_cast<void>(world.group(none, "none")), Error);
}

void calls_are_recorded(Communicator& world) {
  world.set_context({3, 1});
  float value = 0;
  world.all_reduce(view(&value, {1}), ReduceOp::kSum).wait();
  world.split(0, 0, "child")->barrier().wait();
  const std::string calls = world.recent_calls();
  EXPECT_NE(calls.find("all_reduce world 4 bytes step 3 micro-batch 1: done\n"), std::string::npos)
      << calls;
  EXPECT_NE(calls.find("barrier child 0 bytes step 3 micro-batch 1: done\n"), std::string::npos)
      << calls;
}

constexpr Case kCollectiveCases[] = {
    {"AllReduceInRankOrder", all_reduce_in_rank_order},
    {"ReduceScatterOfUnevenCounts", reduce_scatter_of_uneven_counts},
    {"AllGatherOfUnevenCounts", all_gather_of_uneven_counts},
    {"BroadcastFromEveryRoot", broadcast_from_every_root},
    {"ExchangeWithEveryone", exchange_with_everyone},
    {"ExchangeDownAChainKeepsTheOrder", exchange_down_a_chain_keeps_the_order},
    {"BarriersHoldEveryoneBack", barriers_hold_everyone_back},
    {"FiveMegabyteMessages", five_megabyte_messages},
    {"AnyOrderOfWaits", any_order_of_waits},
    {"DestroyingAWorkWaitsForIt", destroying_a_work_waits_for_it},
    {"TheSameBitsEveryTimeAndEverywhere", the_same_bits_every_time_and_everywhere},
    {"ANanWinsAMaximum", a_nan_wins_a_maximum},
    {"Bfloat16IsRoundedOnce", bfloat16_is_rounded_once},
    {"SplitsIntoRowsAndColumns", splits_into_rows_and_columns},
    {"SplitsOfSplits", splits_of_splits},
    {"GroupsOfSome", groups_of_some},
    {"CallsAreRecorded", calls_are_recorded},
};

}  // namespace

std::span<const Case> collective_cases() { return kCollectiveCases; }

}  // namespace halo::comm
