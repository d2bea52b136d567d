#pragma once
#include <array>
#include <deque>
#include <memory>

#include "core/base/tensor.h"
#include "parallel/comm/communicator.h"
#include "parallel/pipeline_schedule.h"

namespace halo::parallel {

/// Activations and gradients on their way between the stages of a pipeline. Each kind of pass has a communicator of its
/// own, so that messages of one never wait behind those of another.
class PipelineLinks {
 public:
  /// Collective over `pipeline`.
  explicit PipelineLinks(comm::Communicator& pipeline);

  [[nodiscard]] int stage() const { return stage_; }
  [[nodiscard]] int stages() const { return stages_; }

  /// Sending never waits, where a schedule bounds what is on its way; or it waits until the message before was taken, so
  /// that a stage whose neighbour is slow does not fill its memory.
  enum class Pace : std::uint8_t { kNeverWaits, kOneAtATime };
  /// To the stage that goes on with this kind of pass: the next one, or in backward passes the one before, around the ring.
  void send(PipelineAction::Kind kind, Tensor x, Pace pace = Pace::kNeverWaits);
  /// What that stage's neighbour has sent, in the order it was sent.
  [[nodiscard]] Tensor receive(PipelineAction::Kind kind, const Shape& shape, DType dtype,
                               Stream& stream);
  /// Waits until everything sent has been taken.
  void finish();

 private:
  struct Sent {
    Tensor x;
    comm::Work work;
  };
  struct Link {
    std::unique_ptr<comm::Communicator> ranks;
    std::deque<Sent> sent;  // with one stage: what waits to be received
  };
  [[nodiscard]] Link& link(PipelineAction::Kind kind) {
    return links_[static_cast<std::size_t>(kind)];
  }

  int stage_;
  int stages_;
  std::array<Link, 3> links_;
};

}  // namespace halo::parallel
