#include "launch/jobs/model_parts.h"

#include "core/model/flops.h"

namespace halo::launch {
namespace {

using parallel::Axis;

constexpr std::int64_t kGatherUpTo = 128 << 10;  // tokens of a sequence
constexpr int kRingUpTo = 4;                     // ranks

parallel::ContextAttentionMethod attention_method(const proto::Job& job) {
  using Method = parallel::ContextAttentionMethod;
  switch (job.layout().context_attention()) {
    case proto::ContextAttention::RING:
      return Method::kRing;
    case proto::ContextAttention::ALL_GATHER:
      return Method::kAllGather;
    case proto::ContextAttention::AUTO:
      break;
  }
  return job.train().data().sequence_length() <= kGatherUpTo ? Method::kAllGather : Method::kRing;
}

parallel::ContextStateMethod state_method(const proto::Job& job) {
  using Method = parallel::ContextStateMethod;
  switch (job.layout().context_state()) {
    case proto::ContextState::RING:
      return Method::kRing;
    case proto::ContextState::SCAN:
      return Method::kScan;
    case proto::ContextState::AUTO:
      break;
  }
  return job.layout().context() <= kRingUpTo ? Method::kRing : Method::kScan;
}

}  // namespace

void require_layout(const proto::Job& job, const model::ModelConfig& model) {
  const proto::Layout& layout = job.layout();
  const std::int64_t parts = std::int64_t{layout.pipeline()} * layout.chunks();
  const int layers = model.num_hidden_layers;
  HALO_REQUIRE_INPUT(
      parts <= layers,
      str("job ", job.name(), ": layout.pipeline ", layout.pipeline(), " x layout.chunks ",
          layout.chunks(), " is ", parts, ": the model has ", layers,
          layers == 1 ? " layer" : " layers", "; choose a product of up to ", layers));
  int heads = model.num_attention_heads;
  if (model.is_hypenet()) heads = std::min(heads, model.lightning_nh);
  HALO_REQUIRE_INPUT(
      layout.tensor() <= heads,
      str("job ", job.name(), ": layout.tensor is ", layout.tensor(), ": the model has ", heads,
          heads == 1 ? " head" : " heads", "; choose up to ", heads));
}

ModelParts::ModelParts(const parallel::DeviceMesh& mesh, const proto::Job& job,
                       const model::ModelConfig& student, const model::LayerCosts& costs)
    : mesh_(mesh),
      axes_{parallel::TensorAxis(mesh.comm(Axis::kTensor)), &mesh.comm(Axis::kContext),
            attention_method(job), state_method(job)} {
  require_layout(job, student);
  const int stages = mesh.degree(Axis::kPipeline);
  all_ranges_ = model::split_layers(costs, stages * job.layout().chunks());
  ranges_ = model::ranges_of_stage(all_ranges_, mesh.coordinate(Axis::kPipeline), stages);
}

model::ParameterPlace ModelParts::place_of(const model::ModelConfig& config, int stage,
                                           int tensor_rank) const {
  model::ParameterPlace place;
  place.tensor_rank = tensor_rank;
  place.tensor_ranks = mesh_.degree(Axis::kTensor);
  place.is_first_stage = stage == 0;
  place.embedding_at_both_ends = config.tie_word_embeddings && mesh_.degree(Axis::kPipeline) > 1;
  return place;
}

method::Chunks ModelParts::chunks(const model::ModelConfig& config,
                                  const model::ParameterSet& parameters) const {
  method::Chunks chunks;
  chunks.reserve(ranges_.size());
  for (const model::LayerRange& range : ranges_)
    chunks.emplace_back(config, range, parameters.lookup(), axes_);
  return chunks;
}

void ModelParts::for_each_holder(
    const model::ModelConfig& config, const Specs& specs,
    const std::function<void(int, const std::vector<model::ParameterSpec>&,
                             const model::ParameterPlace&)>& body) const {
  const int stages = mesh_.degree(Axis::kPipeline), tensor = mesh_.degree(Axis::kTensor);
  const int ranks_a_stage = mesh_.world().size() / stages;
  for (int stage = 0; stage < stages; ++stage) {
    const auto own = specs(model::ranges_of_stage(all_ranges_, stage, stages));
    for (int t = 0; t < tensor; ++t)
      body(stage * ranks_a_stage + t, own, place_of(config, stage, t));
  }
}

model::LayerCosts layer_costs(const model::ModelConfig* teacher, const model::ModelConfig& student,
                              bool align, std::int64_t T) {
  constexpr double kForwardAndBackward = 3;
  const auto layer = [T](const model::ModelConfig& c, int i, bool mlp) {
    return 2 * (model::mixer_matrix_elements(c, i) + (mlp ? model::mlp_matrix_elements(c) : 0)) +
           model::mixing_flops(c, i, T);
  };
  model::LayerCosts costs;
  for (int i = 0; i < student.num_hidden_layers; ++i) {
    double cost = kForwardAndBackward * layer(student, i, !align);
    if (teacher != nullptr) cost += layer(*teacher, i, true);
    costs.layers.push_back(cost);
  }
  if (align) return costs;
  costs.head = kForwardAndBackward * 2 * model::head_matrix_elements(student);
  if (teacher != nullptr) costs.head += 2 * model::head_matrix_elements(*teacher);
  return costs;
}

}  // namespace halo::launch
