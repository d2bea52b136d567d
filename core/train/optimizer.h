#pragma once
#include <memory>
#include <vector>

#include "core/model/parameters.h"
#include "kernels/optimizer.h"
#include "parallel/device_mesh.h"
#include "parallel/zero.h"

namespace halo::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.0;                             // on matrices only
  std::int64_t bucket_elements = std::int64_t{8} << 20;  // of one reduce_scatter, at least
};

/// AdamW with ZeRO-1: masters and moments of each parameter live on one of the ranks that hold the same part of it. In
/// float32 and float64 the masters are the weights themselves. What several ranks of the tensor axis or both ends of the
/// pipeline hold is updated alike on each, from the sum of their gradients.
class ShardedAdamW {
 public:
  /// Both must outlive the optimizer. Weights must be set before; masters start from them.
  ShardedAdamW(const model::ParameterSet& parameters, const parallel::DeviceMesh& mesh,
               AdamWOptions options, Stream& stream);

  void zero_gradients();
  /// Says that nothing more is added to a layer's gradients in this step (layers as LayerHooks counts them): buckets that
  /// are complete begin to be summed. Ranks of the tensor axis call it for the same layers in the same order.
  void layer_done(int layer);
  /// Sums what is left of the gradients over the ranks; each then holds the sums of what it owns. Collective.
  void reduce_gradients();
  /// Over what this rank owns and counts, after reduce_gradients: summed over all ranks they are the global ones.
  void add_sum_of_squares(TensorView sum) const;  // to `sum` (1) float64 on the device
  [[nodiscard]] std::int64_t nonfinite_gradients() const;
  /// Updates what is owned with grad_scale * gradient and begins to give every rank the new weights, which are there after
  /// wait_for_layer or wait_for_weights. Collective.
  void update(double lr, double grad_scale);
  void wait_for_layer(int layer);
  void wait_for_weights();
  /// Gives every rank the owners' masters as weights, after they were read from a checkpoint. Collective.
  void publish_masters();
  /// Gives every rank the whole reduced gradients of what it holds, for writing them to a file. Collective.
  void gather_gradients();

  /// AdamW's own count of updates.
  [[nodiscard]] std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

  /// What this rank owns of one tensor, with its state.
  struct OwnedState {
    const model::Parameter* parameter = nullptr;
    parallel::Region region;            // of the whole tensor
    TensorView master, m, v, gradient;  // of region.shape, wide
  };
  [[nodiscard]] std::vector<OwnedState> owned() const;
  /// The part of it that no other rank counts: over all ranks each element of each tensor once.
  [[nodiscard]] std::vector<OwnedState> counted() const;

 private:
  /// A parameter's part in the step that is under way.
  struct Progress {
    int layer = 0;
    bool done = false;
  };
  /// Of one bucket.
  struct Transfer {
    std::vector<std::size_t> parameters;
    bool reducing = false;
    comm::Work reduction, gathering;
  };
  void complete_gradients(const std::vector<std::size_t>& parameters);
  void begin_reduction(std::size_t bucket);
  void begin_gathering(std::size_t bucket);
  struct OwnedPart {  // this rank's share of one bucket: flat arrays of equal length
    TensorView master, weight, gradient, m, v;
  };
  [[nodiscard]] OwnedPart part(std::size_t bucket) const;
  void update_part(std::size_t bucket, const kernels::AdamWStep& step);
  /// f(gradient) for each dense run of gradients that is owned and counted.
  template <class Function>
  void for_each_counted(Function&& f) const;

  const model::ParameterSet& parameters_;
  const parallel::DeviceMesh& mesh_;
  comm::Communicator& ranks_;
  AdamWOptions options_;
  Stream& stream_;
  std::vector<parallel::FlatParameter> flat_;
  std::vector<parallel::Bucket> buckets_;
  std::vector<Progress> progress_;  // of each parameter
  std::vector<std::int64_t>
      owned_begin_;  // where a bucket's owned part starts in masters_, m_ and v_
  Tensor masters_;   // empty when the weights are the masters
  Tensor m_, v_;
  std::vector<Transfer> transfers_;  // of each bucket; waits for its calls before the memory goes
  std::int64_t steps_ = 0;
};

}  // namespace halo::train
