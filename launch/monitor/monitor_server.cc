#include "launch/monitor/monitor_server.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <csignal>
#include <list>
#include <optional>
#include <thread>
#include <tuple>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/monitor/pages.h"

namespace halo::launch {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kMostDiscarded = 1 << 18;  // bytes that are read after an answer
constexpr double kDiscardSeconds = 1;
constexpr double kPagePeriod = 2;   // seconds between two requests of an open page
constexpr int kMostFailures = 100;  // of the thread, before it gives up
constexpr int kNiceness = 10;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
}

http::response<http::string_body> to_response(const PageAnswer& answer) {
  http::response<http::string_body> response;
  response.version(11);
  response.result(static_cast<unsigned>(answer.status));
  response.set(http::field::content_type, answer.type);
  response.set(http::field::cache_control, "no-store");
  response.set("Content-Security-Policy",
               "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
               "img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'");
  response.set("X-Content-Type-Options", "nosniff");
  response.set("X-Frame-Options", "DENY");
  response.set("Referrer-Policy", "no-referrer");
  response.set("Cross-Origin-Resource-Policy", "same-origin");
  response.set("Cross-Origin-Opener-Policy", "same-origin");
  for (const auto& [name, value] : answer.headers) response.set(name, value);
  response.keep_alive(false);
  response.body() = answer.body;
  response.prepare_payload();
  return response;
}

/// One connection: reads the head of a request, answers it, closes. Lives as long as an operation holds it.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Pages& pages, const MonitorLimits& limits)
      : stream_(std::move(socket)), pages_(pages), limits_(limits), buffer_(limits.header_bytes) {
    parser_.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
  }

  void start() {
    stream_.expires_after(milliseconds(limits_.request_seconds));  // for all of the request
    http::async_read_header(
        stream_, buffer_, parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_request(error); });
  }
  void close() {
    error_code ignored;
    stream_.socket().close(ignored);
  }

 private:
  void on_request(error_code error) {
    if (error && error.category() != http::make_error_code(http::error::bad_method).category())
      return;  // gone, closed or too slow
    if (error == http::error::end_of_stream || error == http::error::partial_message) return;
    send(error ? malformed(error) : answer());
  }
  [[nodiscard]] static PageAnswer malformed(error_code error) {
    if (error == http::error::header_limit || error == http::error::buffer_overflow)
      return refusal(431, "the request's head is too large");
    return refusal(400, "malformed request");
  }
  [[nodiscard]] PageAnswer answer();
  void send(const PageAnswer& answer);
  void on_sent(error_code error);
  void discard();

  beast::tcp_stream stream_;
  Pages& pages_;
  const MonitorLimits& limits_;
  beast::flat_buffer buffer_;
  http::request_parser<http::empty_body> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  std::array<char, 4096> discarded_{};
  std::size_t discarded_bytes_ = 0;
};

PageAnswer Session::answer() {
  const auto& request = parser_.get();
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    PageAnswer refused = refusal(405, "only GET and HEAD");
    refused.headers["Allow"] = "GET, HEAD";
    return refused;
  }
  if (parser_.chunked() || parser_.content_length().value_or(0) > 0)
    return refusal(413, "a request here has no body");
  if (request.count(http::field::host) != 1) return refusal(400, "one Host is needed");
  const auto text = [](boost::string_view s) { return std::string_view(s.data(), s.size()); };
  try {
    return pages_.answer(
        {text(request.target()),
         {text(request[http::field::host]), text(request[http::field::authorization]),
          text(request[http::field::cookie])}});
  } catch (const std::exception& error) {
    LOG_FIRST_N(ERROR, 1) << "monitor: " << error.what();
    return refusal(500, "the monitor failed; see the run's log");
  }
}

void Session::send(const PageAnswer& answer) {
  response_ = to_response(answer);
  serializer_.emplace(response_);
  stream_.expires_after(milliseconds(limits_.response_seconds));
  const auto sent = [self = shared_from_this()](error_code error, std::size_t) {
    self->on_sent(error);
  };
  if (parser_.get().method() == http::verb::head)
    http::async_write_header(stream_, *serializer_, sent);
  else
    http::async_write(stream_, *serializer_, sent);
}

/// A socket that is closed with unread bytes resets the connection, and the client may lose the answer.
void Session::on_sent(error_code error) {
  if (error) return;
  stream_.socket().shutdown(tcp::socket::shutdown_send, error);
  stream_.expires_after(milliseconds(kDiscardSeconds));
  discard();
}

