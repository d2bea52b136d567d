#pragma once
#include <map>

#include "core/model/transformer.h"
#include "data/batch_views.h"

namespace halo::method {

/// A whole student's passes over the micro-batches of a step, several of which may be in flight: what distill and finetune
/// share. The loss between forward and backward is theirs.
class StudentPass {
 public:
  /// The student must outlive it.
  StudentPass(const model::Transformer& student, DType dtype, bool recompute, Stream& stream)
      : student_(student), recompute_(recompute), rope_(student.config(), dtype), stream_(stream) {}

  [[nodiscard]] const model::Transformer& student() const { return student_; }
  /// Positions from 0, and the batch's document masks.
  [[nodiscard]] model::Sequence sequence_of(const data::MicroBatch& batch);

  /// The final hidden states (N, D), and where the loss writes their gradient.
  struct Forward {
    Tensor h;
    TensorView d;
  };
  [[nodiscard]] Forward forward(const data::MicroBatch& batch);
  /// Consumes what forward kept of the micro-batch.
  void backward(const data::MicroBatch& batch);
  /// The final hidden states alone.
  [[nodiscard]] Tensor hidden(const data::MicroBatch& batch);

 private:
  struct InFlight {
    Tensor d;
    model::Transformer::Saved saved;
  };
  const model::Transformer& student_;
  bool recompute_;
  model::RopeTables rope_;
  Stream& stream_;
  std::map<int, InFlight> in_flight_;  // by micro-batch
};

}  // namespace halo::method
