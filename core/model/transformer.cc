#include "core/model/transformer.h"

#include <algorithm>
#include <utility>

#include "core/base/host_access.h"
#include "kernels/embedding.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

namespace halo::model {
namespace {

void before_forward(const LayerHooks* hooks, int layer) {
  if (hooks != nullptr && hooks->before_forward) hooks->before_forward(layer);
}
void after_backward(const LayerHooks* hooks, int layer) {
  if (hooks != nullptr && hooks->after_backward) hooks->after_backward(layer);
}

}  // namespace

Transformer::Transformer(ModelConfig config, LayerRange layers, const ParameterLookup& parameters,
                         const ModelAxes& axes)
    : config_(std::move(config)), held_(layers), axes_(&axes) {
  if (is_first()) embedding_ = &parameters(kEmbedding);
  for (int layer = held_.begin; layer < held_.end; ++layer)
    blocks_.emplace_back(config_, layer, parameters, axes);
  if (!is_last()) return;
  final_norm_ = &parameters("model.norm.weight");
  head_.emplace(parameters(config_.tie_word_embeddings ? kEmbedding : kHead), axes);
}

Transformer::Transformer(ModelConfig config, const ParameterLookup& parameters)
    : Transformer(config, all_layers(config), parameters, single_rank()) {}

/// Before final norm and head, which may be the embedding.
void Transformer::before_last(const LayerHooks* hooks) const {
  before_forward(hooks, kAfterLayers);
  if (config_.tie_word_embeddings) before_forward(hooks, kEmbeddingLayer);
}

Tensor Transformer::activations(const Sequence& sequence, Stream& stream) const {
  const std::int64_t ranks = axes_->tensor.size();
  HALO_REQUIRE(sequence.T % ranks == 0,
               str(sequence.T, " tokens on ", ranks, " ranks of the tensor axis"));
  const Parameter& any = embedding_ != nullptr ? *embedding_ : blocks_.front().input_norm();
  return {stream, {sequence.rows() / ranks, config_.hidden_size}, any.weight.dtype};
}

void Transformer::embed(TensorView x, TensorView ids, Stream& stream) const {
  const kernels::VocabularyPart part{embedding_->region.offset[0], embedding_->global_shape[0]};
  const OnDevice here(ids, stream);
  axes_->tensor.reduce_scatter(
      x,
      [&](const TensorView& out) {
        kernels::embedding(out, here, embedding_->weight, part, stream);
      },
      stream);
}

void Transformer::final_norm(TensorView h, TensorView inv_rms, TensorView x, Stream& stream) const {
  kernels::rms_norm(h, inv_rms, x, final_norm_->weight, config_.rms_norm_eps, stream);
}

Tensor Transformer::hidden_from(int first, TensorView x, const Sequence& sequence, Stream& stream,
                                std::vector<MixerCache>* caches) const {
  for (int layer = first; layer < layers(); ++layer) {
    MixerCache* cache = caches == nullptr ? nullptr : &(*caches)[static_cast<std::size_t>(layer)];
    block(layer).infer(x, sequence, cache, stream);
  }
  Tensor h(stream, x.shape, x.dtype);
  Tensor inv_rms(stream, {x.dim(0)}, wide_dtype(x.dtype));
  final_norm(h, inv_rms, x, stream);
  return h;
}

Tensor Transformer::hidden(TensorView ids, const Sequence& sequence, Stream& stream,
                           std::vector<MixerCache>* caches) const {
  const Tensor x = activations(sequence, stream);
  embed(x, ids, stream);
  return hidden_from(0, x, sequence, stream, caches);
}

Tensor Transformer::infer(TensorView ids, Tensor x, const Sequence& sequence, Stream& stream,
                          const LayerHooks* hooks) const {
  if (is_first()) {
    before_forward(hooks, kEmbeddingLayer);
    x = activations(sequence, stream);
    embed(x, ids, stream);
  }
  for (int layer = held_.begin; layer < held_.end; ++layer) {
    before_forward(hooks, layer);
    block(layer).infer(x, sequence, nullptr, stream);
  }
  if (!is_last()) return x;
  before_last(hooks);
  const Tensor inv_rms(stream, {x.view().dim(0)}, wide_dtype(x.view().dtype));
  Tensor h = activations(sequence, stream);
  final_norm(h, inv_rms, x, stream);
  return h;
}

/// How many layers may keep all that their backward passes read, where a GPU has room for it; the others keep their
/// products alone, from which the rest is made again by passes over memory. Either way the numbers are the same.
std::size_t Transformer::layers_kept_whole(const Sequence& sequence, Stream& stream) const {
  if (stream.device() != Device::kCuda) return blocks_.size();
  const ModelConfig& c = config_;
  struct Row {  // elements a token and layer
    std::int64_t whole, products;
  };
  const std::int64_t both = 2 * c.hidden_size + 2 * c.intermediate_size;
  const auto row = [&](std::int64_t heads, std::int64_t keys, std::int64_t K) {
    return Row{both + 2 * c.hidden_size + (4 * heads + 3 * keys) * K,
               both + (3 * heads + 2 * keys) * K};
  };
  const Row lightning = row(c.lightning_nh, c.lightning_nkv, c.lightning_head_dim);
  const Row attention = row(c.num_attention_heads, c.num_key_value_heads, c.head_dim);
  const Row most = lightning.whole > attention.whole ? lightning : attention;
  const auto bytes = [&](std::int64_t elements) {
    const auto rows = static_cast<double>(sequence.rows()) / axes_->tensor.size();
    return rows * static_cast<double>(elements) *
           static_cast<double>(dtype_size(blocks_.front().input_norm().weight.dtype));
  };
  constexpr double kRest = 2.1 * (1 << 30);  // the head's logits and workspaces
  const double room = static_cast<double>(stream.allocator()->available_bytes()) - kRest -
                      bytes(most.whole) -
                      bytes(most.products) * static_cast<double>(blocks_.size());
  return static_cast<std::size_t>(std::clamp(room / bytes(most.whole - most.products), 0.0,
                                             static_cast<double>(blocks_.size())));
}

Tensor Transformer::forward(TensorView ids, Tensor x, const Sequence& sequence, bool recompute,
                            Saved& saved, Stream& stream, const LayerHooks* hooks) const {
  if (is_first()) {
    before_forward(hooks, kEmbeddingLayer);
    saved.ids = Tensor::copy_of(stream, ids);
    x = activations(sequence, stream);
    embed(x, ids, stream);
  }
  saved.blocks.resize(blocks_.size());
  const std::size_t kept_whole = recompute ? 0 : layers_kept_whole(sequence, stream);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    before_forward(hooks, held_.begin + static_cast<int>(i));
    saved.blocks[i].recompute = recompute;
    saved.blocks[i].products_alone = !recompute && i >= kept_whole;
    blocks_[i].forward(x, sequence, saved.blocks[i], stream);
  }
  if (!is_last()) return x;
  before_last(hooks);
  Tensor h = activations(sequence, stream);
  saved.x = std::move(x);
  saved.inv_rms = Tensor(stream, {h.view().dim(0)}, wide_dtype(h.view().dtype));
  final_norm(h, saved.inv_rms, saved.x, stream);
  return h;
}

