#pragma once
#include "core/base/tensor.h"

namespace halo {

/// A tensor's elements in host memory: the tensor itself, or for a GPU's a copy, which waits for what is queued.
class OnHost {
 public:
  OnHost(const TensorView& x, Stream& stream) : view_(x) {
    if (x.device != Device::kCuda || x.size() == 0) return;
    const Tensor dense = x.contiguous() ? Tensor() : Tensor::copy_of(stream, x);
    copy_ = Tensor(stream.host(), x.shape, x.dtype);
    copy(copy_, x.contiguous() ? x : dense.view(), stream);
    view_ = copy_;
  }
  [[nodiscard]] const TensorView& view() const { return view_; }
  operator const TensorView&() const { return view_; }  // NOLINT: used as its view, like Tensor

 private:
  Tensor copy_;
  TensorView view_;
};

/// A tensor's elements where a stream computes: the tensor itself, or of host memory for a GPU's stream a copy.
class OnDevice {
 public:
  OnDevice(const TensorView& x, Stream& stream) : view_(x) {
    if (x.empty() || x.device != Device::kCpu || stream.device() != Device::kCuda) return;
    copy_ = Tensor::copy_of(stream, x);
    view_ = copy_;
  }
  [[nodiscard]] const TensorView& view() const { return view_; }
  operator const TensorView&() const { return view_; }  // NOLINT: used as its view, like Tensor

 private:
  Tensor copy_;
  TensorView view_;
};

/// Calls body(host) with host memory of the shape and dtype of `to`, uninitialised, whose elements are then those of `to`.
template <class Body>
void write_from_host(const TensorView& to, Stream& stream, Body&& body) {
  if (to.device != Device::kCuda) return body(to);
  const Tensor host(stream.host(), to.shape, to.dtype);
  body(host.view());
  copy(to, host, stream);
}

}  // namespace halo
