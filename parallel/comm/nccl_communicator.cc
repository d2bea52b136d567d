#include "parallel/comm/nccl_communicator.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel/comm/buffers.h"
#include "parallel/comm/nccl/check.h"
#include "parallel/comm/nccl/engine.h"
#include "parallel/comm/reduce.h"
#include "parallel/comm/staged_communicator.h"

namespace halo::comm {
namespace {

bool in_host_memory(const TensorView& buffer) { return buffer.device == Device::kCpu; }

ncclDataType_t reduced_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kInt64:
      return ncclInt64;
    case DType::kInt32:
      return ncclInt32;
    default:
      require_reducible(dtype);
      throw Error(str("no sum of ", dtype_name(dtype)));
  }
}

ncclRedOp_t reduction(ReduceOp op) { return op == ReduceOp::kSum ? ncclSum : ncclMax; }

bool all_equal(std::span<const std::int64_t> counts) {
  return std::ranges::all_of(counts, [&](std::int64_t count) { return count == counts[0]; });
}

/// Works that end together.
class SeveralWorks final : public Work::State {
 public:
  explicit SeveralWorks(std::vector<Work> works) : works_(std::move(works)) {}
  bool test() override {
    bool done = true;
    for (Work& work : works_) done = work.test() && done;
    return done;
  }
  void wait() override {
    for (Work& work : works_) work.wait();
  }

 private:
  std::vector<Work> works_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<NcclEngine> engine, std::shared_ptr<NcclGroup> group)
      : engine_(std::move(engine)), group_(std::move(group)) {}

  [[nodiscard]] int rank() const noexcept override { return host().rank(); }
  [[nodiscard]] int size() const noexcept override { return host().size(); }
  [[nodiscard]] const std::string& name() const noexcept override { return host().name(); }

  Work all_reduce(TensorView buffer, ReduceOp op) override;
  Work reduce_scatter(TensorView out, TensorView in, std::span<const std::int64_t> counts,
                      ReduceOp op) override;
  Work all_gather(TensorView out, TensorView in, std::span<const std::int64_t> counts) override;
  Work broadcast(TensorView buffer, int root) override;
  Work exchange(std::span<const Message> sends, std::span<const Message> receives) override;
  Work barrier() override { return host().barrier(); }

  std::unique_ptr<Communicator> split(int color, int key, std::string name) override {
    return over(host().split(color, key, std::move(name)));
  }
  std::unique_ptr<Communicator> group(std::span<const int> members, std::string name) override {
    return over(host().group(members, std::move(name)));
  }
  std::unique_ptr<Communicator> alone(std::string name) const override {
    return std::make_unique<StagedCommunicator>(host().alone(std::move(name)), engine_->gpu());
  }
  void check() override { engine_->check(*group_); }
  void abort(const std::string& reason) noexcept override { engine_->abort(*group_, reason); }
  void set_context(const CallContext& context) override { host().set_context(context); }
  void observe(CallObserver* observer) override { host().observe(observer); }
  [[nodiscard]] std::string recent_calls() const override { return host().recent_calls(); }
  [[nodiscard]] CallLog* log() noexcept override { return &engine_->log(); }

 private:
  [[nodiscard]] Communicator& host() const { return group_->host(); }
  [[nodiscard]] Call call(std::string_view op, std::size_t bytes) const {
    return {op, name(), size(), bytes, 0, {}, {}, engine_->log().context};
  }
  /// A collective on all ranks' link; `bytes` are of the whole buffer, 0 when there is nothing to do.
  Work start(std::string_view op, std::size_t bytes, NcclEngine::Issue issue) {
    if (bytes == 0) return done(call(op, 0));
    engine_->check(*group_);
    return engine_->start(group_, call(op, bytes), {{&group_->all(), std::move(issue)}});
  }
  /// A call that needs nobody else.
  Work done(Call call) {
    FlightRecorder& recorder = engine_->log().recorder;
    recorder.finish(recorder.begin(std::move(call)), FlightRecorder::State::kDone);
    return {};
  }
  /// For some of these ranks, which have `part` on the host.
  [[nodiscard]] std::unique_ptr<Communicator> over(std::unique_ptr<Communicator> part) const {
    if (part->size() == 1)
      return std::make_unique<StagedCommunicator>(std::move(part), engine_->gpu());
    return std::make_unique<NcclCommunicator>(engine_,
                                              engine_->make_group(std::move(part), *group_));
  }
  Work exchange_on_device(std::span<const Message> sends, std::span<const Message> receives);
  void exchange_with_itself(std::span<const Message> sends, std::span<const Message> receives);

  std::shared_ptr<NcclEngine> engine_;
  std::shared_ptr<NcclGroup> group_;
};

