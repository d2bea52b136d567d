#include "parallel/comm/transport_communicator.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel/comm/buffers.h"

namespace halo::comm {
namespace {

constexpr std::size_t kLongestMessage = std::size_t{1} << 30;  // MPI counts in int

void require_host_buffer(const TensorView& buffer, std::string_view op) {
  HALO_REQUIRE(buffer.device == Device::kCpu, str(op, " of device memory"));
  require_dense(buffer, op);
}

std::vector<Bytes> host_blocks(const TensorView& whole, const TensorView& part,
                               std::span<const std::int64_t> counts, const Scope& scope,
                               std::string_view op) {
  require_host_buffer(whole, op);
  return blocks_of(whole, part, counts, scope.rank, scope.size(), op);
}

void copy_bytes(Bytes to, ConstBytes from) {
  if (!to.empty() && to.data() != from.data()) std::memcpy(to.data(), from.data(), to.size());
}

class TransportCommunicator final : public Communicator {
 public:
  TransportCommunicator(std::shared_ptr<ProgressEngine> engine, std::shared_ptr<const Scope> scope)
      : engine_(std::move(engine)), scope_(std::move(scope)) {}

  [[nodiscard]] int rank() const noexcept override { return scope_->rank; }
  [[nodiscard]] int size() const noexcept override { return scope_->size(); }
  [[nodiscard]] const std::string& name() const noexcept override { return scope_->name; }

  Work all_reduce(TensorView buffer, ReduceOp op) override {
    require_host_buffer(buffer, "all_reduce");
    require_reducible(buffer.dtype);
    if (size() == 1) return done("all_reduce", buffer.bytes());
    return start("all_reduce", buffer.bytes(), [&](Channel channel) {
      return comm::all_reduce(std::move(channel), bytes_of(buffer), {buffer.dtype, op});
    });
  }

  Work reduce_scatter(TensorView out, TensorView in, std::span<const std::int64_t> counts,
                      ReduceOp op) override {
    require_reducible(in.dtype);
    const std::vector<Bytes> blocks = host_blocks(in, out, counts, *scope_, "reduce_scatter");
    if (size() == 1) {
      copy_bytes(bytes_of(out), blocks[0]);
      return done("reduce_scatter", in.bytes());
    }
    return start("reduce_scatter", in.bytes(), [&](Channel channel) {
      return comm::reduce_scatter(std::move(channel), bytes_of(out), {blocks.begin(), blocks.end()},
                                  {in.dtype, op});
    });
  }

  Work all_gather(TensorView out, TensorView in, std::span<const std::int64_t> counts) override {
    std::vector<Bytes> blocks = host_blocks(out, in, counts, *scope_, "all_gather");
    copy_bytes(blocks[static_cast<std::size_t>(rank())], bytes_of(in));
    if (size() == 1) return done("all_gather", out.bytes());
    return start("all_gather", out.bytes(), [&](Channel channel) {
      return comm::all_gather(std::move(channel), std::move(blocks));
    });
  }

  Work broadcast(TensorView buffer, int root) override {
    require_host_buffer(buffer, "broadcast");
    require_peer(root, size(), "broadcast");
    if (size() == 1) return done("broadcast", buffer.bytes());
    return start("broadcast", buffer.bytes(), [&](Channel channel) {
      return comm::broadcast(std::move(channel), bytes_of(buffer), root);
    });
  }

  Work exchange(std::span<const Message> sends, std::span<const Message> receives) override {
    Call call = this->call("exchange", 0);
    const auto checked = [&](std::span<const Message> messages, std::vector<int>& peers) {
      std::vector<PeerBytes> result;
      for (const Message& message : messages) {
        require_peer(message.peer, size(), "exchange");
        require_host_buffer(message.buffer, "exchange");
        result.push_back({message.peer, bytes_of(message.buffer)});
        peers.push_back(message.peer);
        call.bytes += message.buffer.bytes();
      }
      return result;
    };
    std::vector<PeerBytes> from = checked(sends, call.to);
    call.sent = call.bytes;
    std::vector<PeerBytes> to = checked(receives, call.from);
    Operation operation =
        comm::exchange(engine_->channel(scope_, -1), std::move(from), std::move(to));
    return engine_->start(scope_, std::move(call), -1, std::move(operation));
  }

