#include "launch/monitor/monitor.h"

#include "core/base/clock.h"
#include "launch/health/proof.h"
#include "launch/monitor/describe_run.h"

namespace halo::launch {
namespace {

constexpr std::size_t kSecretDigits = 64;  // 256 bits

std::vector<Address> addresses_of(std::uint16_t port, bool one_host) {
  if (one_host) return {{"127.0.0.1", port}};
  std::vector<Address> all;
  for (const std::string& host : own_addresses()) all.push_back({host, port});
  return all;
}

}  // namespace

Monitor::Monitor(const MonitorOptions& options, const Config& resolved)
    : board_(describe_run(resolved, options.ranks, options.version, steady_seconds())),
      secret_(random_hex(kSecretDigits)),
      beats_(beat_options(options.one_host)),
      beats_to_(addresses_of(beats_.port(), options.one_host)),
      page_(board_, parse_monitor_address(options.address),
            read_monitor_token(options.token_file)) {}

HeartbeatServerOptions Monitor::beat_options(bool one_host) {
  allow_many_connections();
  HeartbeatServerOptions options;
  options.loopback = one_host;
  options.secret = secret_;
  options.on_beat = [this](const SeenBeat& seen) { board_.beat(seen.beat, seen.at, seen.gone_at); };
  return options;
}

void Monitor::end() {
  board_.ended(steady_seconds());
  page_.show_end();
}

}  // namespace halo::launch
