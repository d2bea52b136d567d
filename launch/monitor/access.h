#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace halo::launch {

/// Where the monitor listens.
struct MonitorAddress {
  std::string host = "127.0.0.1";  // an IP address
  std::uint16_t port = 0;          // 0: the system picks a free one
  bool loopback = true;            // only this host can reach it
};
/// "8080", ":8080", "127.0.0.1:8080", "localhost:8080", "[::1]:8080", "0.0.0.0:8080". Throws InputError for what is none.
[[nodiscard]] MonitorAddress parse_monitor_address(const std::string& text);

/// The token of the file, or where that is "" of the environment's HALO_MONITOR_TOKEN; "" where neither is given. Throws
/// InputError, without the token, for one that is shorter than 16 characters or holds others than A-Z a-z 0-9 - . _ ~.
[[nodiscard]] std::string read_monitor_token(const std::string& file);

/// What decides whether a request is answered, as the client wrote it; "" where a header is missing.
struct Credentials {
  std::string_view host;           // the Host header
  std::string_view authorization;  // "Bearer TOKEN"
  std::string_view cookie;         // "a=b; c=d"
};

/// Who may ask a monitor at one address. Pure: no sockets.
class Access {
 public:
  /// Throws InputError where the address is no loopback address and there is no token.
  Access(MonitorAddress address, std::string_view token);

  /// On loopback only requests to a loopback name are answered: a page of another site whose name was made to point here
  /// (DNS rebinding) names its own.
  [[nodiscard]] bool may_name_host(std::string_view host) const;
  /// Whether the request holds the token or the cookie that a login left; always where no token is needed.
  [[nodiscard]] bool may_read(const Credentials& credentials) const;
  [[nodiscard]] bool is_token(std::string_view candidate) const;
  [[nodiscard]] bool needs_token() const { return !token_hash_.empty(); }
  /// Set-Cookie of a login: made from the token, which it does not hold.
  [[nodiscard]] std::string login_cookie() const;

 private:
  MonitorAddress address_;
  std::string token_hash_;   // empty: no token is needed
  std::string cookie_name_;  // cookies of one host are shared by its ports
  std::string cookie_value_;
};

}  // namespace halo::launch
