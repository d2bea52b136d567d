#pragma once
#include <memory>
#include <string>

#include "launch/monitor/access.h"
#include "launch/monitor/status_board.h"

namespace halo::launch {

/// Limits that keep a run unharmed by whoever can reach its monitor. One request a connection.
struct MonitorLimits {
  std::size_t connections =
      64;  // beyond these the oldest is closed, so that a new one is always served
  std::size_t header_bytes = 8192;  // of a request with its target; a body is refused
  double request_seconds = 5;       // to send a request
  double response_seconds = 5;      // to take an answer
};

/// Serves a run's status over HTTP from a thread of its own, which yields to all others. It reads the board and files,
/// takes no part in MPI or a collective, and whatever fails in it is logged and ends no run.
class MonitorServer {
 public:
  /// Listens, and answers from now on. Throws InputError where the address cannot be listened on (a port in use), or
  /// needs a token and there is none. `board` must outlive this.
  MonitorServer(const StatusBoard& board, const MonitorAddress& address, const std::string& token,
                const MonitorLimits& limits = {});
  MonitorServer(const MonitorServer&) = delete;
  MonitorServer& operator=(const MonitorServer&) = delete;
  /// Ends at once, with open connections.
  ~MonitorServer();

  [[nodiscard]] std::uint16_t port() const;
  /// "http://127.0.0.1:8080/", without the token.
  [[nodiscard]] std::string url() const;
  /// After the board has been told of the run's end: where a page is open, waits up to three seconds until it has seen
  /// it.
  void show_end() const;

 private:
  class Body;
  std::unique_ptr<Body> body_;
};

}  // namespace halo::launch
