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

  /// Returns the call's number, counted from 0; -1 for one that is not recorded.
  std::int64_t begin(Call call);
  /// Does nothing for a call that is not in the ring.
  void finish(std::int64_t number, State state);
  /// The rank does nothing but wait for the call; -1: for none any more.
  void wait_for(std::int64_t number);
  /// A line each, oldest first: "#17 all_reduce data 4096 bytes step 3 micro-batch 1: waiting". The last `calls` of them.
  [[nodiscard]] std::string text(std::size_t calls = kCalls) const;
  /// What a rank that seems to hang is asked.
  struct Now {
    std::int64_t begun = 0;  // calls so far
    std::string waits_for;   // the call that it does nothing but wait for; empty: none
    std::string unfinished;  // its oldest call that has not ended; empty: none
  };
  [[nodiscard]] Now now() const;

 private:
  struct Entry {
    Call call;
    State state = State::kWaiting;
  };
  [[nodiscard]] std::int64_t oldest(std::size_t calls) const;
  [[nodiscard]] static std::size_t slot(std::int64_t number) {
    return static_cast<std::size_t>(number) % kCalls;
  }

  mutable std::mutex mutex_;
  std::array<Entry, kCalls> ring_;
  std::int64_t next_ = 0;
  std::int64_t waits_for_ = -1;
};

/// What the communicators of one origin share.
struct CallLog {
  FlightRecorder recorder;
  CallObserver* observer = nullptr;
  CallContext context;
};

}  // namespace halo::comm
