#include "core/train/trace.h"

#include <chrono>
#include <nlohmann/json.hpp>

namespace halo::train {
namespace {

using Event = nlohmann::ordered_json;

constexpr int kWorkRow = 0, kWaitingRow = 1;

double microseconds(double seconds) { return seconds * 1e6; }

/// A span of a row where no two overlap.
Event span(int rank, int row, const std::string& name, double begin, double end) {
  return {{"ph", "X"},
          {"pid", rank},
          {"tid", row},
          {"name", name},
          {"ts", microseconds(begin)},
          {"dur", microseconds(end - begin)}};
}

Event name_of(int rank, int row, const char* what, const std::string& name) {
  return {{"ph", "M"}, {"pid", rank}, {"tid", row}, {"name", what}, {"args", {{"name", name}}}};
}

}  // namespace

double Trace::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Trace::on_call(const comm::CallSpan& span) {
  if (span.call.ranks == 1) return;
  AxisTraffic& traffic = traffic_[span.call.communicator];
  traffic.calls += 1;
  traffic.bytes += comm::bytes_sent(span.call);
  traffic.seconds += span.end - span.begin;
  traffic.waited += span.waited;
  if (recording_) calls_.push_back(span);
}

void Trace::add_work(std::string name, double begin, double end) {
  if (recording_) work_.push_back({std::move(name), begin, end});
}

std::map<std::string, AxisTraffic> Trace::take_traffic() { return std::exchange(traffic_, {}); }

void Trace::record() {
  recording_ = true;
  start_ = now();
  work_.clear();
  calls_.clear();
}

std::string Trace::events_json(int rank) const {
  std::string text;
  const auto add = [&text](const Event& event) {
    if (!text.empty()) text += ",\n";
    text += event.dump();
  };
  add(name_of(rank, 0, "process_name", "rank " + std::to_string(rank)));
  add(name_of(rank, kWorkRow, "thread_name", "work"));
  add(name_of(rank, kWaitingRow, "thread_name", "waiting"));
  for (const Work& work : work_)
    add(span(rank, kWorkRow, work.name, work.begin - start_, work.end - start_));
  int id = 0;
  for (const comm::CallSpan& each : calls_) {
    const comm::Call& call = each.call;
    const std::string name = std::string(call.op) + ' ' + call.communicator;
    if (each.waited > 0)
      add(span(rank, kWaitingRow, name, each.end - each.waited - start_, each.end - start_));
    // Calls of one communicator may overlap, so they are asynchronous events.
    const std::string key = std::to_string(rank) + '.' + std::to_string(id++);
    Event event{{"ph", "b"},
                {"cat", call.communicator},
                {"id", key},
                {"pid", rank},
                {"tid", 0},
                {"name", name},
                {"ts", microseconds(each.begin - start_)},
                {"args", {{"bytes", call.bytes}, {"to", call.to}, {"from", call.from}}}};
    add(event);
    event["ph"] = "e";
    event["ts"] = microseconds(each.end - start_);
    event.erase("args");
    add(event);
  }
  return text;
}

}  // namespace halo::train
