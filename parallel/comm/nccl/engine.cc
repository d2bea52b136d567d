#include "parallel/comm/nccl/engine.h"

#include <glog/logging.h>

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "core/base/clock.h"
#include "core/base/profiler_range.h"

namespace halo::comm {
namespace {

constexpr double kLookEvery =
    3e-4;  // seconds: messages of the host and NCCL's errors cost some to look for

class NcclWork final : public Work::State {
 public:
  NcclWork(std::shared_ptr<NcclEngine> engine, std::shared_ptr<NcclEngine::Running> running)
      : engine_(std::move(engine)), running_(std::move(running)) {}
  ~NcclWork() override {
    if (!running_->waited && !running_->over) engine_->withdraw(*running_);
  }
  bool test() override { return engine_->test(*running_); }
  void wait() override { engine_->wait(*running_); }

 private:
  std::shared_ptr<NcclEngine> engine_;
  std::shared_ptr<NcclEngine::Running> running_;
};

bool has_ended(const NcclEngine::Running& running) {
  return std::ranges::all_of(running.ends, [](const CudaEvent& end) { return end.passed(); });
}

}  // namespace

NcclEngine::NcclEngine(Stream& gpu, CallLog& log, std::chrono::milliseconds deadline)
    : gpu_(gpu),
      log_(log),
      deadline_(std::chrono::duration<double>(deadline).count()),
      probe_(Tensor::zeros(gpu, {2}, DType::kUint8)),
      anchor_(events_.record(stream())) {
  gpu.synchronize();
  anchor_time_ = steady_seconds();
  gpu.queue().watch([this] { watch(); });
}

NcclEngine::~NcclEngine() {
  try {
    if (std::uncaught_exceptions() > 0) {  // peers may be waiting for this rank to tell them
      for (const auto& group : groups()) fail(*group, group->rank(), "this rank failed");
      end_failed_calls();
    }
    for (const auto& running : active_) running->waited = true;
    while (!active_.empty()) {
      look_after_all(/*now=*/false);
      std::this_thread::yield();
    }
  } catch (const std::exception& failure) {
    LOG(ERROR) << "ending calls between GPUs: " << failure.what();
  }
  gpu_.queue().watch(nullptr);
}

std::shared_ptr<NcclGroup> NcclEngine::make_group(Communicator& host) {
  auto group = std::make_shared<NcclGroup>(host, nullptr, next_group_++, probe_.view(), ends_);
  groups_.push_back(group);
  return group;
}

std::shared_ptr<NcclGroup> NcclEngine::make_group(std::unique_ptr<Communicator> host,
                                                  const NcclGroup& parent) {
  auto group =
      std::make_shared<NcclGroup>(std::move(host), &parent, next_group_++, probe_.view(), ends_);
  groups_.push_back(group);
  return group;
}

Work NcclEngine::start(std::shared_ptr<NcclGroup> group, Call call,
                       const std::vector<Part>& parts) {
  check(*group);
  const ProfilerRange range([&] { return str(call.op, ' ', call.communicator); });
  auto running = std::make_shared<Running>();
  running->group = std::move(group);
  running->call = call;
  running->record = log_.recorder.begin(std::move(call));
  running->ready = events_.record(stream());
  std::vector<NcclLink*> links;
  try {
    for (const Part& part : parts) {
      if (std::ranges::find(links, part.link) == links.end()) {
        running->ready.hold(part.link->stream());
        links.push_back(part.link);
      }
      part.issue(*part.link);
    }
  } catch (const Error& failure) {
    log_.recorder.finish(running->record, FlightRecorder::State::kFailed);
    abort(*running->group, str(to_string(running->call), ": ", failure.what()));
    throw;
  }
  for (const NcclLink* link : links) running->ends.push_back(events_.record(link->stream()));
  active_.push_back(running);
  return Work(std::make_unique<NcclWork>(shared_from_this(), std::move(running)));
}

bool NcclEngine::test(Running& running) {
  look_after_all(/*now=*/false);
  if (running.over && !running.group->failure) return true;
  check(*running.group);
  return has_ended(running);
}

void NcclEngine::wait(Running& running) {
  look_after_all(/*now=*/false);
  if (running.over && !running.group->failure) return;
  check(*running.group);
  running.waited = true;
  if (log_.observer != nullptr) running.reached = events_.record(stream());
  for (const CudaEvent& end : running.ends) end.hold(stream());
}

void NcclEngine::withdraw(Running& running) noexcept {
  try {
    if (has_ended(running)) return;
    fail(*running.group, running.group->rank(),
         str(to_string(running.call), ": given up before it was done"));
    end_failed_calls();
    unheard_.reset();  // whoever gives up knows
  } catch (const std::exception& failure) {
    LOG(ERROR) << "withdrawing an operation: " << failure.what();
  }
}

void NcclEngine::check(const NcclGroup& group) {
  look_after_all(/*now=*/false);
  if (!group.failure) return;
  unheard_.reset();
  raise(*group.failure);
}

void NcclEngine::abort(NcclGroup& group, const std::string& reason) noexcept {
  group.host().abort(reason);
  try {
    look_after_all(/*now=*/true);
    unheard_.reset();  // whoever aborts knows
  } catch (const std::exception& failure) {
    LOG(ERROR) << "ending calls between GPUs: " << failure.what();
  }
}

void NcclEngine::watch() {
  look_after_all(/*now=*/false);
  if (unheard_) raise(*std::exchange(unheard_, std::nullopt));
}

void NcclEngine::look_after_all(bool now) {
  const double time = steady_seconds();
  if (!now && time - looked_ < kLookEvery) return;
  looked_ = time;
  retire();
  find_failures();
  find_late_calls();
  end_failed_calls();
}

void NcclEngine::find_failures() {
  for (const auto& group : groups()) {
    if (group->failure) continue;
    if (const std::string reason = group->error(); !reason.empty()) {
      fail(*group, -1, reason);
      group->host().abort(reason);
    }
    try {
      group->host().check();
    } catch (const PeerFailed& failure) {
      if (!group->failure) group->failure = {failure.rank, failure.what()};
    }
  }
}

void NcclEngine::find_late_calls() {
  const double now = steady_seconds();
  for (const auto& running : active_) {
    if (!running->waited || running->group->failure) continue;
    if (running->since < 0 && running->ready.passed()) running->since = now;
    if (running->since < 0 || now - running->since < deadline_) continue;
    const std::string reason = str(to_string(running->call), ": not every rank of ",
                                   running->group->size(), " answered within ", deadline_, " s");
    fail(*running->group, -1, reason);
    running->group->host().abort(reason);
  }
}

void NcclEngine::retire() {
  std::erase_if(active_, [this](const auto& running) {
    if (running->group->failure || !has_ended(*running)) return false;
    finish(*running, /*done=*/true);
    return true;
  });
}

void NcclEngine::finish(Running& running, bool done) {
  running.over = true;
  log_.recorder.finish(running.record,
                       done ? FlightRecorder::State::kDone : FlightRecorder::State::kFailed);
  if (done && log_.observer != nullptr) report(running);
  if (done && !running.ends.empty()) move_anchor(running.ends.front());
  events_.give_back(std::move(running.ready));
  events_.give_back(std::move(running.reached));
  for (CudaEvent& end : running.ends) events_.give_back(std::move(end));
  running.ends.clear();
}

/// Times are the device's: from when the rank's stream came to the call to its end. The stream waited from when it came to
/// the wait.
void NcclEngine::report(const Running& running) {
  double end = anchor_time_;
  for (const CudaEvent& each : running.ends)
    end = std::max(end, anchor_time_ + each.seconds_since(anchor_));
  const double begin = anchor_time_ + running.ready.seconds_since(anchor_);
  double waited = 0;
  if (running.reached && running.reached.passed())
    waited =
        std::max(0.0, end - std::max(begin, anchor_time_ + running.reached.seconds_since(anchor_)));
  log_.observer->on_call({running.call, begin, std::max(begin, end), waited});
}

/// Times are counted in float32 from the anchor, which is therefore kept near. `end` becomes the old one.
void NcclEngine::move_anchor(CudaEvent& end) {
  const double seconds = end.seconds_since(anchor_);
  if (seconds < 1) return;
  anchor_time_ += seconds;
  std::swap(anchor_, end);
}

void NcclEngine::fail(const NcclGroup& group, int rank, const std::string& reason) {
  for (const auto& other : groups()) {
    if (other->comes_of(group) && !other->failure)
      other->failure = {other.get() == &group ? rank : -1, reason};
  }
}

/// Links are aborted side by side: one may have to wait for another's to end, through the rank's stream.
void NcclEngine::end_failed_calls() {
  std::vector<std::jthread> aborts;
  for (const auto& group : groups()) {
    if (!group->failure) continue;
    for (NcclLink* link : group->links())
      if (link->comm() != nullptr) aborts.emplace_back([link] { link->abort(); });
  }
  aborts.clear();  // joins
  std::erase_if(active_, [this](const auto& running) {
    if (!running->group->failure) return false;
    unheard_ = running->group->failure;
    finish(*running, /*done=*/false);
    return true;
  });
}

void NcclEngine::raise(const NcclGroup::Failure& failure) {
  throw PeerFailed(failure.rank, failure.reason);
}

std::vector<std::shared_ptr<NcclGroup>> NcclEngine::groups() {
  std::vector<std::shared_ptr<NcclGroup>> alive;
  std::erase_if(groups_, [&](const auto& weak) {
    auto group = weak.lock();
    if (group == nullptr) return true;
    alive.push_back(std::move(group));
    return false;
  });
  return alive;
}

}  // namespace halo::comm
