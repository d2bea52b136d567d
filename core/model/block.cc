#include "core/model/block.h"

#include <utility>

#include "kernels/gates.h"
#include "kernels/rms_norm.h"

namespace halo::model {

Block::Block(const ModelConfig& config, int layer, const ParameterLookup& parameters,
             const ModelAxes& axes)
    : eps_(config.rms_norm_eps),
      input_norm_(&parameters(layer_prefix(layer) + "input_layernorm.weight")),
      mid_norm_(&parameters(layer_prefix(layer) + "post_attention_layernorm.weight")),
      mixer_(mixer_options(config, layer), parameters, mixer_prefix(layer), axes),
      mlp_(parameters, layer_prefix(layer) + "mlp.", axes) {}

void Block::normalise_input(TensorView h, TensorView inv_rms, TensorView x, Stream& stream) const {
  kernels::rms_norm(h, inv_rms, x, input_norm_->weight, eps_, stream);
}

void Block::finish(TensorView x, TensorView y, Stream& stream) const {
  kernels::add(y, x, y, stream);
  infer_mlp(x, y, stream);
}

void Block::infer_mlp(TensorView x, TensorView x_mid, Stream& stream) const {
  const Tensor h(stream, x.shape, x.dtype);
  const Tensor inv_rms(stream, {x.dim(0)}, wide_dtype(x.dtype));
  kernels::rms_norm(h, inv_rms, x_mid, mid_norm_->weight, eps_, stream);
  Mlp::Saved unused;
  mlp_.forward(x, x_mid, h, unused, stream);
}

void Block::run(TensorView x, const Sequence& sequence, Saved& saved, Stream& stream) const {
  const auto like_x = [&] { return Tensor(stream, x.shape, x.dtype); };
  const auto statistics = [&] { return Tensor(stream, {x.dim(0)}, wide_dtype(x.dtype)); };
  saved.h = like_x();
  saved.inv_rms = statistics();
  normalise_input(saved.h, saved.inv_rms, saved.x, stream);
  saved.mixer.products_alone = saved.products_alone;
  saved.x_mid = like_x();
  mixer_.forward(saved.x_mid, saved.x, saved.h, sequence, saved.mixer, /*cache=*/nullptr, stream);

  saved.h_mid = like_x();
  saved.inv_rms_mid = statistics();
  kernels::rms_norm(saved.h_mid, saved.inv_rms_mid, saved.x_mid, mid_norm_->weight, eps_, stream);
  mlp_.forward(x, saved.x_mid, saved.h_mid, saved.mlp, stream);
  if (!saved.products_alone) return;
  saved.h.reset();
  saved.h_mid.reset();
}

void Block::forward(Tensor& x, const Sequence& sequence, Saved& saved, Stream& stream) const {
  if (saved.recompute) {
    saved.x = Tensor::copy_of(stream, x);
    return infer(x, sequence, nullptr, stream);
  }
  Tensor output(stream, x.view().shape, x.view().dtype);
  saved.x = std::exchange(x, std::move(output));
  run(x, sequence, saved, stream);
}

void Block::infer(TensorView x, const Sequence& sequence, MixerCache* cache, Stream& stream) const {
  const Tensor x_mid(stream, x.shape, x.dtype);
  {
    const Tensor h(stream, x.shape, x.dtype);
    const Tensor inv_rms(stream, {x.dim(0)}, wide_dtype(x.dtype));
    normalise_input(h, inv_rms, x, stream);
    Mixer::Saved unused;
    mixer_.forward(x_mid, x, h, sequence, unused, cache, stream);
  }
  infer_mlp(x, x_mid, stream);
}

void Block::backward(TensorView d, const Sequence& sequence, Saved& saved, Stream& stream) const {
  if (saved.recompute) {
    Tensor output(stream, d.shape, d.dtype);
    run(output, sequence, saved, stream);
  }
  const auto again = [&](Tensor& h, const Tensor& inv_rms, const Tensor& x, const Parameter& norm) {
    if (!h.empty()) return;
    h = Tensor(stream, d.shape, d.dtype);
    kernels::rms_norm(h, inv_rms, x, norm.weight, eps_, stream);
  };
  Tensor dh(stream, d.shape, d.dtype);
  again(saved.h_mid, saved.inv_rms_mid, saved.x_mid, *mid_norm_);
  mlp_.backward(dh, d, saved.h_mid, saved.mlp, stream);
  kernels::rms_norm_backward(d, settled_gradient(*mid_norm_, stream), dh, saved.x_mid,
                             mid_norm_->weight, saved.inv_rms_mid,
                             /*accumulate=*/true, stream);
  saved.x_mid.reset();
  saved.h_mid.reset();
  again(saved.h, saved.inv_rms, saved.x, *input_norm_);
  mixer_.backward(dh, d, saved.h, sequence, saved.mixer, stream);
  kernels::rms_norm_backward(d, settled_gradient(*input_norm_, stream), dh, saved.x,
                             input_norm_->weight, saved.inv_rms,
                             /*accumulate=*/true, stream);
  saved = Saved();
}

}  // namespace halo::model
