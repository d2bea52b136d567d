#include "parallel/pipeline_links.h"

#include <gtest/gtest.h>

#include <latch>

#include "parallel/comm/local_communicator.h"

namespace halo::parallel {
namespace {

constexpr int kMessages = 40;
const Shape kShape{100000};  // too much to be sent before it is asked for

/// Bytes that the first of two stages holds at most while it sends to one that waits until so many messages have been sent.
std::size_t peak_of_sender(PipelineLinks::Pace pace, int awaited) {
  std::size_t peak = 0;
  std::latch sent(awaited);
  comm::run_ranks(2, [&](comm::Communicator& world) {
    Stream stream(1);
    PipelineLinks links(world);
    if (world.rank() == 0) {
      for (int i = 0; i < kMessages; ++i) {
        Tensor x = Tensor::zeros(stream, kShape, DType::kFloat64);
        x.view().as<double>()[0] = i;
        links.send(PipelineAction::Kind::kForward, std::move(x), pace);
        if (i < awaited) sent.count_down();
      }
      links.finish();
      peak = stream.allocator()->peak_bytes();
      return;
    }
    sent.wait();
    for (int i = 0; i < kMessages; ++i) {
      const Tensor x =
          links.receive(PipelineAction::Kind::kForward, kShape, DType::kFloat64, stream);
      EXPECT_EQ(x.view().as<double>()[0], i);
    }
  });
  return peak;
}

TEST(PipelineLinksTest, ASlowNeighbourDoesNotFillTheMemory) {
  const std::size_t one = 8 * static_cast<std::size_t>(kShape[0]);
  EXPECT_GE(peak_of_sender(PipelineLinks::Pace::kNeverWaits, kMessages), kMessages * one);
  EXPECT_LT(peak_of_sender(PipelineLinks::Pace::kOneAtATime, 1), 3 * one);
}

}  // namespace
}  // namespace halo::parallel