  Work barrier() override {
    if (size() == 1) return done("barrier", 0);
    return start("barrier", 0, [](Channel channel) { return comm::barrier(std::move(channel)); });
  }

  std::unique_ptr<Communicator> split(int color, int key, std::string name) override;
  std::unique_ptr<Communicator> group(std::span<const int> members, std::string name) override;

  void abort(const std::string& reason) noexcept override {
    try {
      engine_->abort(*scope_, str(scope_->name, " rank ", rank(), ": ", reason));
    } catch (const std::exception& failure) {
      LOG(ERROR) << "telling peers of a failure: " << failure.what();
    }
  }

  void check() override { engine_->check(*scope_); }
  void set_context(const CallContext& context) override { engine_->log().context = context; }
  void observe(CallObserver* observer) override { engine_->log().observer = observer; }
  [[nodiscard]] std::string recent_calls() const override { return engine_->log().recorder.text(); }
  [[nodiscard]] CallLog* log() noexcept override { return &engine_->log(); }

 private:
  [[nodiscard]] Call call(std::string_view op, std::size_t bytes) const {
    return {op, scope_->name, size(), bytes, 0, {}, {}, engine_->log().context};
  }
  Work done(std::string_view op, std::size_t bytes) {
    FlightRecorder& recorder = engine_->log().recorder;
    recorder.finish(recorder.begin(call(op, bytes)), FlightRecorder::State::kDone);
    return Work();
  }
  template <class Make>
  Work start(std::string_view op, std::size_t bytes, Make make) {
    const std::int64_t sequence = sequence_++;
    return engine_->start(scope_, call(op, bytes), sequence,
                          make(engine_->channel(scope_, sequence)));
  }

  /// Gives everyone's words, of the ranks that a new communicator is agreed on with.
  using Gather = std::function<std::vector<std::int64_t>(std::span<const std::int64_t> own)>;
  /// A block of tags that is free on all of them, looked for from `first` on.
  [[nodiscard]] int agreed_block(int first, const Gather& gather) const;
  struct Place {
    int id, block;
    bool is_group;
  };
  [[nodiscard]] std::unique_ptr<Communicator> child(const Place& place,
                                                    std::span<const int> members, std::string name);