Work NcclCommunicator::all_reduce(TensorView buffer, ReduceOp op) {
  if (in_host_memory(buffer)) return host().all_reduce(buffer, op);
  require_dense(buffer, "all_reduce");
  const ncclDataType_t type = reduced_type(buffer.dtype);
  return start("all_reduce", buffer.bytes(), [=](NcclLink& link) {
    HALO_NCCL_CHECK(ncclAllReduce(buffer.data, buffer.data, static_cast<std::size_t>(buffer.size()),
                                  type, reduction(op), link.comm(), link.stream()));
  });
}

/// Blocks of different lengths are a reduction each, which NCCL runs together.
Work NcclCommunicator::reduce_scatter(TensorView out, TensorView in,
                                      std::span<const std::int64_t> counts, ReduceOp op) {
  if (in_host_memory(in)) return host().reduce_scatter(out, in, counts, op);
  const ncclDataType_t type = reduced_type(in.dtype);
  const std::vector<Bytes> blocks = blocks_of(in, out, counts, rank(), size(), "reduce_scatter");
  return start("reduce_scatter", in.bytes(), [&](NcclLink& link) {
    if (all_equal(counts)) {
      HALO_NCCL_CHECK(ncclReduceScatter(in.data, out.data, static_cast<std::size_t>(counts[0]),
                                        type, reduction(op), link.comm(), link.stream()));
      return;
    }
    NcclTogether together;
    for (int root = 0; root < size(); ++root) {
      const Bytes block = blocks[static_cast<std::size_t>(root)];
      if (block.empty()) continue;
      HALO_NCCL_CHECK(ncclReduce(block.data(), root == rank() ? out.data : nullptr,
                                 block.size() / dtype_size(in.dtype), type, reduction(op), root,
                                 link.comm(), link.stream()));
    }
    together.start();
  });
}

/// Blocks of different lengths are a broadcast each, which NCCL runs together.
Work NcclCommunicator::all_gather(TensorView out, TensorView in,
                                  std::span<const std::int64_t> counts) {
  if (in_host_memory(in)) return host().all_gather(out, in, counts);
  const std::vector<Bytes> blocks = blocks_of(out, in, counts, rank(), size(), "all_gather");
  return start("all_gather", out.bytes(), [&](NcclLink& link) {
    if (all_equal(counts)) {
      HALO_NCCL_CHECK(
          ncclAllGather(in.data, out.data, in.bytes(), ncclUint8, link.comm(), link.stream()));
      return;
    }
    NcclTogether together;
    for (int root = 0; root < size(); ++root) {
      const Bytes block = blocks[static_cast<std::size_t>(root)];
      if (block.empty()) continue;
      HALO_NCCL_CHECK(ncclBroadcast(root == rank() ? in.data : nullptr, block.data(), block.size(),
                                    ncclUint8, root, link.comm(), link.stream()));
    }
    together.start();
  });
}

Work NcclCommunicator::broadcast(TensorView buffer, int root) {
  if (in_host_memory(buffer)) return host().broadcast(buffer, root);
  require_dense(buffer, "broadcast");
  require_peer(root, size(), "broadcast");
  return start("broadcast", buffer.bytes(), [=](NcclLink& link) {
    HALO_NCCL_CHECK(ncclBroadcast(buffer.data, buffer.data, buffer.bytes(), ncclUint8, root,
                                  link.comm(), link.stream()));
  });
}

