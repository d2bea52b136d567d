#include "launch/health/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {
namespace {

Address parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  HALO_REQUIRE_INPUT(colon != std::string::npos && colon > 0, str(text, ": expected ADDRESS:PORT"));
  Address address{text.substr(0, colon), 0};
  if (address.host.front() == '[' && address.host.back() == ']')
    address.host = address.host.substr(1, address.host.size() - 2);
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  const bool is_address = ::inet_pton(AF_INET, address.host.c_str(), bytes.data()) == 1 ||
                          ::inet_pton(AF_INET6, address.host.c_str(), bytes.data()) == 1;
  HALO_REQUIRE_INPUT(is_address && error == std::errc() && stop == end && address.port != 0,
                     str(text, ": expected ADDRESS:PORT, as 10.0.0.1:4000"));
  return address;
}

std::string text_of(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET)
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  else
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  const char* const written = ::inet_ntop(address->sa_family, bytes, text.data(), text.size());
  return written == nullptr ? "" : written;
}

/// Of a link alone: useless without the link's number, which differs between hosts.
bool is_link_local(const sockaddr* address) {
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

}  // namespace

int restarts_before() {
  const char* const restarts = std::getenv(kRestartsVariable);
  return restarts == nullptr ? 0 : std::max(0, std::atoi(restarts));
}

std::vector<Address> parse_addresses(std::string_view text) {
  std::vector<Address> addresses;
  for (const std::string& part : split(text, ',')) addresses.push_back(parse_address(part));
  return addresses;
}

std::string to_string(const std::vector<Address>& addresses) {
  std::string text;
  for (const Address& address : addresses) {
    const bool v6 = address.host.find(':') != std::string::npos;
    if (!text.empty()) text += ',';
    text += str(v6 ? "[" : "", address.host, v6 ? "]:" : ":", address.port);
  }
  return text;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> networks, loopback;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {"127.0.0.1"};
  for (const ifaddrs* i = all; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0) continue;
    const int family = i->ifa_addr->sa_family;
    if ((family != AF_INET && family != AF_INET6) || is_link_local(i->ifa_addr)) continue;
    const std::string text = text_of(i->ifa_addr);
    if (!text.empty()) ((i->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : networks).push_back(text);
  }
  ::freeifaddrs(all);
  networks.insert(networks.end(), loopback.begin(), loopback.end());
  return networks;
}

std::string own_host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace halo::launch
