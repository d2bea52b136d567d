#pragma once
#include <cstdint>
#include <string>

namespace halo::test {

/// A TCP connection to 127.0.0.1 that says what a test wants, HTTP or not.
class Connection {
 public:
  /// Throws Error when nobody listens.
  explicit Connection(std::uint16_t port);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  /// Returns false when the server has closed.
  bool send(const std::string& bytes);
  /// No more will be sent.
  void finish_sending();
  /// All until the server closes or `seconds` have passed without a byte; then closed() is false.
  std::string receive(double seconds = 20);
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  int socket_ = -1;
  bool closed_ = false;
};

struct HttpAnswer {
  int status = 0;  // 0: none came
  std::string head, body;

  /// The value of a header, "" where it is missing.
  [[nodiscard]] std::string header(const std::string& name) const;
};
[[nodiscard]] HttpAnswer parse_answer(const std::string& text);
/// Sends `bytes` and reads the answer.
[[nodiscard]] HttpAnswer ask(std::uint16_t port, const std::string& bytes);
/// A good GET; `headers` are whole lines, each with its "\r\n".
[[nodiscard]] HttpAnswer get(std::uint16_t port, const std::string& target,
                             const std::string& headers = "");

}  // namespace halo::test
