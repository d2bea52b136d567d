#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "core/base/cuda_device.h"
#include "core/base/tensor.h"
#include "parallel/comm/nccl_communicator.h"
#include "tests/comm/mpi_main.h"

namespace halo::comm {

/// A stream of the GPU that this rank takes.
inline Stream& gpu_of_rank() {
  static const auto stream = [] {
    set_cuda_environment();
    set_nccl_environment(/*deterministic=*/true);
    return std::make_unique<Stream>(
        make_cuda_stream(test_session().rank() % std::max(1, cuda_device_count())));
  }();
  return *stream;
}

/// Why NCCL cannot connect the ranks here; empty when it can.
inline std::string why_not() {
  if (!nccl_missing().empty()) return nccl_missing();
  const int gpus = cuda_device_count();
  if (gpus >= test_session().size()) return {};
  return str(gpus, " GPUs for ", test_session().size(), " ranks: NCCL wants one for each");
}

/// Each test has a world of its own, as a program has.
class NcclTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_not(); !reason.empty()) GTEST_SKIP() << reason;
    make(std::chrono::milliseconds(60000));
  }
  void make(std::chrono::milliseconds deadline) {
    nccl_.reset();
    world_ = test_session().world({.deadline = std::chrono::milliseconds(60000)});
    nccl_ = make_nccl_communicator(*world_, gpu(), deadline);
  }
  static Stream& gpu() { return gpu_of_rank(); }
  Communicator& nccl() { return *nccl_; }
  [[nodiscard]] int rank() const { return world_->rank(); }
  [[nodiscard]] int size() const { return world_->size(); }

  template <class T>
  static Tensor up(const std::vector<T>& values) {
    return Tensor::copy_of(gpu(), view(values.data(), {static_cast<std::int64_t>(values.size())}));
  }
  template <class T>
  static std::vector<T> down(const TensorView& x) {
    std::vector<T> values(static_cast<std::size_t>(x.size()));
    if (!values.empty()) copy(view(values.data(), x.shape), x, gpu());
    return values;
  }

  std::unique_ptr<Communicator> world_;
  std::unique_ptr<Communicator> nccl_;
};

}  // namespace halo::comm
