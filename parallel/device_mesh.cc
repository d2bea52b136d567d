#include "parallel/device_mesh.h"

#include <string>

#include "parallel/comm/local_communicator.h"

namespace halo::parallel {
namespace {

/// The rank at the given place.
int rank_at(const PerAxis& place, const Layout& layout) {
  return ((place.pipeline * layout.data + place.data) * layout.context + place.context) *
             layout.tensor +
         place.tensor;
}

std::unique_ptr<comm::Communicator> split(comm::Communicator& world, int degree, int color, int key,
                                          const char* name) {
  return degree == 1 ? world.alone(name) : world.split(color, key, name);
}

/// "1, 2, 3 or 6": numbers by which n divides.
std::string divisors(int n) {
  std::string text = "1";
  for (std::int64_t d = 2; d <= n; ++d) {
    if (n % d == 0) text += str(d == n ? " or " : ", ", d);
  }
  return text;
}

/// Throws InputError for an axis below 1 or that alone needs more ranks than there are.
void require_degree(Axis axis, int degree, int ranks) {
  HALO_REQUIRE_INPUT(degree >= 1,
                     str("layout: ", axis_name(axis), " is ", degree, ": choose 1 or more"));
  HALO_REQUIRE_INPUT(
      degree <= ranks,
      str("layout: ", axis_name(axis), " is ", degree, ", but there ",
          ranks == 1 ? std::string("is only 1 rank") : str("are only ", ranks, " ranks"),
          ": start on a multiple of ", degree, ", or choose up to ", ranks));
}

}  // namespace

const char* axis_name(Axis axis) {
  constexpr std::array kNames{"pipeline", "data", "context", "tensor"};
  return kNames[static_cast<std::size_t>(axis)];
}

int PerAxis::operator[](Axis axis) const {
  return std::array{pipeline, data, context, tensor}[static_cast<std::size_t>(axis)];
}

Layout fill_data(Layout partial, int ranks) {
  HALO_REQUIRE_INPUT(ranks >= 1, str("a layout of ", ranks, " ranks"));
  std::int64_t others = 1;  // may pass `ranks`, but not by so much that it overflows
  for (const Axis axis : kAxes) {
    if (axis == Axis::kData) continue;
    require_degree(axis, partial.degrees()[axis], ranks);
    if (others <= ranks) others *= partial.degrees()[axis];
  }
  if (ranks % others != 0) {
    const std::int64_t fewer = ranks / others * others;
    const std::int64_t more = fewer + others;
    throw InputError(str(ranks, " ranks do not divide by pipeline ", partial.pipeline,
                         " x context ", partial.context, " x tensor ", partial.tensor, ": choose ",
                         fewer > 0 ? str(fewer, " or ") : std::string(), more,
                         " ranks, or axes whose product is ", divisors(ranks)));
  }
  partial.data = static_cast<int>(ranks / others);
  return partial;
}

PerAxis coordinates(int rank, const Layout& layout) {
  HALO_REQUIRE(0 <= rank && rank < layout.ranks(),
               str("rank ", rank, " of a layout of ", layout.ranks()));
  PerAxis place{};
  place.tensor = rank % layout.tensor;
  rank /= layout.tensor;
  place.context = rank % layout.context;
  rank /= layout.context;
  place.data = rank % layout.data;
  place.pipeline = rank / layout.data;
  return place;
}

DeviceMesh::DeviceMesh(comm::Communicator& world, const Layout& layout)
    : world_(&world), layout_(layout) {
  HALO_REQUIRE(fill_data(layout, world.size()) == layout,
               str("a layout of ", layout.ranks(), " ranks on ", world.size()));
  coordinates_ = coordinates(world.rank(), layout);
  for (const Axis axis : kAxes) {
    PerAxis first = coordinates_;  // the line's first rank names it
    (axis == Axis::kPipeline  ? first.pipeline
     : axis == Axis::kData    ? first.data
     : axis == Axis::kContext ? first.context
                              : first.tensor) = 0;
    axes_[static_cast<std::size_t>(axis)] =
        split(world, degree(axis), rank_at(first, layout), coordinate(axis), axis_name(axis));
  }
  PerAxis first = coordinates_;
  first.data = first.context = 0;
  gradient_ =
      split(world, layout.data * layout.context, rank_at(first, layout), world.rank(), "gradient");
  if (layout.pipeline == 1) {
    ends_ = world.alone("ends");
    return;
  }
  first = coordinates_;
  first.pipeline = 0;
  const bool is_end = coordinates_.pipeline == 0 || coordinates_.pipeline == layout.pipeline - 1;
  const int alone = layout.ranks() + world.rank();  // a color of its own
  ends_ = world.split(is_end ? rank_at(first, layout) : alone, world.rank(), "ends");
}

DeviceMesh::DeviceMesh(comm::MetaCommunicator& world, const Layout& layout)
    : world_(&world), layout_(layout), coordinates_(coordinates(world.rank(), layout)) {
  for (const Axis axis : kAxes) {
    axes_[static_cast<std::size_t>(axis)] =
        world.part(axis_name(axis), coordinate(axis), degree(axis));
  }
  gradient_ = world.part("gradient", coordinates_.data * layout.context + coordinates_.context,
                         layout.data * layout.context);
  const bool is_end = coordinates_.pipeline == 0 || coordinates_.pipeline == layout.pipeline - 1;
  const bool alone = layout.pipeline == 1 || !is_end;
  ends_ = world.part("ends", alone || coordinates_.pipeline == 0 ? 0 : 1, alone ? 1 : 2);
}

}  // namespace halo::parallel
