#include "parallel/comm/flight_recorder.h"

#include <algorithm>
#include <sstream>
#include <utility>

namespace halo::comm {

std::int64_t FlightRecorder::begin(Call call) {
  const std::lock_guard lock(mutex_);
  ring_[slot(next_)] = {std::move(call), State::kWaiting};
  return next_++;
}

void FlightRecorder::finish(std::int64_t number, State state) {
  const std::lock_guard lock(mutex_);
  if (number + static_cast<std::int64_t>(kCalls) >= next_) ring_[slot(number)].state = state;
}

std::string FlightRecorder::text() const {
  constexpr std::array<std::string_view, 3> kNames{"waiting", "done", "failed"};
  const std::lock_guard lock(mutex_);
  std::ostringstream text;
  for (std::int64_t i = std::max<std::int64_t>(0, next_ - static_cast<std::int64_t>(kCalls));
       i < next_; ++i) {
    const Entry& entry = ring_[slot(i)];
    text << '#' << i << ' ' << to_string(entry.call) << ": "
         << kNames[static_cast<std::size_t>(entry.state)] << '\n';
  }
  return text.str();
}

}  // namespace halo::comm
