#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "core/halo/student_pass.h"
#include "core/model/layer_split.h"
#include "core/model/weight_source.h"
#include "launch/config.h"
#include "parallel/device_mesh.h"

namespace halo::launch {

/// Throws InputError that names the job when its layout has more parts than `model` has layers or heads.
void require_layout(const proto::Job& job, const model::ModelConfig& model);

/// What of a job's models the ranks of its layout hold: the layers of each pipeline stage, the parts along the tensor axis.
/// Teacher and student are cut alike.
class ModelParts {
 public:
  /// Specs of some layer ranges of one model.
  using Specs =
      std::function<std::vector<model::ParameterSpec>(const std::vector<model::LayerRange>&)>;

  /// The mesh must outlive it. `tied`: the trained model's embedding is its head too. Throws what
  /// require_layout does.
  ModelParts(const parallel::DeviceMesh& mesh, const proto::Job& job,
             const model::ModelConfig& student, const model::LayerCosts& costs);

  [[nodiscard]] const model::ModelAxes& axes() const { return axes_; }
  /// Of this rank.
  [[nodiscard]] const std::vector<model::LayerRange>& ranges() const { return ranges_; }
  [[nodiscard]] model::ParameterPlace place(const model::ModelConfig& config) const {
    return place_of(config, mesh_.coordinate(parallel::Axis::kPipeline),
                    mesh_.coordinate(parallel::Axis::kTensor));
  }
  [[nodiscard]] method::Chunks chunks(const model::ModelConfig& config,
                                      const model::ParameterSet& parameters) const;

  /// body(rank of the world, its specs, its place) for each rank that counts parameters, those of data and context rank 0.
  void for_each_holder(const model::ModelConfig& config, const Specs& specs,
                       const std::function<void(int, const std::vector<model::ParameterSpec>&,
                                                const model::ParameterPlace&)>& body) const;

 private:
  [[nodiscard]] model::ParameterPlace place_of(const model::ModelConfig& config, int stage,
                                               int tensor_rank) const;

  const parallel::DeviceMesh& mesh_;
  model::ModelAxes axes_;
  std::vector<model::LayerRange> all_ranges_, ranges_;
};

/// What layers cost in a training step: the teacher's forward pass, and three times the student's where one is trained.
[[nodiscard]] model::LayerCosts layer_costs(const model::ModelConfig* teacher,
                                            const model::ModelConfig& student, bool align,
                                            std::int64_t T);

}  // namespace halo::launch
