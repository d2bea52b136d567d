#pragma once
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/health/address.h"
#include "launch/health/heartbeat_server.h"
#include "launch/monitor/monitor_server.h"
#include "launch/monitor/status_board.h"

namespace halo::launch {

struct MonitorOptions {
  std::string address;     // as parse_monitor_address takes it
  std::string token_file;  // as read_monitor_token takes it
  std::string version;     // of the program
  int ranks = 1;
  bool one_host = true;  // all ranks run on this one
};

/// What `--monitor` asks for, on rank 0: the page, and a server for the ranks' heartbeats, which it shows. That one listens on
/// loopback, or where ranks run on other hosts on all networks, on a port that the system gives.
class Monitor {
 public:
  /// Throws InputError where the page's address cannot be listened on, or needs a token and there is none.
  Monitor(const MonitorOptions& options, const Config& resolved);

  [[nodiscard]] StatusBoard& board() { return board_; }
  [[nodiscard]] std::string url() const { return page_.url(); }
  /// Where ranks send their heartbeats, and the secret that they prove to know.
  [[nodiscard]] const std::vector<Address>& beats_to() const { return beats_to_; }
  [[nodiscard]] const std::string& secret() const { return secret_; }
  /// The run has ended: shows it for a moment where a page is open.
  void end();

 private:
  [[nodiscard]] HeartbeatServerOptions beat_options(bool one_host);

  StatusBoard board_;
  std::string secret_;
  HeartbeatServer beats_;
  std::vector<Address> beats_to_;
  MonitorServer page_;
};

}  // namespace halo::launch
