#include "core/train/trace.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/clock.h"

namespace halo::train {
namespace {

using Event = nlohmann::ordered_json;

constexpr int kWorkRow = 0, kWaitingRow = 1, kFirstCallRow = 2;

/// Rows are threads to viewers, whose numbers must differ over all ranks.
int thread_of(int rank, int row) {
  constexpr int kRows = 1000;
  return kRows * (rank + 1) + row;
}

double microseconds(double seconds) { return seconds * 1e6; }

/// A span of a row where no two overlap.
Event span(int rank, int row, const std::string& name, double begin, double end) {
  return {{"ph", "X"},
          {"pid", rank},
          {"tid", thread_of(rank, row)},
          {"name", name},
          {"ts", microseconds(begin)},
          {"dur", microseconds(end - begin)}};
}

Event about(int rank, int row, const char* what, const char* key, const Event& value) {
  return {{"ph", "M"},
          {"pid", rank},
          {"tid", thread_of(rank, row)},
          {"name", what},
          {"args", {{key, value}}}};
}

/// Rows for calls: one a communicator, and more where its calls overlap.
class CallRows {
 public:
  /// The row for a call of [begin, end); calls come by rising begin.
  int place(const std::string& communicator, double begin, double end) {
    std::vector<Row>& rows = rows_[communicator];
    for (Row& row : rows) {
      if (row.end > begin) continue;
      row.end = end;
      return row.index;
    }
    rows.push_back({next_++, end});
    return rows.back().index;
  }
  /// f(row, communicator) for each.
  template <class Function>
  void each(Function&& f) const {
    for (const auto& [communicator, rows] : rows_)
      for (const Row& row : rows) f(row.index, communicator);
  }

 private:
  struct Row {
    int index;
    double end;
  };
  std::map<std::string, std::vector<Row>> rows_;
  int next_ = kFirstCallRow;
};

}  // namespace

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
  start_ = steady_seconds();
  work_.clear();
  calls_.clear();
}

std::string Trace::events_json(int rank) const {
  std::string text;
  const auto add = [&text](const Event& event) {
    if (!text.empty()) text += ",\n";
    text += event.dump();
  };
  int rows_named = 0;
  const auto add_row = [&](int row, const std::string& name) {
    add(about(rank, row, "thread_name", "name", name));
    add(about(rank, row, "thread_sort_index", "sort_index", rows_named++));
  };
  add(about(rank, kWorkRow, "process_name", "name", "rank " + std::to_string(rank)));
  add(about(rank, kWorkRow, "process_sort_index", "sort_index", rank));
  add_row(kWorkRow, "work");
  add_row(kWaitingRow, "waiting");
  for (const Work& work : work_)
    add(span(rank, kWorkRow, work.name, work.begin - start_, work.end - start_));
  std::vector<const comm::CallSpan*> calls;
  for (const comm::CallSpan& each : calls_) calls.push_back(&each);
  std::ranges::stable_sort(calls, {}, &comm::CallSpan::begin);
  CallRows rows;
  for (const comm::CallSpan* each : calls) {
    const comm::Call& call = each->call;
    const std::string name = std::string(call.op) + ' ' + call.communicator;
    if (each->waited > 0)
      add(span(rank, kWaitingRow, name, each->end - each->waited - start_, each->end - start_));
    Event event = span(rank, rows.place(call.communicator, each->begin, each->end), name,
                       each->begin - start_, each->end - start_);
    event["args"] = {{"bytes", call.bytes}, {"to", call.to}, {"from", call.from}};
    add(event);
  }
  rows.each(add_row);
  return text;
}

}  // namespace halo::train
