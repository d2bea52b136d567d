#include "tests/monitor/hostile.h"

#include <gtest/gtest.h>

#include <string>

namespace halo::test {
namespace {

constexpr std::size_t kMostHeld = 200;

struct Attack {
  std::string bytes;
  bool stays = false;  // open, without the rest of its request
};

const Attack& attack_number(int i) {
  static const std::string host = "Host: localhost\r\n";
  static const Attack attacks[] = {
      {"", true},
      {"GET / HTTP/1.1\r\nHo", true},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 99999999\r\n\r\n", true},
      {"GET / HTTP/1.1\r\n" + host + "X: " + std::string(50000, 'y') + "\r\n\r\n"},
      {"GET /" + std::string(50000, 'z') + " HTTP/1.1\r\n\r\n"},
      {"POST /api/status HTTP/1.1\r\n" + host + "Content-Length: 50000\r\n\r\n" +
       std::string(50000, 'b')},
      {"GET /api/status HTTP/1.1\r\n" + host +
       "Authorization: Bearer 0123456789abcdef-wrong\r\n\r\n"},
      {"GET /?token=0123456789abcdef-wrong HTTP/1.1\r\n" + host + "\r\n"},
      {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"},
      {"\x16\x03\x01 no HTTP at all \x01\x02\r\n\r\n"},
      {"GET /%00%ff/../../etc/passwd HTTP/1.1\r\n" + host + "\r\n"},
      {"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"}};
  return attacks[static_cast<std::size_t>(i) % std::size(attacks)];
}

}  // namespace

void HostileClients::attack() {
  const Attack& attack = attack_number(count_++);
  Connection& connection = held_.emplace_back(port_);
  connection.send(attack.bytes);
  if (!attack.stays) {
    const int status = parse_answer(connection.receive()).status;
    // None came where the connection was let go for newer ones, or with bytes of its own on the way.
    EXPECT_TRUE(status == 0 || (status >= 400 && status < 500))
        << status << ": " << attack.bytes.substr(0, 60);
    held_.pop_back();
  } else if (held_.size() > kMostHeld) {
    held_.pop_front();
  }
}

}  // namespace halo::test
