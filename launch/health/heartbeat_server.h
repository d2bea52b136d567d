#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launch/health/heartbeat.pb.h"

namespace halo::launch {

/// The last beat of a rank.
struct SeenBeat {
  proto::Heartbeat beat;
  double at = 0;       // steady_seconds() when it came
  double gone_at = 0;  // when the connection was lost that it came by; 0: it was not
};

struct HeartbeatServerOptions {
  bool loopback = true;  // or every network of this host
  std::string secret;
  int most_connections = 8192;  // further ones are closed at once
  int most_strangers = 512;     // of them, those that have not proven that they belong to the run
  double seconds_to_prove = 5;  // for a stranger
  double seconds_between_beats =
      120;  // for a rank, after which its connection is closed; so is one that sends half a beat
  /// Is told, by the server's thread, of each beat and of each connection that is lost; must not throw; may be empty.
  std::function<void(const SeenBeat&)> on_beat;
};

/// Lets this process have as many connections as the system allows: each rank keeps one open.
void allow_many_connections();

/// Keeps the last beat of each rank, in a thread of its own. Whoever does not prove to know the secret, and whoever sends
/// what is no beat, is cut off, and nothing of it stays.
class HeartbeatServer {
 public:
  /// Listens on a port that the system gives. Throws Error when it cannot.
  explicit HeartbeatServer(HeartbeatServerOptions options);
  HeartbeatServer(const HeartbeatServer&) = delete;
  HeartbeatServer& operator=(const HeartbeatServer&) = delete;
  ~HeartbeatServer();

  [[nodiscard]] std::uint16_t port() const;
  /// The last beat of each rank that has sent one, by rank.
  [[nodiscard]] std::vector<SeenBeat> latest() const;
  [[nodiscard]] int connections() const;

 private:
  class Body;
  std::unique_ptr<Body> body_;
};

}  // namespace halo::launch
