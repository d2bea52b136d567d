#pragma once
#include <atomic>
#include <cstdint>
#include <string_view>

namespace halo {

/// A place in the program that a process has come to, for whoever watches it from outside: a supervisor, a drill.
struct ProgressPoint {
  std::string_view name;      // a literal: "loading", "forward", "optimizer", ...
  std::int64_t step = -1;     // the training step, counted from 0; -1: the one before holds
  std::string_view job = {};  // its name; empty: the one before holds
  double own_seconds = -1;    // that a step took without waiting for other ranks; -1: not known
};

/// Is told of each point, by the thread that passes it: mostly the training thread, of checkpoints also the one that writes
/// them. May throw, as the place itself may.
class ProgressListener {
 public:
  virtual ~ProgressListener() = default;
  virtual void on_point(const ProgressPoint& point) = 0;
};

namespace detail {
// The process's own, like a signal's handler: a rank that is watched is a process.
inline std::atomic<ProgressListener*> progress_listener = nullptr;
}  // namespace detail

/// Who is told from now on; null: nobody. Must outlive what passes points.
inline void listen_to_points(ProgressListener* listener) {
  detail::progress_listener.store(listener, std::memory_order_release);
}

/// Costs one load when nobody listens.
inline void pass_point(const ProgressPoint& point) {
  ProgressListener* const listener = detail::progress_listener.load(std::memory_order_acquire);
  if (listener != nullptr) listener->on_point(point);
}

}  // namespace halo