Work NcclCommunicator::exchange(std::span<const Message> sends, std::span<const Message> receives) {
  const auto of_host = [](const Message& message) { return in_host_memory(message.buffer); };
  const bool any = std::ranges::any_of(sends, of_host) || std::ranges::any_of(receives, of_host);
  if (!any) return exchange_on_device(sends, receives);
  if (std::ranges::all_of(sends, of_host) && std::ranges::all_of(receives, of_host))
    return host().exchange(sends, receives);
  std::vector<Message> host_sends, host_receives, device_sends, device_receives;
  for (const Message& message : sends)
    (of_host(message) ? host_sends : device_sends).push_back(message);
  for (const Message& message : receives)
    (of_host(message) ? host_receives : device_receives).push_back(message);
  std::vector<Work> works;
  works.push_back(host().exchange(host_sends, host_receives));
  works.push_back(exchange_on_device(device_sends, device_receives));
  return Work(std::make_unique<SeveralWorks>(std::move(works)));
}

Work NcclCommunicator::exchange_on_device(std::span<const Message> sends,
                                          std::span<const Message> receives) {
  Call call = this->call("exchange", 0);
  std::set<int> peers;
  const auto require = [&](std::span<const Message> messages, std::vector<int>& named) {
    for (const Message& message : messages) {
      require_peer(message.peer, size(), "exchange");
      require_dense(message.buffer, "exchange");
      named.push_back(message.peer);
      call.bytes += message.buffer.bytes();
      if (message.peer != rank() && message.buffer.size() > 0) peers.insert(message.peer);
    }
  };
  require(sends, call.to);
  call.sent = call.bytes;
  require(receives, call.from);
  engine_->check(*group_);
  exchange_with_itself(sends, receives);
  if (peers.empty()) return done(std::move(call));
  // By rising rank: all ranks meet their peers in one order.
  for (const int peer : peers) std::ignore = group_->with(peer);

  std::vector<NcclEngine::Part> parts;
  const auto add = [&](const Message& message, bool out) {
    if (!peers.contains(message.peer) || message.buffer.size() == 0) return;
    NcclGroup::Pair& pair = group_->with(message.peer);
    const int other = rank() < message.peer ? 1 : 0;  // on the pair's links
    parts.push_back({out ? pair.out.get() : pair.in.get(), [=](NcclLink& link) {
                       const TensorView& buffer = message.buffer;
                       HALO_NCCL_CHECK(out ? ncclSend(buffer.data, buffer.bytes(), ncclUint8, other,
                                                      link.comm(), link.stream())
                                           : ncclRecv(buffer.data, buffer.bytes(), ncclUint8, other,
                                                      link.comm(), link.stream()));
                     }});
  };
  for (const Message& message : sends) add(message, /*out=*/true);
  for (const Message& message : receives) add(message, /*out=*/false);
  return engine_->start(group_, std::move(call), parts);
}

/// The n-th message sent is the n-th received. In the order of the rank's stream.
void NcclCommunicator::exchange_with_itself(std::span<const Message> sends,
                                            std::span<const Message> receives) {
  const auto own = [&](std::span<const Message> messages) {
    std::vector<TensorView> buffers;
    for (const Message& message : messages)
      if (message.peer == rank() && message.buffer.size() > 0) buffers.push_back(message.buffer);
    return buffers;
  };
  const std::vector<TensorView> from = own(sends), to = own(receives);
  HALO_REQUIRE(from.size() == to.size(),
               str("exchange: ", from.size(), " messages of a rank to itself and ", to.size(),
                   " receives in one call"));
  for (std::size_t i = 0; i < from.size(); ++i) {
    HALO_REQUIRE(from[i].bytes() == to[i].bytes(), str("exchange: a message of ", from[i].bytes(),
                                                       " bytes received as ", to[i].bytes()));
    const auto as_bytes = [](const TensorView& x) {
      return TensorView(x.data, DType::kUint8, {static_cast<std::int64_t>(x.bytes())}, x.device);
    };
    copy(as_bytes(to[i]), as_bytes(from[i]), engine_->gpu());
  }
}

}  // namespace

std::string nccl_missing() { return {}; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, Stream& gpu,
                                                     std::chrono::milliseconds deadline) {
  HALO_REQUIRE(host.log() != nullptr, "NCCL over a communicator that keeps no log of calls");
  auto engine = std::make_shared<NcclEngine>(gpu, *host.log(), deadline);
  auto group = engine->make_group(host);
  return std::make_unique<NcclCommunicator>(std::move(engine), std::move(group));
}

}  // namespace halo::comm
