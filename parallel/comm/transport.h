#pragma once
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace halo::comm {

/// One message under way. Destroying an unfinished request withdraws it, after which its buffer is not touched any
/// more.
class Request {
 public:
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  virtual ~Request() = default;
  /// True once the buffer may be used again (send) or is filled (receive). Throws Error when the message failed or had
  /// another size than the buffer.
  virtual bool test() = 0;
};

/// That `origin` gave up on the communicators of `scope` and all split from them.
struct AbortNotice {
  int origin = 0;  // world rank
  int scope = 0;
  std::string reason;
};

/// Nonblocking messages between one rank and the others of its world: what a communicator needs of threads or of MPI.
/// Messages with one sender, receiver and tag match in the order they were posted. Used by one thread.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;
  [[nodiscard]] virtual int max_tag() const noexcept = 0;  // tags are 1 ... max_tag()

  [[nodiscard]] virtual std::unique_ptr<Request> send(int to, int tag,
                                                      std::span<const std::byte> bytes) = 0;
  [[nodiscard]] virtual std::unique_ptr<Request> receive(int from, int tag,
                                                         std::span<std::byte> bytes) = 0;

  virtual void send_abort(int to, const AbortNotice& notice) = 0;
  [[nodiscard]] virtual std::optional<AbortNotice> poll_abort() = 0;

  /// Lets others run for a little, longer the longer no message has ended since `begin`, but not past an event since
  /// the last watch().
  virtual void watch() = 0;
  virtual void pause(std::chrono::steady_clock::time_point begin) = 0;
  /// Something failed; when a peer may be gone, nothing may be done from now on that needs every rank.
  virtual void note_failure(bool peer_lost) noexcept = 0;
};

}  // namespace halo::comm
