#include <gtest/gtest.h>

#include "tests/comm/mpi_main.h"
#include "tests/parallel/device_mesh_case.h"

namespace halo::parallel {
namespace {

TEST(DeviceMeshMpiTest, JoinsTheRightRanksInEveryLayout) {
  const auto world = comm::test_session().world({.deadline = std::chrono::milliseconds(60000)});
  for (const Layout& layout : layouts_of(world->size())) check_mesh(*world, layout);
}

}  // namespace
}  // namespace halo::parallel
