#include "parallel/device_mesh.h"

#include <gtest/gtest.h>

#include "parallel/comm/local_communicator.h"
#include "tests/parallel/device_mesh_case.h"

namespace halo::parallel {
namespace {

TEST(DeviceMeshTest, JoinsTheRightRanksInEveryLayout) {
  for (const int ranks : {1, 2, 6, 8}) {
    for (const Layout& layout : layouts_of(ranks)) {
      comm::run_ranks(ranks, [&](comm::Communicator& world) { check_mesh(world, layout); });
    }
  }
}

TEST(DeviceMeshTest, TensorIsInnermostAndPipelineOutermost) {
  constexpr Layout layout{.pipeline = 2, .data = 3, .context = 2, .tensor = 4};
  EXPECT_EQ(coordinates(0, layout), (PerAxis{0, 0, 0, 0}));
  EXPECT_EQ(coordinates(1, layout), (PerAxis{0, 0, 0, 1}));
  EXPECT_EQ(coordinates(4, layout), (PerAxis{0, 0, 1, 0}));
  EXPECT_EQ(coordinates(8, layout), (PerAxis{0, 1, 0, 0}));
  EXPECT_EQ(coordinates(24, layout), (PerAxis{1, 0, 0, 0}));
  EXPECT_EQ(coordinates(47, layout), (PerAxis{1, 2, 1, 3}));
  EXPECT_THROW(static_cast<void>(coordinates(48, layout)), Error);
  EXPECT_THROW(static_cast<void>(coordinates(-1, layout)), Error);
}

TEST(DeviceMeshTest, RefusesALayoutOfOtherRanks) {
  for (const Layout& wrong : {Layout{.data = 3}, Layout{.data = 2}, Layout{.tensor = 0}}) {
    const auto build = [&](comm::Communicator& world) { DeviceMesh(world, wrong); };
    EXPECT_THROW(comm::run_ranks(4, build), Error);
  }
}

TEST(FillDataTest, TakesWhatTheOtherAxesLeave) {
  EXPECT_EQ(fill_data({}, 6), (Layout{.data = 6}));
  EXPECT_EQ(fill_data({.data = 99}, 6), (Layout{.data = 6}));
  EXPECT_EQ(fill_data({.pipeline = 2, .context = 3, .tensor = 2}, 24),
            (Layout{.pipeline = 2, .data = 2, .context = 3, .tensor = 2}));
}

std::string refusal(const Layout& partial, int ranks) {
  try {
    static_cast<void>(fill_data(partial, ranks));
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(FillDataTest, NamesTheChoices) {
  EXPECT_EQ(refusal({.context = 4}, 6),
            "6 ranks do not divide by pipeline 1 x context 4 x tensor 1: choose 4 or 8 ranks, or "
            "axes whose product is 1, 2, 3 or 6");
  EXPECT_EQ(refusal({.context = 2, .tensor = 2}, 3),
            "3 ranks do not divide by pipeline 1 x context 2 x tensor 2: choose 4 ranks, or axes "
            "whose product is 1 or 3");
  EXPECT_EQ(refusal({.tensor = 0}, 4), "layout: tensor is 0: choose 1 or more");
  EXPECT_EQ(refusal({.pipeline = -2}, 4), "layout: pipeline is -2: choose 1 or more");
  EXPECT_EQ(refusal({.pipeline = 5}, 4),
            "layout: pipeline is 5, but there are only 4 ranks: start on a multiple of 5, or "
            "choose up to 4");
  EXPECT_EQ(
      refusal({.tensor = 2}, 1),
      "layout: tensor is 2, but there is only 1 rank: start on a multiple of 2, or choose up to 1");
  // Whose product no 64-bit number holds.
  EXPECT_NE(refusal({.pipeline = 3000000, .context = 3000000, .tensor = 3000000}, 3000000)
                .find("3000000 ranks do not divide"),
            std::string::npos);
  EXPECT_EQ(refusal({}, 0), "a layout of 0 ranks");
}

}  // namespace
}  // namespace halo::parallel
