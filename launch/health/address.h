#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halo::launch {

// What the supervisor passes to the ranks, in the environment.
inline constexpr const char* kSupervisorVariable = "HALO_SUPERVISOR";  // where it listens
inline constexpr const char* kSecretVariable = "HALO_SUPERVISOR_SECRET";
inline constexpr const char* kRestartsVariable = "HALO_RESTARTS";  // starts before this one

/// How often a supervisor has started this run before; 0 without one.
[[nodiscard]] int restarts_before();

/// Where a supervisor listens: an address, no name, so that nobody waits for a name server.
struct Address {
  std::string host;  // "10.0.0.1", "fe80::1"
  std::uint16_t port = 0;
  [[nodiscard]] bool operator==(const Address&) const = default;
};

/// "10.0.0.1:4000,[fd00::1]:4000", to be tried in turn: a host may have networks that not all others reach. Throws
/// InputError.
[[nodiscard]] std::vector<Address> parse_addresses(std::string_view text);
[[nodiscard]] std::string to_string(const std::vector<Address>& addresses);

/// The addresses of this host's networks, loopback's last.
[[nodiscard]] std::vector<std::string> own_addresses();
/// What the system calls this host.
[[nodiscard]] std::string own_host_name();

}  // namespace halo::launch
