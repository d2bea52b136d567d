#include "parallel/comm/staged_communicator.h"

#include "parallel/comm/local_communicator.h"

namespace halo::comm {
namespace {

bool on_host(const TensorView& buffer) { return buffer.device == Device::kCpu; }

/// A call on host memory, whose results go up when it is done.
class StagedWork final : public Work::State {
 public:
  struct Buffer {
    Tensor host;
    TensorView device;  // receives it; empty for what is only sent
  };
  StagedWork(Work work, std::vector<Buffer> buffers, Stream& gpu)
      : work_(std::move(work)), buffers_(std::move(buffers)), gpu_(gpu) {}

  bool test() override {
    if (!work_.test()) return false;
    bring_up();
    return true;
  }
  void wait() override {
    work_.wait();
    bring_up();
  }

 private:
  void bring_up() {
    for (const Buffer& buffer : buffers_)
      if (!buffer.device.empty()) copy(buffer.device, buffer.host, gpu_);
    buffers_.clear();
  }

  Work work_;
  std::vector<Buffer> buffers_;
  Stream& gpu_;
};

template <class... Buffers>
Work staged(Work work, Stream& gpu, Buffers... buffers) {
  std::vector<StagedWork::Buffer> all;
  (all.push_back(std::move(buffers)), ...);
  return Work(std::make_unique<StagedWork>(std::move(work), std::move(all), gpu));
}

}  // namespace

Tensor StagedCommunicator::room_for(const TensorView& buffer) {
  HALO_REQUIRE(buffer.contiguous(), "a buffer that is not dense");
  return {cpu_, buffer.shape, buffer.dtype};
}

Tensor StagedCommunicator::down(const TensorView& buffer) {
  Tensor host = room_for(buffer);
  copy(host, buffer, gpu_);
  return host;
}

/// What a rank that is alone has: a copy at most, which the device makes by itself.
Work StagedCommunicator::keep(const TensorView& out, const TensorView& in) {
  if (out.data != in.data) copy(out, in, gpu_);
  return {};
}

Work StagedCommunicator::all_reduce(TensorView buffer, ReduceOp op) {
  if (on_host(buffer)) return host_->all_reduce(buffer, op);
  if (size() == 1) return {};
  Tensor host = down(buffer);
  Work work = host_->all_reduce(host, op);
  return staged(std::move(work), gpu_, StagedWork::Buffer{std::move(host), buffer});
}

Work StagedCommunicator::reduce_scatter(TensorView out, TensorView in,
                                        std::span<const std::int64_t> counts, ReduceOp op) {
  if (on_host(in)) return host_->reduce_scatter(out, in, counts, op);
  if (size() == 1) return keep(out, in);
  Tensor all = down(in), own = room_for(out);
  Work work = host_->reduce_scatter(own, all, counts, op);
  return staged(std::move(work), gpu_, StagedWork::Buffer{std::move(own), out},
                StagedWork::Buffer{std::move(all), {}});
}

Work StagedCommunicator::all_gather(TensorView out, TensorView in,
                                    std::span<const std::int64_t> counts) {
  if (on_host(in)) return host_->all_gather(out, in, counts);
  if (size() == 1) return keep(out, in);
  Tensor own = down(in), all = room_for(out);
  Work work = host_->all_gather(all, own, counts);
  return staged(std::move(work), gpu_, StagedWork::Buffer{std::move(all), out},
                StagedWork::Buffer{std::move(own), {}});
}

Work StagedCommunicator::broadcast(TensorView buffer, int root) {
  if (on_host(buffer)) return host_->broadcast(buffer, root);
  if (size() == 1) return {};
  const bool sends = rank() == root;
  Tensor host = sends ? down(buffer) : room_for(buffer);
  Work work = host_->broadcast(host, root);
  return staged(std::move(work), gpu_,
                StagedWork::Buffer{std::move(host), sends ? TensorView{} : buffer});
}

Work StagedCommunicator::exchange(std::span<const Message> sends,
                                  std::span<const Message> receives) {
  std::vector<StagedWork::Buffer> buffers;
  std::vector<Message> host_sends, host_receives;
  for (const Message& message : sends) {
    if (on_host(message.buffer)) {
      host_sends.push_back(message);
      continue;
    }
    buffers.push_back({down(message.buffer), {}});
    host_sends.push_back({message.peer, buffers.back().host});
  }
  for (const Message& message : receives) {
    if (on_host(message.buffer)) {
      host_receives.push_back(message);
      continue;
    }
    buffers.push_back({room_for(message.buffer), message.buffer});
    host_receives.push_back({message.peer, buffers.back().host});
  }
  Work work = host_->exchange(host_sends, host_receives);
  return Work(std::make_unique<StagedWork>(std::move(work), std::move(buffers), gpu_));
}

std::unique_ptr<Communicator> StagedCommunicator::group(std::span<const int> members,
                                                        std::string name) {
  return std::make_unique<StagedCommunicator>(host_->group(members, std::move(name)), gpu_);
}

std::unique_ptr<Communicator> StagedCommunicator::split(int color, int key, std::string name) {
  return std::make_unique<StagedCommunicator>(host_->split(color, key, std::move(name)), gpu_);
}

std::unique_ptr<Communicator> StagedCommunicator::alone(std::string name) const {
  return std::make_unique<StagedCommunicator>(make_self_communicator(std::move(name)), gpu_);
}

}  // namespace halo::comm
