#pragma once
#include <array>
#include <cstdint>
#include <memory>

#include "parallel/comm/communicator.h"
#include "parallel/comm/meta_communicator.h"

namespace halo::parallel {

enum class Axis : std::uint8_t { kPipeline, kData, kContext, kTensor };
inline constexpr std::array kAxes{Axis::kPipeline, Axis::kData, Axis::kContext, Axis::kTensor};
[[nodiscard]] const char* axis_name(Axis axis);  // "pipeline", ...

/// One whole number an axis: how many ranks it has (Layout) or where on it a rank stands (coordinates).
struct PerAxis {
  int pipeline;
  int data;
  int context;
  int tensor;
  [[nodiscard]] int operator[](Axis axis) const;
  [[nodiscard]] bool operator==(const PerAxis&) const = default;
};

/// Ranks an axis. Ranks are numbered with tensor innermost, then context, data and pipeline: neighbouring ranks, which
/// share a host, are those that talk most.
struct Layout {
  int pipeline = 1;
  int data = 1;
  int context = 1;
  int tensor = 1;
  [[nodiscard]] PerAxis degrees() const { return {pipeline, data, context, tensor}; }
  [[nodiscard]] int ranks() const { return pipeline * data * context * tensor; }
  [[nodiscard]] bool operator==(const Layout&) const = default;
};

/// `partial` with data parallelism over what the other axes leave of `ranks`. Throws InputError when they do not divide
/// it or one is below 1, naming the choices.
[[nodiscard]] Layout fill_data(Layout partial, int ranks);

/// Where a rank stands on each axis. Throws Error for a rank that the layout has not.
[[nodiscard]] PerAxis coordinates(int rank, const Layout& layout);

/// The ranks of a job as a grid, with a communicator along each axis. An axis of degree 1 has one of size 1, so that
/// nobody asks whether something is parallel.
class DeviceMesh {
 public:
  /// Collective over `world`, which the caller keeps alive. Throws Error unless the layout has exactly its ranks.
  DeviceMesh(comm::Communicator& world, const Layout& layout);
  /// The same as one rank of a world that is only thought of sees it.
  DeviceMesh(comm::MetaCommunicator& world, const Layout& layout);

  [[nodiscard]] comm::Communicator& world() const { return *world_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  /// The ranks that differ from this one on `axis` alone, in its order.
  [[nodiscard]] comm::Communicator& comm(Axis axis) const {
    return *axes_[static_cast<std::size_t>(axis)];
  }
  /// The ranks that hold the same parameters: data and context together, data-major. Gradients are summed over them and
  /// ZeRO's shards lie on them.
  [[nodiscard]] comm::Communicator& gradient_comm() const { return *gradient_; }
  /// The first and the last stage of this rank's pipeline, which both hold tied embeddings; of one rank alone on every
  /// other stage.
  [[nodiscard]] comm::Communicator& ends_comm() const { return *ends_; }
  [[nodiscard]] int coordinate(Axis axis) const { return coordinates_[axis]; }
  [[nodiscard]] int degree(Axis axis) const { return layout_.degrees()[axis]; }

 private:
  comm::Communicator* world_;
  Layout layout_;
  PerAxis coordinates_;
  std::array<std::unique_ptr<comm::Communicator>, kAxes.size()> axes_;
  std::unique_ptr<comm::Communicator> gradient_;
  std::unique_ptr<comm::Communicator> ends_;
};

}  // namespace halo::parallel
