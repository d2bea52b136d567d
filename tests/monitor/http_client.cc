#include "tests/monitor/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "core/base/error.h"

namespace halo::test {

Connection::Connection(std::uint16_t port)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return;
  ::close(socket_);
  throw Error(str("nobody listens on port ", port));
}

Connection::~Connection() { ::close(socket_); }

bool Connection::send(const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

void Connection::finish_sending() { ::shutdown(socket_, SHUT_WR); }

std::string Connection::receive(double seconds) {
  std::string text;
  std::array<char, 4096> piece{};
  for (;;) {
    pollfd waiting{socket_, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(1000 * seconds)) <= 0) return text;
    const ssize_t n = ::recv(socket_, piece.data(), piece.size(), 0);
    if (n <= 0) {
      closed_ = true;
      return text;
    }
    text.append(piece.data(), static_cast<std::size_t>(n));
  }
}

HttpAnswer parse_answer(const std::string& text) {
  HttpAnswer answer;
  const std::size_t end = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.1 ") || end == std::string::npos) return answer;
  answer.status = std::atoi(text.c_str() + 9);
  answer.head = text.substr(0, end + 2);
  answer.body = text.substr(end + 4);
  return answer;
}

std::string HttpAnswer::header(const std::string& name) const {
  const std::string line = "\r\n" + name + ": ";
  const std::size_t at = head.find(line);
  if (at == std::string::npos) return "";
  const std::size_t begin = at + line.size();
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

HttpAnswer ask(std::uint16_t port, const std::string& bytes) {
  Connection connection(port);
  connection.send(bytes);
  return parse_answer(connection.receive());
}

HttpAnswer get(std::uint16_t port, const std::string& target, const std::string& headers) {
  return ask(port, "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n");
}

}  // namespace halo::test
