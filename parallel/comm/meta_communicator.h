#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "parallel/comm/communicator.h"

namespace halo::comm {

/// Times the calls of a rank of the meta device.
class CallClock {
 public:
  virtual ~CallClock() = default;
  /// Returns when the call ends, which a rank begins now.
  virtual double begin(const Call& call) = 0;
  [[nodiscard]] virtual double now() const = 0;
  virtual void wait_until(double time) = 0;
};

/// A rank of the meta device: its calls move nothing and end when the clock says.
class MetaCommunicator final : public Communicator {
 public:
  /// The clock must outlive it and all that come of it.
  MetaCommunicator(std::string name, int rank, int size, CallClock& clock);

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return size_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }

  Work all_reduce(TensorView buffer, ReduceOp op) override;
  Work reduce_scatter(TensorView out, TensorView in, std::span<const std::int64_t> counts,
                      ReduceOp op) override;
  Work all_gather(TensorView out, TensorView in, std::span<const std::int64_t> counts) override;
  Work broadcast(TensorView buffer, int root) override;
  Work exchange(std::span<const Message> sends, std::span<const Message> receives) override;
  Work barrier() override;

  /// All ranks together: who else shares a color is not known here.
  std::unique_ptr<Communicator> split(int color, int key, std::string name) override;
  std::unique_ptr<Communicator> group(std::span<const int> members, std::string name) override;
  /// Some of the ranks, of which this one is `rank`.
  [[nodiscard]] std::unique_ptr<Communicator> part(std::string name, int rank, int size) const;
  void check() override {}
  void abort(const std::string& /*reason*/) noexcept override {}
  void set_context(const CallContext& /*context*/) override {}
  void observe(CallObserver* /*observer*/) override {}  // the clock sees all
  [[nodiscard]] std::string recent_calls() const override { return {}; }

 private:
  Work call(std::string_view op, std::size_t bytes);
  Work start(const Call& call);

  std::string name_;
  int rank_, size_;
  CallClock* clock_;
};

}  // namespace halo::comm