void Transformer::backward(TensorView d, const Sequence& sequence, Saved& saved, Stream& stream,
                           const LayerHooks* hooks) const {
  if (is_last()) {
    kernels::rms_norm_backward(d, settled_gradient(*final_norm_, stream), d, saved.x,
                               final_norm_->weight, saved.inv_rms,
                               /*accumulate=*/false, stream);
    saved.x.reset();
    after_backward(hooks, kAfterLayers);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    blocks_[i].backward(d, sequence, saved.blocks[i], stream);
    after_backward(hooks, held_.begin + static_cast<int>(i));
  }
  if (is_first() && !embedding_->grad.empty()) {
    const parallel::Gathered d_all = axes_->tensor.gather(d, stream);
    const kernels::VocabularyPart part{embedding_->region.offset[0], embedding_->global_shape[0]};
    kernels::embedding_backward(settled_gradient(*embedding_, stream), saved.ids, d_all, part,
                                stream);
    after_backward(hooks, kEmbeddingLayer);
  }
  saved = Saved();
}

void RopeTables::grow(std::int64_t positions, Stream& stream) {
  if (!cos_.empty() && cos_.view().dim(0) >= positions) return;
  const std::int64_t rows = std::max(positions, cos_.empty() ? 0 : 2 * cos_.view().dim(0));
  // Recorded passes go on reading the tables that they were recorded with.
  if (!cos_.empty()) outgrown_.emplace_back(std::move(cos_), std::move(sin_));
  cos_ = Tensor(stream, {rows, K_ / 2}, dtype_);
  sin_ = Tensor(stream, {rows, K_ / 2}, dtype_);
  kernels::rope_tables(cos_, sin_, /*first_position=*/0, theta_, stream);
}

Sequence RopeTables::sequence(std::int64_t T, std::int64_t B, std::int64_t first_position,
                              Stream& stream) {
  const std::int64_t needed = first_position + T;
  grow(needed, stream);
  Sequence s;
  s.T = T;
  s.B = B;
  s.first_position = first_position;
  s.cos = cos_.view().slice(0, first_position, needed);
  s.sin = sin_.view().slice(0, first_position, needed);
  return s;
}

Sequence RopeTables::sequence(const std::shared_ptr<const parallel::SequenceCut>& cut,
                              int context_rank, std::int64_t B, Stream& stream) {
  Sequence s = sequence(cut->tokens(), B, 0, stream);
  s.T = cut->tokens_per_rank();
  s.cut = cut;
  s.context_rank = context_rank;
  if (cut->ranks() == 1) return s;
  if (cut_ != cut) {
    cut_cos_ = Tensor(stream, {s.T, K_ / 2}, dtype_);
    cut_sin_ = Tensor(stream, {s.T, K_ / 2}, dtype_);
    for (const parallel::Fragment& f : cut->of_rank(context_rank)) {
      copy(cut_cos_.view().slice(0, f.local_begin, f.local_end()), s.cos.slice(0, f.begin, f.end),
           stream);
      copy(cut_sin_.view().slice(0, f.local_begin, f.local_end()), s.sin.slice(0, f.begin, f.end),
           stream);
    }
    cut_ = cut;
  }
  s.cos = cut_cos_;
  s.sin = cut_sin_;
  return s;
}

}  // namespace halo::model
