#include "core/model/transformer.h"

#include <algorithm>

#include "kernels/embedding.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

namespace halo::model {

Transformer::Transformer(ModelConfig config, const ParameterLookup& parameters)
    : config_(std::move(config)),
      embedding_(&parameters(kEmbedding)),
      final_norm_(&parameters("model.norm.weight")),
      head_(config_.tie_word_embeddings ? *embedding_ : parameters(kHead)) {
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer)
    blocks_.emplace_back(config_, layer, parameters);
}

void Transformer::embed(TensorView x, TensorView ids, Stream& stream) const {
  kernels::embedding(x, ids, embedding_->weight, stream);
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
  Tensor x(stream, {sequence.rows(), config_.hidden_size}, embedding_->weight.dtype);
  embed(x, ids, stream);
  return hidden_from(0, x, sequence, stream, caches);
}

Tensor Transformer::forward(TensorView ids, const Sequence& sequence, bool recompute, Saved& saved,
                            Stream& stream) const {
  const Shape shape{sequence.rows(), config_.hidden_size};
  const DType dtype = embedding_->weight.dtype;
  saved.ids = Tensor::copy_of(stream, ids);
  saved.x = Tensor(stream, shape, dtype);
  embed(saved.x, ids, stream);
  saved.blocks.resize(blocks_.size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    saved.blocks[i].recompute = recompute;
    blocks_[i].forward(saved.x, sequence, saved.blocks[i], stream);
  }
  Tensor h(stream, shape, dtype);
  saved.inv_rms = Tensor(stream, {sequence.rows()}, wide_dtype(dtype));
  final_norm(h, saved.inv_rms, saved.x, stream);
  return h;
}

void Transformer::backward(TensorView d, const Sequence& sequence, Saved& saved,
                           Stream& stream) const {
  kernels::rms_norm_backward(d, final_norm_->grad, d, saved.x, final_norm_->weight, saved.inv_rms,
                             /*accumulate=*/false, stream);
  saved.x.reset();
  for (std::size_t i = blocks_.size(); i-- > 0;)
    blocks_[i].backward(d, sequence, saved.blocks[i], stream);
  if (!embedding_->grad.empty()) {
    settle_gradient(*embedding_, stream);
    kernels::embedding_backward(embedding_->grad, saved.ids, d, stream);
  }
  saved = Saved();
}

Sequence RopeTables::sequence(std::int64_t T, std::int64_t B, std::int64_t first_position,
                              Stream& stream) {
  const std::int64_t needed = first_position + T;
  if (cos_.empty() || cos_.view().dim(0) < needed) {
    const std::int64_t rows = std::max(needed, cos_.empty() ? 0 : 2 * cos_.view().dim(0));
    cos_ = Tensor(stream, {rows, K_ / 2}, dtype_);
    sin_ = Tensor(stream, {rows, K_ / 2}, dtype_);
    kernels::rope_tables(cos_, sin_, /*first_position=*/0, theta_, stream);
  }
  Sequence s;
  s.T = T;
  s.B = B;
  s.first_position = first_position;
  s.cos = cos_.view().slice(0, first_position, needed);
  s.sin = sin_.view().slice(0, first_position, needed);
  return s;
}

}  // namespace halo::model
