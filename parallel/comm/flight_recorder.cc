#include "parallel/comm/flight_recorder.h"

#include <algorithm>
#include <sstream>
#include <utility>

namespace halo::comm {

std::int64_t FlightRecorder::begin(Call call) {
  if (call.communicator == kControlCommunicator) return -1;
  const std::lock_guard lock(mutex_);
  ring_[slot(next_)] = {std::move(call), State::kWaiting};
  return next_++;
}

void FlightRecorder::finish(std::int64_t number, State state) {
  const std::lock_guard lock(mutex_);
  if (number >= 0 && number + static_cast<std::int64_t>(kCalls) >= next_) ring_[slot(number)].state = state;
}

void FlightRecorder::wait_for(std::int64_t number) {
  const std::lock_guard lock(mutex_);
  waits_for_ = number;
}

std::int64_t FlightRecorder::oldest(std::size_t calls) const {
  return std::max<std::int64_t>(0, next_ - static_cast<std::int64_t>(std::min(calls, kCalls)));
}

FlightRecorder::Now FlightRecorder::now() const {
  const std::lock_guard lock(mutex_);
  Now now;
  now.begun = next_;
  const std::int64_t first = oldest(kCalls);
  if (waits_for_ >= first) now.waits_for = to_string(ring_[slot(waits_for_)].call);
  for (std::int64_t i = first; i < next_ && now.unfinished.empty(); ++i) {
    const Entry& entry = ring_[slot(i)];
    if (entry.state == State::kWaiting) now.unfinished = to_string(entry.call);
  }
  return now;
}

std::string FlightRecorder::text(std::size_t calls) const {
  constexpr std::array<std::string_view, 3> kNames{"waiting", "done", "failed"};
  const std::lock_guard lock(mutex_);
  std::ostringstream text;
  for (std::int64_t i = oldest(calls); i < next_; ++i) {
    const Entry& entry = ring_[slot(i)];
    text << '#' << i << ' ' << to_string(entry.call) << ": "
         << kNames[static_cast<std::size_t>(entry.state)] << '\n';
  }
  return text.str();
}

}  // namespace halo::comm
