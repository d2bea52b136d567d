#pragma once
#include <memory>
#include <vector>

#include "core/base/stream.h"
#include "core/base/tensor.h"
#include "parallel/comm/communicator.h"

namespace halo::comm {

/// Takes device memory through host memory to a communicator of the host: for ranks that share a GPU, and where there is
/// no NCCL. Calls wait for the work that is queued on the stream before them; what they receive is on the device once they
/// are done. Host memory passes as it is.
class StagedCommunicator final : public Communicator {
 public:
  /// Both must outlive it.
  StagedCommunicator(Communicator& host, Stream& gpu) : host_(&host), gpu_(gpu) {}
  /// The stream must outlive it.
  StagedCommunicator(std::unique_ptr<Communicator> host, Stream& gpu)
      : owned_(std::move(host)), host_(owned_.get()), gpu_(gpu) {}

  [[nodiscard]] int rank() const noexcept override { return host_->rank(); }
  [[nodiscard]] int size() const noexcept override { return host_->size(); }
  [[nodiscard]] const std::string& name() const noexcept override { return host_->name(); }

  [[nodiscard]] Work all_reduce(TensorView buffer, ReduceOp op) override;
  [[nodiscard]] Work reduce_scatter(TensorView out, TensorView in,
                                    std::span<const std::int64_t> counts, ReduceOp op) override;
  [[nodiscard]] Work all_gather(TensorView out, TensorView in,
                                std::span<const std::int64_t> counts) override;
  [[nodiscard]] Work broadcast(TensorView buffer, int root) override;
  [[nodiscard]] Work exchange(std::span<const Message> sends,
                              std::span<const Message> receives) override;
  [[nodiscard]] Work barrier() override { return host_->barrier(); }

  [[nodiscard]] std::unique_ptr<Communicator> split(int color, int key, std::string name) override;
  [[nodiscard]] std::unique_ptr<Communicator> group(std::span<const int> members,
                                                    std::string name) override;
  [[nodiscard]] std::unique_ptr<Communicator> alone(std::string name) const override;
  void check() override { host_->check(); }
  void abort(const std::string& reason) noexcept override { host_->abort(reason); }
  void set_context(const CallContext& context) override { host_->set_context(context); }
  void observe(CallObserver* observer) override { host_->observe(observer); }
  [[nodiscard]] std::string recent_calls() const override { return host_->recent_calls(); }
  [[nodiscard]] CallLog* log() noexcept override { return host_->log(); }

 private:
  [[nodiscard]] Work keep(const TensorView& out, const TensorView& in);
  /// Host memory for a buffer, with its values or without.
  [[nodiscard]] Tensor down(const TensorView& buffer);
  [[nodiscard]] Tensor room_for(const TensorView& buffer);

  std::unique_ptr<Communicator> owned_;
  Communicator* host_;
  Stream& gpu_;
  Stream cpu_{1};
};

}  // namespace halo::comm
