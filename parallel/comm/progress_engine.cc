#include "parallel/comm/progress_engine.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "core/base/clock.h"
#include "core/base/progress_point.h"

namespace halo::comm {
namespace {

using Clock = std::chrono::steady_clock;

// A scope has this many tags: the first for messages outside of collectives, which match in the order they are sent,
// the others for its collectives in turn, so that messages of two that are under way never match.
constexpr int kTagsPerScope = 1024;
constexpr int kCollectiveTags = kTagsPerScope - 1;

/// Takes down that a rank waits, for as long as this lives.
class NotedWait {
 public:
  NotedWait(FlightRecorder& recorder, std::int64_t call) : recorder_(recorder) {
    recorder_.wait_for(call);
  }
  NotedWait(const NotedWait&) = delete;
  NotedWait& operator=(const NotedWait&) = delete;
  ~NotedWait() { recorder_.wait_for(-1); }

 private:
  FlightRecorder& recorder_;
};

class StartedWork final : public Work::State {
 public:
  StartedWork(std::shared_ptr<ProgressEngine> engine,
              std::shared_ptr<ProgressEngine::Running> running)
      : engine_(std::move(engine)), running_(std::move(running)) {}
  ~StartedWork() override {
    if (!running_->done) engine_->withdraw(*running_);
  }
  bool test() override { return engine_->test(*running_); }
  void wait() override { engine_->wait(*running_); }

