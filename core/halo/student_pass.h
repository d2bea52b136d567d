#pragma once
#include <map>
#include <vector>

#include "core/model/transformer.h"
#include "core/train/local_batch.h"

namespace halo::method {

/// The chunks of a model's layers that one rank holds, in their order.
using Chunks = std::vector<model::Transformer>;

/// A whole student's passes over the micro-batches of a step, several of which may be in flight: what distill and finetune
/// share. The loss between forward and backward is theirs.
class StudentPass {
 public:
  /// The student must outlive it.
  StudentPass(const Chunks& student, DType dtype, bool recompute, Stream& stream)
      : student_(student),
        recompute_(recompute),
        cutter_(student.front().axes(), stream),
        rope_(student.front().config(), dtype),
        stream_(stream) {}

  void set_hooks(const model::LayerHooks* hooks) { hooks_ = hooks; }
  [[nodiscard]] int chunks() const { return static_cast<int>(student_.size()); }
  [[nodiscard]] const model::Transformer& chunk(int i) const {
    return student_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] const model::ModelConfig& config() const { return student_.front().config(); }
  [[nodiscard]] const model::ModelAxes& axes() const { return student_.front().axes(); }
  /// What this rank sees of a micro-batch; hold and let_go as train::BatchCutter's.
  [[nodiscard]] const train::LocalBatch& cut(const data::MicroBatch& batch) {
    return cutter_(batch);
  }
  void hold(std::span<const data::MicroBatch> batches) { cutter_.hold(batches); }
  void let_go() { cutter_.let_go(); }
  /// Positions and document masks of what the rank holds. Valid as long as `batch`.
  [[nodiscard]] model::Sequence sequence_of(const train::LocalBatch& batch) {
    return cutter_.sequence(batch, rope_);
  }
  [[nodiscard]] Shape activation_shape(const data::MicroBatch& batch) const;
  /// Where a loss goes that is the same on every rank of the tensor axis: `sum` on the first, elsewhere a place that
  /// nobody reads.
  [[nodiscard]] TensorView counted_once(const TensorView& sum) {
    if (axes().tensor.rank() == 0) return sum;
    if (not_counted_.empty()) not_counted_ = Tensor::zeros(stream_, {1}, DType::kFloat64);
    return not_counted_;
  }

  /// x becomes the input of the next chunk, or after the last one the final hidden states (rows, D).
  void forward(const train::LocalBatch& batch, int index, int chunk, Tensor& x);
  /// d, the gradient of what forward gave, becomes that of its input. Consumes what forward kept of the micro-batch.
  void backward(const train::LocalBatch& batch, int index, int chunk, Tensor& d);
  /// forward without gradients.
  void infer(const train::LocalBatch& batch, int chunk, Tensor& x);

 private:
  const Chunks& student_;
  bool recompute_;
  train::BatchCutter cutter_;
  model::RopeTables rope_;
  Stream& stream_;
  const model::LayerHooks* hooks_ = nullptr;
  Tensor not_counted_;
  std::map<std::pair<int, int>, model::Transformer::Saved> in_flight_;  // by micro-batch and chunk
};

}  // namespace halo::method
