#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/comm/communicator_cases.h"

namespace halo::comm {
namespace {

/// What a wait throws: the rank it names and its reason.
PeerFailed failure_of(Work work) {
  try {
    work.wait();
  } catch (const PeerFailed& failure) {
    return failure;
  }
  return {-2, "nothing was thrown"};
}

void expect_failure(const PeerFailed& failure, int rank, const std::string& reason) {
  EXPECT_EQ(failure.rank, rank) << failure.what();
  EXPECT_NE(std::string(failure.what()).find(reason), std::string::npos) << failure.what();
}

void abort_ends_the_waits_of_all(Communicator& world) {
  const auto child = world.split(0, world.rank(), "child");
  const int culprit = world.size() - 1;
  float value = 1;
  if (world.rank() == culprit) {
    child->abort("the reason");
  } else {
    expect_failure(failure_of(child->all_reduce(view(&value, {1}), ReduceOp::kSum)), culprit,
                   "child rank " + std::to_string(culprit) + ": the reason");
  }
  // Later calls find it dead at once, and the one it was split from lives.
  expect_failure(failure_of(child->exchange({}, std::array{Message{0, view(&value, {1})}})),
                 culprit, "the reason");
  world.barrier().wait();
}

void abort_reaches_those_who_come_late_and_splits(Communicator& world) {
  const auto child = world.split(0, -world.rank(), "child");
  const auto grandchild = child->split(0, child->rank(), "grandchild");
  if (world.size() == 1) return;
  world.barrier().wait();  // nobody is splitting `child` any more
  if (world.rank() == 0) child->abort("early");
  world.barrier().wait();
  float value = 1;
  // World rank 0 is the last of child and grandchild.
  expect_failure(failure_of(grandchild->all_reduce(view(&value, {1}), ReduceOp::kSum)),
                 world.size() - 1, "early");
  world.barrier().wait();
}

void abort_leaves_brothers_alone(Communicator& world) {
  const auto half = world.split(world.rank() % 2, world.rank(), "half");
  if (world.rank() == 0) half->abort("only the even half");
  world.barrier().wait();
  if (world.rank() % 2 == 1) half->barrier().wait();
}

void an_unwinding_rank_withdraws_its_operations(Communicator& world) {
  const auto child = world.split(0, world.rank(), "child");
  std::vector<float> untouched(1000, 7.0f), sent(1000, 1.0f);
  const int receiver = world.size() - 1;
  if (receiver == 0) return;
  if (world.rank() == receiver) {
    try {
      const Work work = child->exchange({}, std::array{Message{0, view(untouched.data(), {1000})}});
      throw Error("something else went wrong");
    } catch (const Error&) {
    }
    EXPECT_NE(child->recent_calls().find("exchange child 4000 bytes: failed"), std::string::npos);
    expect_failure(failure_of(child->barrier()), receiver, "given up before it was done");
  }
  world.barrier().wait();
  if (world.rank() == 0) {
    child->exchange(std::array{Message{receiver, view(sent.data(), {1000})}}, {}).wait();
  }
  world.barrier().wait();
  EXPECT_EQ(untouched, std::vector<float>(1000, 7.0f));
}

void sizes_that_differ_are_reported(Communicator& world) {
  const auto child = world.split(0, world.rank(), "child");
  if (world.size() == 1) return;
  for (const std::int64_t n : {2, 5}) {  // shorter and longer than the 4 that are expected
    const auto pair = world.split(n == 2 ? 0 : 1, world.rank(), "pair");
    std::array<float, 5> buffer{};
    if (world.rank() == 0) {
      pair->exchange(std::array{Message{1, view(buffer.data(), {n})}}, {}).wait();
    } else if (world.rank() == 1) {
      const PeerFailed failure =
          failure_of(pair->exchange({}, std::array{Message{0, view(buffer.data(), {4})}}));
      expect_failure(failure, 0, "exchange pair 16 bytes");
    }
    world.barrier().wait();
  }
}

void wrong_arguments_are_refused(Communicator& world) {
  const auto n = static_cast<std::int64_t>(world.size());
  std::vector<float> memory(static_cast<std::size_t>(4 * n + 4));
  const TensorView whole = view(memory.data(), {2 * n});
  const TensorView part = view(memory.data() + 2 * n, {2});
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(n), 2);
  auto long_counts = counts;
  long_counts.push_back(0);
  auto negative = counts;
  negative[0] -= 4;
  auto few = counts;
  few[static_cast<std::size_t>((world.rank() + 1) % world.size())] -= 1;
  const TensorView strided = view(memory.data(), {2, 2 * n}).slice(1, 0, n);
  TensorView device = whole;
  device.device = Device::kCuda;
  const auto refuses = [&](auto call) { EXPECT_THROW(static_cast<void>(call()), Error); };
  refuses([&] { return world.all_reduce(strided, ReduceOp::kSum); });
  refuses([&] { return world.all_reduce(device, ReduceOp::kSum); });
  refuses([&] {
    return world.all_reduce(TensorView(memory.data(), DType::kFloat16, {2}), ReduceOp::kSum);
  });
  refuses(
      [&] { return world.all_reduce(TensorView(nullptr, DType::kFloat32, {2}), ReduceOp::kSum); });
  refuses([&] { return world.reduce_scatter(part, whole, long_counts, ReduceOp::kSum); });
  refuses([&] { return world.reduce_scatter(part, whole, negative, ReduceOp::kSum); });
  refuses([&] { return world.all_gather(whole, part, few); });
  refuses([&] { return world.all_gather(whole, part.slice(0, 0, 1), counts); });
  refuses([&] {
    return world.all_gather(whole, view(memory.data() + 2 * world.rank() + 1, {2}), counts);
  });
  refuses([&] { return world.broadcast(part, world.size()); });
  refuses([&] { return world.broadcast(part, -1); });
  refuses([&] { return world.exchange(std::array{Message{world.size(), part}}, {}); });
  world.barrier().wait();  // nothing of it was sent
}

void too_many_unfinished_calls_are_refused(Communicator& world) {
  const auto child = world.split(0, world.rank(), "child");
  if (world.size() == 1) return;
  if (world.rank() == 0) {
    std::vector<float> buffer(2000);
    std::vector<Work> works;
    const auto start = [&](std::size_t i) {
      works.push_back(child->all_reduce(view(buffer.data() + i, {1}), ReduceOp::kSum));
    };
    for (std::size_t i = 0; i < 1022; ++i) start(i);  // one number went to no operation of ours
    EXPECT_THROW(
        {
          for (std::size_t i = 1022; i < 1100; ++i) start(i);
        },
        Error);
    child->abort("enough");
    for (Work& work : works) failure_of(std::move(work));
  }
  world.barrier().wait();
}

constexpr Case kFailureCases[] = {
    {"AbortEndsTheWaitsOfAll", abort_ends_the_waits_of_all},
    {"AbortReachesThoseWhoComeLateAndSplits", abort_reaches_those_who_come_late_and_splits},
    {"AbortLeavesBrothersAlone", abort_leaves_brothers_alone},
    {"AnUnwindingRankWithdrawsItsOperations", an_unwinding_rank_withdraws_its_operations},
    {"SizesThatDifferAreReported", sizes_that_differ_are_reported},
    {"WrongArgumentsAreRefused", wrong_arguments_are_refused},
    {"TooManyUnfinishedCallsAreRefused", too_many_unfinished_calls_are_refused},
};

}  // namespace

std::span<const Case> failure_cases() { return kFailureCases; }

}  // namespace halo::comm
