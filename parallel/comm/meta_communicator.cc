#include "parallel/comm/meta_communicator.h"

#include <algorithm>

namespace halo::comm {
namespace {

class TimedWork final : public Work::State {
 public:
  TimedWork(CallClock& clock, double end) : clock_(clock), end_(end) {}
  bool test() override { return end_ <= clock_.now(); }
  void wait() override { clock_.wait_until(end_); }

 private:
  CallClock& clock_;
  double end_;
};

}  // namespace

MetaCommunicator::MetaCommunicator(std::string name, int rank, int size, CallClock& clock)
    : name_(std::move(name)), rank_(rank), size_(size), clock_(&clock) {
  HALO_REQUIRE(0 <= rank && rank < size, str("rank ", rank, " of ", size));
}

Work MetaCommunicator::call(std::string_view op, std::size_t bytes) {
  return start({op, name_, size_, bytes, 0, {}, {}, {}});
}

Work MetaCommunicator::start(const Call& call) {
  return Work(std::make_unique<TimedWork>(*clock_, clock_->begin(call)));
}

Work MetaCommunicator::all_reduce(TensorView buffer, ReduceOp /*op*/) {
  return call("all_reduce", buffer.bytes());
}

Work MetaCommunicator::reduce_scatter(TensorView /*out*/, TensorView in,
                                      std::span<const std::int64_t> /*counts*/, ReduceOp /*op*/) {
  return call("reduce_scatter", in.bytes());
}

Work MetaCommunicator::all_gather(TensorView out, TensorView /*in*/,
                                  std::span<const std::int64_t> /*counts*/) {
  return call("all_gather", out.bytes());
}

Work MetaCommunicator::broadcast(TensorView buffer, int /*root*/) {
  return call("broadcast", buffer.bytes());
}

Work MetaCommunicator::exchange(std::span<const Message> sends, std::span<const Message> receives) {
  Call call{"exchange", name_, size_, 0, 0, {}, {}, {}};
  const auto add = [&call](std::span<const Message> messages, std::vector<int>& peers) {
    for (const Message& message : messages) {
      peers.push_back(message.peer);
      call.bytes += message.buffer.bytes();
    }
  };
  add(sends, call.to);
  call.sent = call.bytes;
  add(receives, call.from);
  return start(call);
}

Work MetaCommunicator::barrier() { return call("barrier", 0); }

std::unique_ptr<Communicator> MetaCommunicator::split(int /*color*/, int /*key*/,
                                                      std::string name) {
  return part(std::move(name), rank_, size_);
}

std::unique_ptr<Communicator> MetaCommunicator::group(std::span<const int> members,
                                                      std::string name) {
  const auto own = std::ranges::find(members, rank_) - members.begin();
  return part(std::move(name), static_cast<int>(own), static_cast<int>(members.size()));
}

std::unique_ptr<Communicator> MetaCommunicator::part(std::string name, int rank, int size) const {
  return std::make_unique<MetaCommunicator>(std::move(name), rank, size, *clock_);
}

}  // namespace halo::comm
