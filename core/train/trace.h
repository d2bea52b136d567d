#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/profiler_range.h"
#include "parallel/comm/call.h"

namespace halo::train {

/// What a rank sent along one axis, and how long its calls took.
struct AxisTraffic {
  std::int64_t calls = 0;
  double bytes = 0;
  double seconds = 0;  // from each call's beginning to its end
  double waited = 0;   // of them, while the rank did nothing else
};

/// Watches one rank: counts what goes along each axis, and keeps when its passes and calls began and ended while it is
/// told to.
class Trace final : public comm::CallObserver {
 public:
  void on_call(const comm::CallSpan& span) override;
  /// A pass of the pipeline, the optimizer's update, and so on.
  void add_work(std::string name, double begin, double end);

  /// Since it was last taken, by communicator.
  [[nodiscard]] std::map<std::string, AxisTraffic> take_traffic();

  /// Keeps events from now on; times in events_json count from here. All times are steady_seconds().
  void record();
  [[nodiscard]] bool recording() const { return recording_; }
  void stop() { recording_ = false; }
  /// The events that were kept as objects of the Trace Event Format, separated by commas: the rank is the process, its
  /// rows are work, waiting, and the calls of each communicator.
  [[nodiscard]] std::string events_json(int rank) const;
  [[nodiscard]] const std::vector<comm::CallSpan>& calls() const { return calls_; }

 private:
  struct Work {
    std::string name;
    double begin = 0;
    double end = 0;
  };
  bool recording_ = false;
  double start_ = 0;
  std::map<std::string, AxisTraffic> traffic_;
  std::vector<Work> work_;
  std::vector<comm::CallSpan> calls_;
};

/// A stretch of work that lasts as long as this lives: in the trace, unless there is none, and in a profiler.
class TracedWork {
 public:
  TracedWork(Trace* trace, std::string name)
      : trace_(trace),
        name_(std::move(name)),
        begin_(steady_seconds()),
        range_([this] { return name_; }) {}
  TracedWork(const TracedWork&) = delete;
  TracedWork& operator=(const TracedWork&) = delete;
  ~TracedWork() {
    if (trace_ != nullptr) trace_->add_work(std::move(name_), begin_, steady_seconds());
  }

 private:
  Trace* trace_;
  std::string name_;
  double begin_;
  ProfilerRange range_;
};

}  // namespace halo::train
