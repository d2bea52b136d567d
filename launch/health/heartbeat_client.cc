#include "launch/health/heartbeat_client.h"

#include <glog/logging.h>

#include <array>
#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "launch/health/frame.h"
#include "launch/health/proof.h"

namespace halo::launch {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Seconds = std::chrono::duration<double>;

constexpr auto kPatience = std::chrono::seconds(2);         // with a connection, for each thing
constexpr auto kLook = std::chrono::milliseconds(50);       // between looks whether to stop
constexpr auto kLastWord = std::chrono::milliseconds(500);  // for a beat that somebody waits for

/// A connection whose every operation ends within kPatience. Used by one thread; stop() may be called by any.
class Connection {
 public:
  [[nodiscard]] bool is_open() const { return socket_.is_open(); }
  void stop() { stopped_ = true; }

  /// Whether the server at this address has taken the proof.
  bool open(const Address& address, const std::string& secret) {
    const tcp::endpoint endpoint(asio::ip::make_address(address.host), address.port);
    socket_ = tcp::socket(io_);
    std::array<char, kChallengeBytes> challenge{};
    const bool challenged =
        within_patience([&](auto done) { socket_.async_connect(endpoint, done); }) &&
        within_patience([&](auto done) {
          asio::async_read(socket_, asio::buffer(challenge),
                           [done](auto error, std::size_t) { done(error); });
        });
    return challenged && send(hmac_sha256(secret, {challenge.data(), challenge.size()}));
  }

  bool send(const std::string& bytes) {
    return within_patience([&](auto done) {
      asio::async_write(socket_, asio::buffer(bytes),
                        [done](auto error, std::size_t) { done(error); });
    });
  }

 private:
  /// Starts an operation and runs it to its end; when it fails or takes too long the connection is closed.
  template <class Start>
  bool within_patience(const Start& start) {
    std::optional<boost::system::error_code> result;
    start([&result](boost::system::error_code error) { result = error; });
    io_.restart();
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!result && !stopped_ && std::chrono::steady_clock::now() < end) io_.run_for(kLook);
    if (result && !*result) return true;
    boost::system::error_code ignored;
    socket_.close(ignored);
    io_.restart();
    io_.poll();  // what was cancelled ends here
    return false;
  }

  asio::io_context io_{1};
  tcp::socket socket_{io_};
  std::atomic<bool> stopped_ = false;
};

}  // namespace

class HeartbeatClient::Worker {
 public:
  explicit Worker(HeartbeatClientOptions options) : options_(std::move(options)) {
    // Signals are the training thread's.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  ~Worker() {
    send_now();
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    wake_.notify_all();
    connection_.stop();
    thread_.join();
  }

  void send_now() {
    std::unique_lock lock(mutex_);
    if (!connected_) return;
    const std::int64_t number = ++asked_;
    wake_.notify_all();
    sent_.wait_for(lock, kLastWord, [&] { return answered_ >= number; });
  }

 private:
  void run() noexcept {
    try {
      while (!has_ended()) {
        const std::int64_t asked = now_asked();
        beat();
        std::unique_lock lock(mutex_);
        answered_ = asked;
        sent_.notify_all();
        wake_.wait_for(lock, Seconds(options_.every_seconds),
                       [&] { return ends_ || asked_ > answered_; });
      }
    } catch (const std::exception& error) {
      LOG(WARNING) << "heartbeats of this rank have ended: " << error.what();
      set_connected(false);
    }
  }

  void beat() {
    if (!connection_.is_open()) connect();
    if (connection_.is_open()) {
      std::string bytes = options_.beat().SerializeAsString();
      if (bytes.size() <= kLongestBeat) connection_.send(framed(bytes));
    }
    set_connected(connection_.is_open());
  }

  void connect() {
    for (std::size_t i = 0; i < options_.server.size() && !has_ended(); ++i) {
      // What worked once is tried first.
      const std::size_t which = (good_ + i) % options_.server.size();
      if (!connection_.open(options_.server[which], options_.secret)) continue;
      good_ = which;
      return;
    }
  }

  [[nodiscard]] bool has_ended() {
    const std::lock_guard lock(mutex_);
    return ends_;
  }
  [[nodiscard]] std::int64_t now_asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  void set_connected(bool connected) {
    const std::lock_guard lock(mutex_);
    connected_ = connected;
  }

  HeartbeatClientOptions options_;
  Connection connection_;
  std::size_t good_ = 0;  // of the server's addresses
  std::mutex mutex_;
  std::condition_variable wake_, sent_;
  bool ends_ = false, connected_ = false;
  std::int64_t asked_ = 0, answered_ = 0;  // beats that somebody waits for
  std::thread thread_;
};

HeartbeatClient::HeartbeatClient(HeartbeatClientOptions options)
    : worker_(std::make_unique<Worker>(std::move(options))) {}

HeartbeatClient::~HeartbeatClient() = default;

std::unique_ptr<HeartbeatClient> HeartbeatClient::from_environment(
    std::function<proto::Heartbeat()> beat) {
  const char* const where = std::getenv(kSupervisorVariable);
  const char* const secret = std::getenv(kSecretVariable);
  if (where == nullptr || *where == '\0') return nullptr;
  try {
    HALO_REQUIRE_INPUT(secret != nullptr && *secret != '\0', str(kSecretVariable, " is not set"));
    HeartbeatClientOptions options;
    options.server = parse_addresses(where);
    options.secret = secret;
    options.beat = std::move(beat);
    return std::make_unique<HeartbeatClient>(std::move(options));
  } catch (const std::exception& error) {
    LOG(WARNING) << kSupervisorVariable << ": " << error.what()
                 << "; this rank runs without a supervisor";
    return nullptr;
  }
}

void HeartbeatClient::send_now() { worker_->send_now(); }

}  // namespace halo::launch
