#include "core/train/optimizer.h"

#include <algorithm>

#include "core/train/shared_gradients.h"

namespace halo::train {
namespace {

std::vector<parallel::FlatParameter> flat_parameters(const model::ParameterSet& parameters) {
  std::vector<parallel::FlatParameter> flat;
  for (const model::Parameter& p : parameters.all()) {
    const std::int64_t rows = p.weight.dim(0);
    flat.push_back({parameters.flat_offset(p), rows, rows == 0 ? 0 : p.weight.size() / rows});
  }
  return flat;
}

/// Of rows that a rank owns of a parameter, those that it counts: `rows` after the first `skipped`.
struct CountedRows {
  std::int64_t skipped = 0;
  std::int64_t rows = 0;
};
CountedRows counted_rows(const model::Parameter& p, const parallel::OwnedRows& owned) {
  const std::int64_t first = p.counted.offset[0] - p.region.offset[0];  // of the rank's rows
  const std::int64_t begin = std::max(owned.row_begin, first);
  const std::int64_t end = std::min(owned.row_end, first + p.counted.shape[0]);
  return {begin - owned.row_begin, std::max<std::int64_t>(end - begin, 0)};
}

}  // namespace

ShardedAdamW::ShardedAdamW(const model::ParameterSet& parameters, const parallel::DeviceMesh& mesh,
                           AdamWOptions options, Stream& stream)
    : parameters_(parameters),
      mesh_(mesh),
      ranks_(mesh.gradient_comm()),
      options_(options),
      stream_(stream),
      flat_(flat_parameters(parameters)) {
  HALO_REQUIRE(parameters.trained(), "an optimizer of parameters without gradients");
  const std::int64_t total = parameters.flat_weights().size();
  buckets_ = parallel::make_buckets(flat_, total, options_.bucket_elements, ranks_.size());
  for (const model::Parameter& p : parameters.all())
    progress_.push_back({model::layer_of(p), false});
  transfers_.resize(buckets_.size());
  for (std::size_t i = 0, b = 0; i < flat_.size(); ++i) {
    while (flat_[i].offset >= buckets_[b].end && b + 1 < buckets_.size()) ++b;
    transfers_[b].parameters.push_back(i);
  }
  std::int64_t owned = 0;
  for (const parallel::Bucket& bucket : buckets_) {
    owned_begin_.push_back(owned);
    const auto rank = static_cast<std::size_t>(ranks_.rank());
    owned += bucket.cuts[rank + 1] - bucket.cuts[rank];
  }
  const DType wide = wide_dtype(parameters.dtype());
  m_ = Tensor::zeros(stream, {owned}, wide);
  v_ = Tensor::zeros(stream, {owned}, wide);
  if (parameters.dtype() == wide) return;
  masters_ = Tensor(stream, {owned}, wide);
  for (std::size_t i = 0; i < buckets_.size(); ++i)
    kernels::cast(part(i).master, part(i).weight, stream);
}

ShardedAdamW::OwnedPart ShardedAdamW::part(std::size_t i) const {
  const auto rank = static_cast<std::size_t>(ranks_.rank());
  const std::int64_t begin = buckets_[i].cuts[rank], end = buckets_[i].cuts[rank + 1];
  const std::int64_t at = owned_begin_[i];
  const auto state = [&](const Tensor& t) { return t.view().slice(0, at, at + end - begin); };
  OwnedPart part;
  part.weight = parameters_.flat_weights().slice(0, begin, end);
  part.gradient = parameters_.flat_gradients().slice(0, begin, end);
  part.master = masters_.empty() ? part.weight : state(masters_);
  part.m = state(m_);
  part.v = state(v_);
  return part;
}

void ShardedAdamW::zero_gradients() {
  parameters_.clear_gradients();
  for (Progress& p : progress_) p.done = false;
  for (Transfer& t : transfers_) t.reducing = false;
}

void ShardedAdamW::layer_done(int layer) {
  std::vector<std::size_t> complete;
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    // The other end of the pipeline adds to tied embeddings when it does; they wait for reduce_gradients.
    const bool waits = progress_[i].done || parameters_.all()[i].at_both_ends;
    if (progress_[i].layer == layer && !waits) complete.push_back(i);
  }
  complete_gradients(complete);
  // From the last bucket on, so that ranks without a micro-batch, which sum all at the end, have the same order.
  for (std::size_t b = buckets_.size(); b-- > 0;) {
    Transfer& transfer = transfers_[b];
    if (transfer.reducing) {
      transfer.reduction.test();  // lets it go on
      continue;
    }
    if (!std::ranges::all_of(transfer.parameters, [&](std::size_t i) { return progress_[i].done; }))
      break;
    begin_reduction(b);
  }
}

