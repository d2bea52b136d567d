#include "launch/jobs/collect_gradients.h"

#include <map>

namespace halo::launch {
namespace {

/// Elements `region` of a tensor of which `x` holds elements `held`.
TensorView part_of(TensorView x, const parallel::Region& held, const parallel::Region& region) {
  for (int axis = 0; axis < x.rank(); ++axis) {
    const std::int64_t begin = region.offset[axis] - held.offset[axis];
    x = x.slice(axis, begin, begin + region.shape[axis]);
  }
  return x;
}

class Collector {
 public:
  explicit Collector(const JobContext& context, const PreparedStage& prepared)
      : context_(context), parameters_(*prepared.parameters) {}

  void take(int holder, const model::ParameterSpec& spec, const model::ParameterPlace& place) {
    const parallel::Region region = model::counted_region(spec, place);
    const bool own = context_.world().rank() == holder;
    if (region.shape.elements() == 0 || (!own && !context_.is_first_rank())) return;
    const DType wide = wide_dtype(parameters_.dtype());
    Tensor piece(context_.stream, region.shape, wide);
    if (own) {
      const model::Parameter& p = parameters_.at(spec.name);
      copy(piece, part_of(p.grad, p.region, region), context_.stream);
    }
    if (holder != 0) {
      const comm::Message message{own ? 0 : holder, piece};
      if (own)
        context_.world().exchange({&message, 1}, {}).wait();
      else
        context_.world().exchange({}, {&message, 1}).wait();
    }
    if (!context_.is_first_rank()) return;
    auto at = index_.find(spec.name);
    if (at == index_.end()) {
      at = index_.emplace(spec.name, whole_.size()).first;
      whole_.push_back({spec.name, Tensor::zeros(context_.stream, spec.shape, wide)});
    }
    copy(part_of(whole_[at->second].tensor, parallel::whole(spec.shape), region), piece,
         context_.stream);
  }

  [[nodiscard]] std::vector<WholeTensor> result() { return std::move(whole_); }

 private:
  const JobContext& context_;
  const model::ParameterSet& parameters_;
  std::map<std::string, std::size_t> index_;
  std::vector<WholeTensor> whole_;
};

}  // namespace

std::vector<WholeTensor> collect_gradients(const JobContext& context,
                                           const PreparedStage& prepared) {
  Collector collector(context, prepared);
  prepared.parts->for_each_holder(
      prepared.config,
      [&](const std::vector<model::LayerRange>& ranges) {
        return trained_specs(context, prepared.config, ranges);
      },
      [&](int rank, const std::vector<model::ParameterSpec>& specs,
          const model::ParameterPlace& place) {
        for (const model::ParameterSpec& spec : specs) collector.take(rank, spec, place);
      });
  return collector.result();
}

}  // namespace halo::launch
