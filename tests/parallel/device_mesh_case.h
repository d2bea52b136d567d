#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "parallel/device_mesh.h"

namespace halo::parallel {

/// The ranks of `layout` whose coordinates agree with `place` but for the given axes, in rank order.
inline std::vector<std::int64_t> line(const Layout& layout, const PerAxis& place,
                                      std::initializer_list<Axis> free) {
  std::vector<std::int64_t> ranks;
  for (int r = 0; r < layout.ranks(); ++r) {
    const PerAxis other = coordinates(r, layout);
    bool same = true;
    for (const Axis axis : kAxes) {
      const bool varies = std::find(free.begin(), free.end(), axis) != free.end();
      same = same && (varies || other[axis] == place[axis]);
    }
    if (same) ranks.push_back(r);
  }
  return ranks;
}

inline std::vector<std::int64_t> world_ranks_of(comm::Communicator& comm, int world_rank) {
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(comm.size()));
  std::int64_t own = world_rank;
  const std::vector<std::int64_t> counts(ranks.size(), 1);
  comm.all_gather(view(ranks.data(), {comm.size()}), view(&own, {1}), counts).wait();
  return ranks;
}

/// Each communicator of the mesh joins the right ranks in the right order.
inline void check_mesh(comm::Communicator& world, const Layout& layout) {
  const DeviceMesh mesh(world, layout);
  const PerAxis place = coordinates(world.rank(), layout);
  EXPECT_EQ(&mesh.world(), &world);
  EXPECT_EQ(mesh.layout(), layout);
  for (const Axis axis : kAxes) {
    comm::Communicator& comm = mesh.comm(axis);
    EXPECT_EQ(mesh.coordinate(axis), place[axis]);
    EXPECT_EQ(comm.rank(), place[axis]);
    EXPECT_EQ(comm.size(), mesh.degree(axis));
    EXPECT_EQ(comm.name(), axis_name(axis));
    EXPECT_EQ(world_ranks_of(comm, world.rank()), line(layout, place, {axis}));
  }
  EXPECT_EQ(mesh.gradient_comm().name(), "gradient");
  EXPECT_EQ(world_ranks_of(mesh.gradient_comm(), world.rank()),
            line(layout, place, {Axis::kData, Axis::kContext}));
}

/// Every layout of `ranks` ranks.
inline std::vector<Layout> layouts_of(int ranks) {
  std::vector<Layout> result;
  for (int pipeline = 1; pipeline <= ranks; ++pipeline) {
    for (int context = 1; context <= ranks; ++context) {
      for (int tensor = 1; tensor <= ranks; ++tensor) {
        if (ranks % (pipeline * context * tensor) != 0) continue;
        result.push_back(
            fill_data({.pipeline = pipeline, .context = context, .tensor = tensor}, ranks));
      }
    }
  }
  return result;
}

}  // namespace halo::parallel
