#include "launch/health/heartbeat_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <map>
#include <mutex>
#include <thread>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/health/frame.h"
#include "launch/health/proof.h"

namespace halo::launch {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr int kMostRanks = 1 << 20;

asio::steady_timer::duration duration_of(double seconds) {
  return std::chrono::duration_cast<asio::steady_timer::duration>(
      std::chrono::duration<double>(seconds));
}

/// What the sessions share.
struct Sessions {
  HeartbeatServerOptions options;
  std::atomic<int> open = 0;
  int strangers = 0;  // the server's thread alone
  mutable std::mutex mutex;
  std::map<int, SeenBeat> seen;  // by rank

  void keep(proto::Heartbeat&& beat) {
    const int rank = beat.rank();
    change(rank, {std::move(beat), steady_seconds(), 0});
  }
  void lose(int rank) {
    SeenBeat last = seen.at(rank);  // this thread alone writes
    last.gone_at = steady_seconds();
    change(rank, std::move(last));
  }

 private:
  void change(int rank, SeenBeat&& now) {
    if (options.on_beat) options.on_beat(now);
    const std::lock_guard lock(mutex);
    seen[rank] = std::move(now);
  }
};

/// One connection. It lives as long as an operation of it is under way.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Sessions& sessions)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), sessions_(sessions) {
    ++sessions_.open;
    ++sessions_.strangers;
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    --sessions_.open;
    if (!trusted_) --sessions_.strangers;
  }

  void begin() {
    challenge_ = random_hex(kChallengeBytes);
    give_time(sessions_.options.seconds_to_prove);
    asio::async_write(socket_, asio::buffer(challenge_),
                      [self = shared_from_this()](ErrorCode error, std::size_t) {
                        if (!error) self->read_proof();
                      });
  }

 private:
  void read_proof() {
    buffer_.resize(kProofBytes);
    asio::async_read(socket_, asio::buffer(buffer_),
                     [self = shared_from_this()](ErrorCode error, std::size_t) {
                       if (error || !self->is_proven()) return self->close();
                       self->trusted_ = true;
                       --self->sessions_.strangers;
                       self->read_length();
                     });
  }

  [[nodiscard]] bool is_proven() const {
    return equal_in_constant_time(buffer_, hmac_sha256(sessions_.options.secret, challenge_));
  }

  void read_length() {
    give_time(sessions_.options.seconds_between_beats);
    asio::async_read(socket_, asio::buffer(length_),
                     [self = shared_from_this()](ErrorCode error, std::size_t) {
                       const std::size_t length = length_of(self->length_);
                       if (error || length > kLongestBeat) return self->lose();
                       self->read_beat(length);
                     });
  }

  void read_beat(std::size_t length) {
    buffer_.resize(length);
    asio::async_read(socket_, asio::buffer(buffer_),
                     [self = shared_from_this()](ErrorCode error, std::size_t) {
                       proto::Heartbeat beat;
                       if (error || !beat.ParseFromString(self->buffer_) || !is_possible(beat))
                         return self->lose();
                       self->rank_ = beat.rank();
                       self->sessions_.keep(std::move(beat));
                       self->read_length();
                     });
  }

  [[nodiscard]] static bool is_possible(const proto::Heartbeat& beat) {
    return beat.size() > 0 && beat.size() <= kMostRanks && beat.rank() >= 0 &&
           beat.rank() < beat.size() && beat.ranks_multiple() > 0;
  }

  /// Closes the connection unless it is given more time before.
  void give_time(double seconds) {
    timer_.expires_after(duration_of(seconds));
    timer_.async_wait([self = weak_from_this()](ErrorCode error) {
      const auto session = self.lock();
      if (!error && session) session->close();
    });
  }

  void lose() {
    if (rank_ >= 0) sessions_.lose(rank_);
    close();
  }

  void close() {
    ErrorCode ignored;
    socket_.close(ignored);
    timer_.cancel();
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  Sessions& sessions_;
  std::string challenge_, buffer_;
  unsigned char length_[kLengthBytes] = {};
  bool trusted_ = false;
  int rank_ = -1;
};

}  // namespace

class HeartbeatServer::Body {
 public:
  explicit Body(HeartbeatServerOptions options) {
    sessions_.options = std::move(options);
    listen();
    accept();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the main thread's
    thread_ = std::thread([this] { io_.run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() {
    io_.stop();
    thread_.join();
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int connections() const { return sessions_.open; }

  [[nodiscard]] std::vector<SeenBeat> latest() const {
    const std::lock_guard lock(sessions_.mutex);
    std::vector<SeenBeat> all;
    for (const auto& [rank, seen] : sessions_.seen) all.push_back(seen);
    return all;
  }

 private:
  void listen() {
    ErrorCode error;
    const auto open = [&](const tcp::endpoint& endpoint) {
      acceptor_ = tcp::acceptor(io_);
      acceptor_.open(endpoint.protocol(), error);
      if (!error && endpoint.address().is_v6())
        acceptor_.set_option(asio::ip::v6_only(false), error);
      if (!error) acceptor_.bind(endpoint, error);
      if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
      return !error;
    };
    const bool listens =
        sessions_.options.loopback
            ? open({asio::ip::address_v4::loopback(), 0})
            : open({tcp::v6(), 0}) || open({tcp::v4(), 0});  // v6 takes v4 as well, if there is any
    HALO_REQUIRE(listens, str("no port for the ranks' heartbeats: ", error.message()));
    port_ = acceptor_.local_endpoint().port();
  }

  void accept() {
    acceptor_.async_accept([this](ErrorCode error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) return accept_later();  // too many open files, say
      const auto& limits = sessions_.options;
      if (sessions_.open < limits.most_connections && sessions_.strangers < limits.most_strangers)
        std::make_shared<Session>(std::move(socket), sessions_)->begin();
      accept();
    });
  }

  void accept_later() {
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([this](ErrorCode error) {
      if (!error) accept();
    });
  }

  Sessions sessions_;  // before io_: sessions end with it
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer pause_{io_};
  std::uint16_t port_ = 0;
  std::thread thread_;
};

void allow_many_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 65536));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

HeartbeatServer::HeartbeatServer(HeartbeatServerOptions options)
    : body_(std::make_unique<Body>(std::move(options))) {}
HeartbeatServer::~HeartbeatServer() = default;
std::uint16_t HeartbeatServer::port() const { return body_->port(); }
std::vector<SeenBeat> HeartbeatServer::latest() const { return body_->latest(); }
int HeartbeatServer::connections() const { return body_->connections(); }

}  // namespace halo::launch
