#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launch/health/address.h"
#include "launch/health/heartbeat.pb.h"

namespace halo::launch {

struct HeartbeatClientOptions {
  std::vector<Address> server;  // to be tried in turn
  std::string secret;
  double every_seconds = 1.0;
  std::function<proto::Heartbeat()> beat;  // called by the client's own thread
};

/// Tells a heartbeat server, a supervisor's or a monitor's, how this rank is, from a thread of its own, so that it does when
/// the training thread hangs. Whatever the server does, the rest of the process does not notice: one that is not there, has
/// gone or takes nothing is tried again at every beat.
class HeartbeatClient {
 public:
  explicit HeartbeatClient(HeartbeatClientOptions options);
  HeartbeatClient(const HeartbeatClient&) = delete;
  HeartbeatClient& operator=(const HeartbeatClient&) = delete;
  /// Sends a last beat if that takes no longer than a moment.
  ~HeartbeatClient();

  /// A client for the supervisor that the environment names; none when it names none, and, with a warning, when it cannot be
  /// read.
  [[nodiscard]] static std::unique_ptr<HeartbeatClient> from_environment(
      std::function<proto::Heartbeat()> beat);

  /// Sends a beat now, and waits for that, but no longer than a moment.
  void send_now();

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace halo::launch