/// By layers, not by buckets: those differ between ranks of the tensor axis where shares are uneven.
void ShardedAdamW::complete_gradients(const std::vector<std::size_t>& parameters) {
  std::vector<const model::Parameter*> all;
  for (const std::size_t i : parameters) {
    all.push_back(&parameters_.all()[i]);
    model::settle_gradient(*all.back(), stream_);
    progress_[i].done = true;
  }
  sum_shared_gradients(all, mesh_, stream_);
}

void ShardedAdamW::begin_reduction(std::size_t b) {
  const parallel::Bucket& bucket = buckets_[b];
  const TensorView gradients = parameters_.flat_gradients().slice(0, bucket.begin, bucket.end);
  transfers_[b].reduction =
      ranks_.reduce_scatter(part(b).gradient, gradients, bucket.counts(), comm::ReduceOp::kSum);
  transfers_[b].reducing = true;
}

void ShardedAdamW::reduce_gradients() {
  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i < progress_.size(); ++i)
    if (!progress_[i].done) rest.push_back(i);
  complete_gradients(rest);
  for (std::size_t b = buckets_.size(); b-- > 0;)
    if (!transfers_[b].reducing) begin_reduction(b);
  for (Transfer& transfer : transfers_) transfer.reduction.wait();
}

void ShardedAdamW::gather_gradients() {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const parallel::Bucket& bucket = buckets_[i];
    const TensorView all = parameters_.flat_gradients().slice(0, bucket.begin, bucket.end);
    ranks_.all_gather(all, part(i).gradient, bucket.counts()).wait();
  }
}

template <class Function>
void ShardedAdamW::for_each_counted(Function&& f) const {
  const bool all = std::ranges::all_of(
      parameters_.all(), [](const model::Parameter& p) { return p.counted == p.region; });
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const OwnedPart own = part(i);
    if (all) {
      f(own.gradient);
      continue;
    }
    const std::int64_t base = buckets_[i].cuts[static_cast<std::size_t>(ranks_.rank())];
    for (const parallel::OwnedRows& rows :
         parallel::owned_rows(flat_, {&buckets_[i], 1}, ranks_.rank())) {
      const CountedRows counted = counted_rows(parameters_.all()[rows.parameter], rows);
      const std::int64_t length = flat_[rows.parameter].row_length;
      const std::int64_t begin = rows.offset - base + counted.skipped * length;
      if (counted.rows > 0) f(own.gradient.slice(0, begin, begin + counted.rows * length));
    }
  }
}

void ShardedAdamW::add_sum_of_squares(TensorView sum) const {
  for_each_counted([&](const TensorView& g) { kernels::add_sum_of_squares(sum, g, stream_); });
}

std::int64_t ShardedAdamW::nonfinite_gradients() const {
  std::int64_t n = 0;
  for_each_counted([&](const TensorView& g) { n += kernels::count_nonfinite(g, stream_); });
  return n;
}

void ShardedAdamW::update(double lr, double grad_scale) {
  ++steps_;
  const kernels::AdamWStep step{
      lr, options_.beta1, options_.beta2, options_.eps, options_.weight_decay, steps_, grad_scale};
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    // A rank without a micro-batch has waited for no layer; what arrives late must not come over the new weights.
    transfers_[b].gathering.wait();
    update_part(b, step);
    begin_gathering(b);
  }
}

