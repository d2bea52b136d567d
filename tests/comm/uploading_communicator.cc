#include <utility>
#include <vector>

#include "core/base/tensor.h"
#include "tests/comm/device_cases.h"

namespace halo::comm {
namespace {

struct Landing {
  Tensor device;
  TensorView from, to;  // what comes down, and where; empty: nothing
};

class UploadedWork final : public Work::State {
 public:
  UploadedWork(Work work, std::vector<Landing> landings, Stream& gpu)
      : landings_(std::move(landings)), work_(std::move(work)), gpu_(gpu) {}
  bool test() override {
    if (!work_.test()) return false;
    bring_down();
    return true;
  }
  void wait() override {
    work_.wait();
    bring_down();
  }

 private:
  void bring_down() {
    for (const Landing& landing : landings_)
      if (!landing.to.empty() && landing.to.size() > 0) copy(landing.to, landing.from, gpu_);
    landings_.clear();
  }

  std::vector<Landing> landings_;
  Work work_;  // gone before the memory
  Stream& gpu_;
};

class UploadingCommunicator final : public Communicator {
 public:
  UploadingCommunicator(Communicator& device, Stream& gpu) : device_(&device), gpu_(gpu) {}
  UploadingCommunicator(std::unique_ptr<Communicator> device, Stream& gpu)
      : owned_(std::move(device)), device_(owned_.get()), gpu_(gpu) {}

  [[nodiscard]] int rank() const noexcept override { return device_->rank(); }
  [[nodiscard]] int size() const noexcept override { return device_->size(); }
  [[nodiscard]] const std::string& name() const noexcept override { return device_->name(); }

  Work all_reduce(TensorView buffer, ReduceOp op) override {
    Landing one = up(buffer, buffer);
    Work work = device_->all_reduce(one.device, op);
    return started(std::move(work), std::move(one));
  }
  Work reduce_scatter(TensorView out, TensorView in, std::span<const std::int64_t> counts,
                      ReduceOp op) override {
    Landing all = up(in, in), own = up(out, out);
    if (const std::ptrdiff_t at = place(out, in); at >= 0) own.from = inside(all.device, at, out);
    Work work = device_->reduce_scatter(own.from, all.device, counts, op);
    return started(std::move(work), std::move(all), std::move(own));
  }
  Work all_gather(TensorView out, TensorView in, std::span<const std::int64_t> counts) override {
    Landing all = up(out, out), own = up(in, {});
    if (const std::ptrdiff_t at = place(in, out); at >= 0) own.from = inside(all.device, at, in);
    Work work = device_->all_gather(all.device, own.from, counts);
    return started(std::move(work), std::move(all), std::move(own));
  }
  Work broadcast(TensorView buffer, int root) override {
    Landing one = up(buffer, buffer);
    Work work = device_->broadcast(one.device, root);
    return started(std::move(work), std::move(one));
  }
  Work exchange(std::span<const Message> sends, std::span<const Message> receives) override {
    std::vector<Landing> landings;
    std::vector<Message> device_sends, device_receives;
    for (const Message& message : sends) {
      landings.push_back(up(message.buffer, {}));
      device_sends.push_back({message.peer, landings.back().device});
    }
    for (const Message& message : receives) {
      landings.push_back(up(message.buffer, message.buffer));
      device_receives.push_back({message.peer, landings.back().device});
    }
    Work work = device_->exchange(device_sends, device_receives);
    return Work(std::make_unique<UploadedWork>(std::move(work), std::move(landings), gpu_));
  }
  Work barrier() override { return device_->barrier(); }

  std::unique_ptr<Communicator> split(int color, int key, std::string name) override {
    return std::make_unique<UploadingCommunicator>(device_->split(color, key, std::move(name)),
                                                   gpu_);
  }
  std::unique_ptr<Communicator> group(std::span<const int> members, std::string name) override {
    return std::make_unique<UploadingCommunicator>(device_->group(members, std::move(name)), gpu_);
  }
  void check() override { device_->check(); }
  void abort(const std::string& reason) noexcept override { device_->abort(reason); }
  void set_context(const CallContext& context) override { device_->set_context(context); }
  void observe(CallObserver* observer) override { device_->observe(observer); }
  [[nodiscard]] std::string recent_calls() const override { return device_->recent_calls(); }

 private:
  [[nodiscard]] Landing up(const TensorView& host, const TensorView& to) {
    Landing landing{Tensor(gpu_, host.shape, host.dtype), {}, to};
    if (host.size() > 0) copy(landing.device, host, gpu_);
    landing.from = landing.device;
    return landing;
  }
  /// Bytes from the beginning of `whole` to `part`, which lies in it; -1 when it does not.
  static std::ptrdiff_t place(const TensorView& part, const TensorView& whole) {
    const auto* const begin = static_cast<std::byte*>(whole.data);
    const auto* const at = static_cast<std::byte*>(part.data);
    return part.size() > 0 && begin <= at && at < begin + whole.bytes() ? at - begin : -1;
  }
  static TensorView inside(const Tensor& whole, std::ptrdiff_t at, const TensorView& part) {
    return {static_cast<std::byte*>(whole.view().data) + at, part.dtype, part.shape, Device::kCuda};
  }
  template <class... Landings>
  Work started(Work work, Landings... landings) {
    std::vector<Landing> all;
    (all.push_back(std::move(landings)), ...);
    return Work(std::make_unique<UploadedWork>(std::move(work), std::move(all), gpu_));
  }

  std::unique_ptr<Communicator> owned_;
  Communicator* device_;
  Stream& gpu_;
};

}  // namespace

std::unique_ptr<Communicator> make_uploading_communicator(Communicator& device, Stream& gpu) {
  return std::make_unique<UploadingCommunicator>(device, gpu);
}

}  // namespace halo::comm
