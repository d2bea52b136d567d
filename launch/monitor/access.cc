#include "launch/monitor/access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/sha256.h"

namespace halo::launch {
namespace {

constexpr const char* kTokenVariable = "HALO_MONITOR_TOKEN";
constexpr std::size_t kShortestToken = 16;
constexpr std::size_t kLongestToken = 256;

[[noreturn]] void refuse_address(const std::string& text, std::string_view reason) {
  throw InputError(str("--monitor ", text, ": ", reason,
                       ": give PORT or IP:PORT, such as 8080, 127.0.0.1:8080 or [::1]:8080"));
}

bool is_port(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size();
}

/// Whether `host` is an IP address, and whether one of this host alone.
bool read_ip(const std::string& host, bool& loopback) {
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    loopback = (ntohl(v4.s_addr) >> 24) == 127;
    return true;
  }
  if (::inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  loopback = IN6_IS_ADDR_LOOPBACK(&v6);
  return true;
}

/// In a time that does not tell where they differ; of hashes, which have one length.
bool equal_hashes(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, {}, [](unsigned char c) { return std::tolower(c); },
      [](unsigned char c) { return std::tolower(c); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_token_character(unsigned char c) {
  return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~';
}

}  // namespace

MonitorAddress parse_monitor_address(const std::string& text) {
  MonitorAddress address;
  const std::size_t colon = text.rfind(':');
  const std::string port = colon == std::string::npos ? text : text.substr(colon + 1);
  std::string host = colon == std::string::npos ? "" : text.substr(0, colon);
  if (!is_port(port, address.port))
    refuse_address(text, str("the port \"", port, "\" is no number from 0 to 65535"));
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() && !bracketed) return address;
  if (host == "localhost") host = "127.0.0.1";
  if (!read_ip(host, address.loopback) || bracketed != (host.find(':') != std::string::npos))
    refuse_address(text, str('"', host, "\" is no IP address"));
  address.host = host;
  return address;
}

std::string read_monitor_token(const std::string& file) {
  const char* variable = std::getenv(kTokenVariable);
  if (file.empty() && variable == nullptr) return "";
  std::string token = file.empty() ? variable : read_file(file);
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  const std::string place = file.empty() ? kTokenVariable : file;
  HALO_REQUIRE_INPUT(
      token.size() >= kShortestToken && token.size() <= kLongestToken,
      str(place, ": the monitor's token has ", token.size(), " characters: ", kShortestToken,
          " to ", kLongestToken, " are needed, as from `openssl rand -hex 32`"));
  HALO_REQUIRE_INPUT(
      std::ranges::all_of(token, is_token_character),
      str(place, ": the monitor's token may hold A-Z a-z 0-9 - . _ ~ and nothing else"));
  return token;
}

Access::Access(MonitorAddress address, std::string_view token) : address_(std::move(address)) {
  HALO_REQUIRE_INPUT(
      address_.loopback || !token.empty(),
      str("--monitor ", address_.host, ':', address_.port,
          ": other hosts can reach this address, so a token is needed: give --monitor_token_file "
          "FILE or set ",
          kTokenVariable, ", or listen on 127.0.0.1 and come through ssh -L"));
  if (token.empty()) return;
  token_hash_ = sha256_hex(token);
  cookie_name_ = str("halo_monitor_", address_.port);
  cookie_value_ = sha256_hex(str("halo monitor cookie ", token));
}

bool Access::may_name_host(std::string_view host) const {
  if (host.empty()) return false;
  if (!address_.loopback) return true;
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::uint16_t port = 0;
  if (colon != std::string_view::npos && !is_port(host.substr(colon + 1), port)) return false;
  const std::string_view name = host.substr(0, colon);
  return equal_ignoring_case(name, "localhost") || name == "127.0.0.1" || name == "[::1]" ||
         name == address_.host;
}

bool Access::is_token(std::string_view candidate) const {
  return needs_token() && equal_hashes(sha256_hex(candidate), token_hash_);
}

bool Access::may_read(const Credentials& credentials) const {
  if (!needs_token()) return true;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view given = credentials.authorization;
  if (given.size() > kScheme.size() &&
      equal_ignoring_case(given.substr(0, kScheme.size()), kScheme) &&
      is_token(trimmed(given.substr(kScheme.size()))))
    return true;
  std::string_view cookies = credentials.cookie;
  while (!cookies.empty()) {
    const std::size_t end = std::min(cookies.find(';'), cookies.size());
    const std::string_view cookie = trimmed(cookies.substr(0, end));
    cookies.remove_prefix(std::min(end + 1, cookies.size()));
    const std::size_t equals = cookie.find('=');
    if (equals == std::string_view::npos || cookie.substr(0, equals) != cookie_name_) continue;
    if (equal_hashes(cookie.substr(equals + 1), cookie_value_)) return true;
  }
  return false;
}

std::string Access::login_cookie() const {
  return str(cookie_name_, '=', cookie_value_, "; Path=/; HttpOnly; SameSite=Strict");
}

}  // namespace halo::launch