void ShardedAdamW::update_part(std::size_t bucket, const kernels::AdamWStep& step) {
  const OwnedPart all = part(bucket);
  const TensorView weight = masters_.empty() ? TensorView{} : all.weight;
  if (step.weight_decay == 0.0) {
    kernels::adamw(weight, all.master, all.m, all.v, all.gradient, step, stream_);
    return;
  }
  const auto rank = static_cast<std::size_t>(ranks_.rank());
  const std::int64_t base = buckets_[bucket].cuts[rank];
  for (const parallel::OwnedRows& rows :
       parallel::owned_rows(flat_, {&buckets_[bucket], 1}, ranks_.rank())) {
    kernels::AdamWStep own = step;
    if (parameters_.all()[rows.parameter].global_shape.rank() < 2) own.weight_decay = 0.0;
    const std::int64_t begin = rows.offset - base;
    const std::int64_t end =
        begin + (rows.row_end - rows.row_begin) * flat_[rows.parameter].row_length;
    const auto cut = [&](const TensorView& t) { return t.empty() ? t : t.slice(0, begin, end); };
    kernels::adamw(cut(weight), cut(all.master), cut(all.m), cut(all.v), cut(all.gradient), own,
                   stream_);
  }
}

void ShardedAdamW::publish_masters() {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    if (!masters_.empty()) kernels::cast(part(b).weight, part(b).master, stream_);
    begin_gathering(b);
  }
  wait_for_weights();
}

void ShardedAdamW::begin_gathering(std::size_t b) {
  const OwnedPart own = part(b);
  const parallel::Bucket& bucket = buckets_[b];
  const TensorView all = parameters_.flat_weights().slice(0, bucket.begin, bucket.end);
  transfers_[b].gathering = ranks_.all_gather(all, own.weight, bucket.counts());
}

void ShardedAdamW::wait_for_layer(int layer) {
  for (Transfer& transfer : transfers_) {
    const bool needed = std::ranges::any_of(
        transfer.parameters, [&](std::size_t i) { return progress_[i].layer == layer; });
    if (needed) transfer.gathering.wait();
  }
}

void ShardedAdamW::wait_for_weights() {
  for (Transfer& transfer : transfers_) transfer.gathering.wait();
}

std::vector<ShardedAdamW::OwnedState> ShardedAdamW::owned() const {
  std::vector<OwnedState> states;
  const auto rank = static_cast<std::size_t>(ranks_.rank());
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const OwnedPart all = part(i);
    for (const parallel::OwnedRows& rows :
         parallel::owned_rows(flat_, {&buckets_[i], 1}, ranks_.rank())) {
      const model::Parameter& p = parameters_.all()[rows.parameter];
      OwnedState state{&p, p.region, {}, {}, {}, {}};
      state.region.offset[0] += rows.row_begin;
      state.region.shape[0] = rows.row_end - rows.row_begin;
      const std::int64_t begin = rows.offset - buckets_[i].cuts[rank];
      const auto cut = [&](TensorView t) {
        return t.slice(0, begin, begin + state.region.shape.elements()).reshape(state.region.shape);
      };
      state.master = cut(all.master);
      state.m = cut(all.m);
      state.v = cut(all.v);
      state.gradient = cut(all.gradient);
      states.push_back(state);
    }
  }
  return states;
}

std::vector<ShardedAdamW::OwnedState> ShardedAdamW::counted() const {
  std::vector<OwnedState> states;
  for (OwnedState state : owned()) {
    const model::Parameter& p = *state.parameter;
    const std::int64_t first = state.region.offset[0] - p.region.offset[0];
    const CountedRows counted = counted_rows(p, {0, first, first + state.region.shape[0], 0});
    if (counted.rows == 0) continue;
    state.region.offset[0] += counted.skipped;
    state.region.shape[0] = counted.rows;
    for (TensorView* x : {&state.master, &state.m, &state.v, &state.gradient})
      *x = x->slice(0, counted.skipped, counted.skipped + counted.rows);
    states.push_back(state);
  }
  return states;
}

}  // namespace halo::train