void Session::discard() {
  stream_.async_read_some(asio::buffer(discarded_),
                          [self = shared_from_this()](error_code error, std::size_t bytes) {
                            self->discarded_bytes_ += bytes;
                            if (!error && self->discarded_bytes_ < kMostDiscarded) self->discard();
                          });
}

tcp::endpoint endpoint_of(const MonitorAddress& address) {
  return {asio::ip::make_address(address.host), address.port};
}

/// A thread's own, as Linux has it: what a flood of requests costs comes out of idle time.
void yield_to_all_others() {
  std::ignore = ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNiceness);
}

}  // namespace

class MonitorServer::Body {
 public:
  Body(const StatusBoard& board, const MonitorAddress& address, const std::string& token,
       const MonitorLimits& limits)
      : limits_(limits), pages_(board, Access(listen(address, token), token)) {
    accept();
    // Signals are the training threads' business.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { work(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() {
    context_.stop();
    thread_.join();
  }

  [[nodiscard]] tcp::endpoint endpoint() const { return endpoint_; }
  [[nodiscard]] double watched() const { return pages_.watched(); }

 private:
  /// Returns the address with its port.
  MonitorAddress listen(const MonitorAddress& address, const std::string& token);
  void accept();
  void on_accept(error_code error, tcp::socket socket);
  void make_room();
  void work();

  MonitorLimits limits_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_{context_};
  asio::steady_timer pause_{context_};
  tcp::endpoint endpoint_;
  Pages pages_;
  std::list<std::weak_ptr<Session>> sessions_;  // oldest first
  std::thread thread_;
};

MonitorAddress MonitorServer::Body::listen(const MonitorAddress& address,
                                           const std::string& token) {
  std::ignore = Access(address, token);  // refused before anybody can connect
  error_code error;
  const tcp::endpoint wanted = endpoint_of(address);
  acceptor_.open(wanted.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(wanted, error);
  if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
  HALO_REQUIRE_INPUT(!error, str("--monitor ", wanted, ": cannot listen there: ", error.message(),
                                 ": choose another port, or 0 for a free one"));
  std::ignore = ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
  endpoint_ = acceptor_.local_endpoint();
  MonitorAddress with_port = address;
  with_port.port = endpoint_.port();
  return with_port;
}

void MonitorServer::Body::accept() {
  acceptor_.async_accept(
      [this](error_code error, tcp::socket socket) { on_accept(error, std::move(socket)); });
}

void MonitorServer::Body::on_accept(error_code error, tcp::socket socket) {
  if (!error) {
    make_room();
    const auto session = std::make_shared<Session>(std::move(socket), pages_, limits_);
    sessions_.push_back(session);
    session->start();
    return accept();
  }
  LOG_FIRST_N(WARNING, 1) << "monitor: a connection was not accepted: " << error.message();
  pause_.expires_after(std::chrono::milliseconds(100));  // out of file descriptors, say
  pause_.async_wait([this](error_code) { accept(); });
}

/// Whoever holds connections open without asking loses them first.
void MonitorServer::Body::make_room() {
  std::erase_if(sessions_, [](const auto& session) { return session.expired(); });
  while (sessions_.size() >= limits_.connections) {
    if (const auto oldest = sessions_.front().lock()) oldest->close();
    sessions_.pop_front();
  }
}

void MonitorServer::Body::work() {
  yield_to_all_others();
  for (int failures = 0; failures < kMostFailures; ++failures) {
    try {
      context_.run();
      return;
    } catch (const std::exception& error) {
      LOG_FIRST_N(ERROR, 1) << "monitor: " << error.what();
    }
  }
}

MonitorServer::MonitorServer(const StatusBoard& board, const MonitorAddress& address,
                             const std::string& token, const MonitorLimits& limits)
    : body_(std::make_unique<Body>(board, address, token, limits)) {}

MonitorServer::~MonitorServer() = default;

std::uint16_t MonitorServer::port() const { return body_->endpoint().port(); }

std::string MonitorServer::url() const { return str("http://", body_->endpoint(), '/'); }

void MonitorServer::show_end() const {
  const double ended = steady_seconds();
  if (ended - body_->watched() > 2 * kPagePeriod) return;
  while (steady_seconds() < ended + 1.5 * kPagePeriod && body_->watched() <= ended)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the answer, and the last curve
}

}  // namespace halo::launch
