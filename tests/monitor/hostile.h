#pragma once
#include <cstdint>
#include <list>

#include "tests/monitor/http_client.h"

namespace halo::test {

/// Clients that mean harm: oversized, malformed and slow requests, wrong methods, tokens and hosts, and connections that
/// say nothing, by turns.
class HostileClients {
 public:
  explicit HostileClients(std::uint16_t port) : port_(port) {}

  /// The next one. Those that are slow stay open, the oldest of 200 make room.
  void attack();
  /// Connections that are open on this side.
  [[nodiscard]] std::size_t held() const { return held_.size(); }

 private:
  std::uint16_t port_;
  int count_ = 0;
  std::list<Connection> held_;
};

}  // namespace halo::test