 private:
  std::shared_ptr<ProgressEngine> engine_;
  std::shared_ptr<ProgressEngine::Running> running_;
};

}  // namespace

Channel ProgressEngine::channel(const std::shared_ptr<const Scope>& scope, std::int64_t sequence) {
  const int turn = sequence < 0 ? 0 : 1 + static_cast<int>(sequence % kCollectiveTags);
  return {transport_.get(),
          &stream_,
          scope,
          1 + scope->block * kTagsPerScope + turn,
          options_.message_bytes,
          options_.piece_bytes};
}

Work ProgressEngine::start(std::shared_ptr<const Scope> scope, Call call, std::int64_t sequence,
                           Operation operation) {
  const auto oldest = std::find_if(active_.begin(), active_.end(), [&](const auto& other) {
    return other->scope == scope && other->sequence >= 0;
  });
  HALO_REQUIRE(
      sequence < 0 || oldest == active_.end() || sequence - (*oldest)->sequence < kCollectiveTags,
      str(to_string(call), ": the call ", kCollectiveTags,
          " before it is unfinished; wait for operations sooner"));
  auto running = std::make_shared<Running>();
  running->scope = std::move(scope);
  running->call = call;
  running->sequence = sequence;
  running->record = log_.recorder.begin(std::move(call));
  running->begin = steady_seconds();
  running->profiled.start([&] { return str(running->call.op, ' ', running->call.communicator); });
  running->operation = std::make_unique<Operation>(std::move(operation));
  const bool alive = std::none_of(running->scope->lineage.begin(), running->scope->lineage.end(),
                                  [&](int id) { return failed_.contains(id); });
  if (alive && !step(*running)) active_.push_back(running);
  if (running->done) {
    // Who comes last to a call need not wait, and is watched all the same.
    if (running->call.communicator != kControlCommunicator) pass_point({"collective"});
    return Work();
  }
  return Work(std::make_unique<StartedWork>(shared_from_this(), std::move(running)));
}

bool ProgressEngine::step(Running& running) {
  try {
    if (!running.operation->ready()) return false;
    running.done = true;
  } catch (const PeerFailed& failure) {
    transport_->note_failure(/*peer_lost=*/false);
    fail(*running.scope, running.scope->world_rank(failure.rank),
         str(to_string(running.call), ": rank ", failure.rank, ": ", failure.what()));
  } catch (...) {
    running.failure = std::current_exception();
  }
  running.operation.reset();
  running.profiled.end();
  const bool observed = running.call.communicator != kControlCommunicator;
  if (running.done && log_.observer != nullptr && observed) {
    const double end = steady_seconds();
    const double waited = running.wait_begin < 0 ? 0 : end - running.wait_begin;
    log_.observer->on_call({running.call, running.begin, end, waited});
  }
  log_.recorder.finish(
      running.record, running.done ? FlightRecorder::State::kDone : FlightRecorder::State::kFailed);
  return true;
}

void ProgressEngine::progress() {
  std::erase_if(active_, [this](const auto& running) { return step(*running); });
}

bool ProgressEngine::test(Running& running) {
  progress();
  if (running.done) return true;
  poll_abort();
  require_alive(running);
  return false;
}

void ProgressEngine::wait(Running& running) {
  const auto begin = Clock::now();
  running.wait_begin = steady_seconds();
  pass_point({"collective"});
  const NotedWait noted(log_.recorder, running.record);
  for (;;) {
    transport_->watch();
    progress();
    if (running.done) return;
    poll_abort();
    require_alive(running);
    if (Clock::now() - begin > options_.deadline) miss_deadline(running);
    transport_->pause(begin);
  }
}

void ProgressEngine::check(const Scope& scope) {
  progress();
  poll_abort();
  require_alive(scope);
}

void ProgressEngine::withdraw(Running& running) noexcept {
  std::erase_if(active_, [&](const auto& other) { return other.get() == &running; });
  if (running.operation == nullptr) return;
  running.operation.reset();
  log_.recorder.finish(running.record, FlightRecorder::State::kFailed);
  try {
    fail(*running.scope, transport_->rank(),
         str(to_string(running.call), ": given up before it was done"));
  } catch (const std::exception& failure) {
    LOG(ERROR) << "withdrawing an operation: " << failure.what();
  }
}

void ProgressEngine::abort(const Scope& scope, const std::string& reason) {
  fail(scope, transport_->rank(), reason);
  for (const int member : scope.members) {
    if (member != transport_->rank()) {
      transport_->send_abort(member, {transport_->rank(), scope.id, reason});
    }
  }
}

int ProgressEngine::tag_blocks(const Transport& transport, const CommunicatorOptions& options) {
  const int blocks = std::min(transport.max_tag(), options.max_tag) / kTagsPerScope;
  HALO_REQUIRE(blocks > 1, str("tags up to ", std::min(transport.max_tag(), options.max_tag),
                               " are too few for communicators of ", kTagsPerScope, " each"));
  return blocks;
}

void ProgressEngine::forget(const Scope& scope) {
  scopes_.remove(scope, [this](int id) { return failed_.contains(id); });
}

void ProgressEngine::poll_abort() {
  while (const auto notice = transport_->poll_abort()) {
    failed_.emplace(notice->scope,
                    Failure{notice->origin, str("a peer aborted: ", notice->reason)});
  }
}

void ProgressEngine::require_alive(const Running& running) const {
  if (running.failure) std::rethrow_exception(running.failure);
  require_alive(*running.scope);
}

void ProgressEngine::require_alive(const Scope& scope) const {
  for (const int id : scope.lineage) {
    const auto found = failed_.find(id);
    if (found == failed_.end()) continue;
    const int rank = scope.member_of_world_rank(found->second.world_rank);
    throw PeerFailed(rank, found->second.reason);
  }
}

void ProgressEngine::fail(const Scope& scope, int world_rank, const std::string& reason) {
  failed_.emplace(scope.id, Failure{world_rank, reason});
}

void ProgressEngine::miss_deadline(const Running& running) {
  transport_->note_failure(/*peer_lost=*/true);
  const int peer = running.operation == nullptr ? -1 : running.operation->peer();
  const auto seconds = std::chrono::duration<double>(options_.deadline).count();
  const std::string reason = str(to_string(running.call), ": rank ", peer, " of ",
                                 running.scope->size(), " did not answer within ", seconds, " s");
  fail(*running.scope, peer < 0 ? -1 : running.scope->world_rank(peer), reason);
  throw PeerFailed(peer, reason);
}

}  // namespace halo::comm
