#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "parallel/comm/call.h"

namespace halo::comm {

/// The last 256 calls of a rank, to be printed when it hangs or dies. Thread-safe.
class FlightRecorder {
 public:
  static constexpr std::size_t kCalls = 256;
  enum class State : std::uint8_t { kWaiting, kDone, kFailed };

  /// Returns the call's number, counted from 0.
  std::int64_t begin(Call call);
  /// Does nothing for a call that has left the ring.
  void finish(std::int64_t number, State state);
  /// A line each, oldest first: "#17 all_reduce data 4096 bytes step 3 micro-batch 1: waiting".
  [[nodiscard]] std::string text() const;

 private:
  struct Entry {
    Call call;
    State state = State::kWaiting;
  };
  [[nodiscard]] static std::size_t slot(std::int64_t number) {
    return static_cast<std::size_t>(number) % kCalls;
  }

  mutable std::mutex mutex_;
  std::array<Entry, kCalls> ring_;
  std::int64_t next_ = 0;
};

/// What the communicators of one origin share.
struct CallLog {
  FlightRecorder recorder;
  CallObserver* observer = nullptr;
  CallContext context;
};

}  // namespace halo::comm