  std::shared_ptr<ProgressEngine> engine_;
  std::shared_ptr<const Scope> scope_;
  std::int64_t sequence_ = 0;
};

/// Needs nothing from the transport but messages: the members agree on a number that none of them has used, and on a block
/// of tags that none of them uses, which keeps the new communicator's messages apart from all others that two of its ranks
/// share. (MPI_Comm_split and MPI_Comm_create_group block without a deadline, also when a peer is gone.)
std::unique_ptr<Communicator> TransportCommunicator::split(int color, int key, std::string name) {
  const auto ranks = static_cast<std::size_t>(size());
  const Gather gather = [&](std::span<const std::int64_t> own) {
    const auto words = static_cast<std::int64_t>(own.size());
    std::vector<std::int64_t> all(ranks * own.size());
    const std::vector<std::int64_t> counts(ranks, words);
    all_gather(view(all.data(), {size() * words}), view(own.data(), {words}), counts).wait();
    return all;
  };
  const ScopeRegistry& scopes = engine_->scopes();
  const std::array<std::int64_t, 4> own{color, key, scopes.next_id(), scopes.next_block()};
  const std::vector<std::int64_t> wishes = gather(own);
  std::vector<std::tuple<std::int64_t, int>> order;  // key, rank
  std::int64_t id = 0, first = 0;
  for (int r = 0; r < size(); ++r) {
    const auto wish = std::span(wishes).subspan(static_cast<std::size_t>(r) * own.size());
    if (wish[0] == color) order.emplace_back(wish[1], r);
    id = std::max(id, wish[2]);
    first = std::max(first, wish[3]);
  }
  std::sort(order.begin(), order.end());
  std::vector<int> members;
  for (const auto& [unused, member] : order) members.push_back(member);
  const int block = agreed_block(static_cast<int>(first), gather);
  return child({static_cast<int>(id), block, false}, members, std::move(name));
}

std::unique_ptr<Communicator> TransportCommunicator::group(std::span<const int> members,
                                                           std::string name) {
  HALO_REQUIRE(std::ranges::count(members, rank()) == 1,
               str("group ", name, ": rank ", rank(), " is no member, or more than one"));
  for (const int member : members) {
    require_peer(member, size(), "group");
    HALO_REQUIRE(std::ranges::count(members, member) == 1,
                 str("group ", name, ": rank ", member, " is more than one member"));
  }
  const Gather gather = [&](std::span<const std::int64_t> own) {
    const auto words = static_cast<std::int64_t>(own.size());
    std::vector<std::int64_t> all;
    for (std::size_t i = 0; i < members.size(); ++i) all.insert(all.end(), own.begin(), own.end());
    std::vector<Message> sends, receives;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (members[i] == rank()) continue;
      sends.push_back({members[i], view(own.data(), {words})});
      receives.push_back({members[i], view(all.data() + i * own.size(), {words})});
    }
    exchange(sends, receives).wait();
    return all;
  };
  const ScopeRegistry& scopes = engine_->scopes();
  const std::vector<std::int64_t> nexts =
      gather(std::array<std::int64_t, 2>{scopes.next_id(), scopes.next_block()});
  std::int64_t id = 0, first = 0;
  for (std::size_t i = 0; i < nexts.size(); i += 2) {
    id = std::max(id, nexts[i]);
    first = std::max(first, nexts[i + 1]);
  }
  const int block = agreed_block(static_cast<int>(first), gather);
  return child({static_cast<int>(id), block, true}, members, std::move(name));
}

int TransportCommunicator::agreed_block(int first, const Gather& gather) const {
  const ScopeRegistry& scopes = engine_->scopes();
  for (int looked = 0; looked < scopes.blocks(); looked += ScopeRegistry::kWindow) {
    const ScopeRegistry::Window own = scopes.taken(first);
    const std::vector<std::int64_t> words = gather(own);
    std::vector<ScopeRegistry::Window> windows(words.size() / own.size());
    for (std::size_t i = 0; i < windows.size(); ++i)
      std::copy_n(words.begin() + static_cast<std::ptrdiff_t>(i * own.size()), own.size(),
                  windows[i].begin());
    if (const int block = scopes.first_free(first, windows); block >= 0) return block;
    first = (first + ScopeRegistry::kWindow) % scopes.blocks();
  }
  throw Error(str(scope_->name, ": all ", scopes.blocks(),
                  " blocks of message tags belong to communicators that are in use or have failed: "
                  "start the program again"));
}

std::unique_ptr<Communicator> TransportCommunicator::child(const Place& place,
                                                           std::span<const int> members,
                                                           std::string name) {
  const auto forget = [engine = std::weak_ptr(engine_)](Scope* scope) {
    const std::unique_ptr<Scope> gone(scope);
    if (const auto there = engine.lock()) there->forget(*gone);
  };
  const std::shared_ptr<Scope> scope(new Scope, forget);
  scope->name = std::move(name);
  scope->id = place.id;
  scope->block = place.block;
  scope->group = place.is_group ? place.id : scope_->group;
  scope->lineage = scope_->lineage;
  scope->lineage.push_back(scope->id);
  for (const int member : members) {
    if (member == rank()) scope->rank = scope->size();
    scope->members.push_back(scope_->world_rank(member));
  }
  engine_->scopes().add(*scope);
  return std::make_unique<TransportCommunicator>(engine_, scope);
}

}  // namespace

std::unique_ptr<Communicator> make_transport_communicator(std::unique_ptr<Transport> transport,
                                                          std::string name,
                                                          const CommunicatorOptions& options) {
  HALO_REQUIRE(
      options.message_bytes > 0 && options.message_bytes <= kLongestMessage,
      str("messages of up to ", options.message_bytes, " bytes: choose 1 to ", kLongestMessage));
  auto scope = std::make_shared<Scope>();
  scope->name = std::move(name);
  scope->lineage = {scope->id};
  scope->members.resize(static_cast<std::size_t>(transport->size()));
  std::iota(scope->members.begin(), scope->members.end(), 0);
  scope->rank = transport->rank();
  auto engine = std::make_shared<ProgressEngine>(std::move(transport), options);
  return std::make_unique<TransportCommunicator>(std::move(engine), std::move(scope));
}

}  // namespace halo::comm
