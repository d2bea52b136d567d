#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/health/frame.h"
#include "launch/health/heartbeat_client.h"
#include "launch/health/heartbeat_server.h"
#include "launch/health/proof.h"

namespace halo::launch {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

const std::string kSecret = "0123456789abcdef0123456789abcdef";

bool eventually(const std::function<bool()>& is_so) {
  for (int i = 0; i < 3000; ++i) {
    if (is_so()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

proto::Heartbeat small_beat(int rank) {
  proto::Heartbeat beat;
  beat.set_rank(rank);
  beat.set_size(8);
  beat.set_phase("forward");
  return beat;
}

class HeartbeatTest : public testing::Test {
 protected:
  static HeartbeatServerOptions options() {
    HeartbeatServerOptions options;
    options.secret = kSecret;
    return options;
  }
  [[nodiscard]] static std::unique_ptr<HeartbeatClient> client_of(
      int port, int rank, std::atomic<int>* beats = nullptr) {
    HeartbeatClientOptions options;
    options.server = {{"127.0.0.1", static_cast<std::uint16_t>(port)}};
    options.secret = kSecret;
    options.every_seconds = 0.02;
    options.beat = [rank, beats] {
      proto::Heartbeat beat = small_beat(rank);
      if (beats != nullptr) beat.set_points(++*beats);
      return beat;
    };
    return std::make_unique<HeartbeatClient>(std::move(options));
  }
  void expect_serves() {
    const auto client = client_of(server_->port(), 7);
    EXPECT_TRUE(eventually([&] {
      const auto seen = server_->latest();
      return !seen.empty() && seen.back().beat.rank() == 7;
    }));
  }

  std::unique_ptr<HeartbeatServer> server_ = std::make_unique<HeartbeatServer>(options());
};

/// Somebody on the network.
class Stranger {
 public:
  explicit Stranger(int port) {
    socket_.connect({asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)});
  }
  std::string challenge() {
    std::string text(kChallengeBytes, '\0');
    asio::read(socket_, asio::buffer(text));
    return text;
  }
  void send(const std::string& bytes) {
    boost::system::error_code ignored;
    asio::write(socket_, asio::buffer(bytes), ignored);
  }
  void log_in() { send(hmac_sha256(kSecret, challenge())); }
  /// Waits until the server has closed the connection.
  bool is_cut_off() {
    boost::system::error_code error;
    char byte = 0;
    while (!error) socket_.read_some(asio::buffer(&byte, 1), error);
    return error == asio::error::eof || error == asio::error::connection_reset;
  }

 private:
  asio::io_context io_;
  tcp::socket socket_{io_};
};

TEST(ProofTest, HmacIsThatOfTheStandard) {  // RFC 4231, cases 2 and 6
  EXPECT_EQ(hmac_sha256("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hmac_sha256(std::string(131, '\xaa'),
                        "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(ProofTest, RandomTextsDifferAndEqualOnesAreEqual) {
  EXPECT_EQ(random_hex(64).size(), 64U);
  EXPECT_NE(random_hex(64), random_hex(64));
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_in_constant_time("abc", "abcd"));
}

TEST(AddressTest, ListsAreReadAndWritten) {
  const std::string text = "10.0.0.1:4000,[fd00::1]:65535";
  EXPECT_EQ(to_string(parse_addresses(text)), text);
  EXPECT_EQ(parse_addresses(text).at(1), (Address{"fd00::1", 65535}));
  for (const char* bad : {"", "10.0.0.1", "host:80", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:8x",
                          "10.0.0.1:80,", ":80"})
    EXPECT_THROW(std::ignore = parse_addresses(bad), InputError) << bad;
  EXPECT_THAT(own_addresses(), testing::Contains("127.0.0.1"));
}

TEST_F(HeartbeatTest, TheLastBeatOfEachRankIsKept) {
  std::atomic<int> beats = 0;
  const auto first = client_of(server_->port(), 0, &beats), second = client_of(server_->port(), 3);
  ASSERT_TRUE(eventually([&] {
    const auto seen = server_->latest();
    return seen.size() == 2 && seen[0].beat.points() > 5;
  }));
  const auto seen = server_->latest();
  EXPECT_EQ(seen[1].beat.rank(), 3);
  EXPECT_EQ(seen[0].gone_at, 0);
  EXPECT_LE(seen[0].at, steady_seconds());
}

TEST_F(HeartbeatTest, WhoListensIsToldOfEachBeatAndOfAnEnd) {
  std::atomic<int> beats = 0, ends = 0;
  HeartbeatServerOptions listening = options();
  listening.on_beat = [&](const SeenBeat& seen) {
    EXPECT_EQ(seen.beat.rank(), 4);
    ++(seen.gone_at > 0 ? ends : beats);
  };
  server_ = std::make_unique<HeartbeatServer>(listening);
  auto client = client_of(server_->port(), 4);
  EXPECT_TRUE(eventually([&] { return beats > 3; }));
  EXPECT_EQ(ends, 0);
  client.reset();
  EXPECT_TRUE(eventually([&] { return ends == 1; }));
}

TEST_F(HeartbeatTest, ALostConnectionIsNoted) {
  auto client = client_of(server_->port(), 2);
  ASSERT_TRUE(eventually([&] { return server_->latest().size() == 1; }));
  EXPECT_EQ(server_->latest()[0].gone_at, 0);
  client.reset();
  EXPECT_TRUE(eventually([&] { return server_->latest()[0].gone_at > 0; }));
  client = client_of(server_->port(), 2);
  EXPECT_TRUE(eventually([&] { return server_->latest()[0].gone_at == 0; })) << "it is back";
}

TEST_F(HeartbeatTest, ABeatThatIsWaitedForHasLeft) {
  std::atomic<int> beats = 0;
  const auto client = client_of(server_->port(), 0, &beats);
  ASSERT_TRUE(eventually([&] { return server_->latest().size() == 1; }));
  const int before = beats;
  client->send_now();
  EXPECT_GT(beats, before);
}

TEST_F(HeartbeatTest, AWrongSecretIsCutOff) {
  Stranger wrong(server_->port());
  wrong.send(hmac_sha256("another secret", wrong.challenge()));
  wrong.send(framed(small_beat(1).SerializeAsString()));
  EXPECT_TRUE(wrong.is_cut_off());
  Stranger replay(server_->port());
  replay.send(hmac_sha256(kSecret, Stranger(server_->port()).challenge()));
  EXPECT_TRUE(replay.is_cut_off()) << "the answer to another challenge";
  EXPECT_TRUE(server_->latest().empty());
  expect_serves();
}

TEST_F(HeartbeatTest, WhatIsNoBeatIsCutOff) {
  proto::Heartbeat beyond = small_beat(8), no_size = small_beat(0), negative = small_beat(-1);
  no_size.set_size(0);
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\xff", 4), std::string("\x00\x01\x00\x01", 4),
        framed("this is no protobuf"), framed(beyond.SerializeAsString()),
        framed(no_size.SerializeAsString()), framed(negative.SerializeAsString())}) {
    Stranger stranger(server_->port());
    stranger.log_in();
    stranger.send(bytes);
    EXPECT_TRUE(stranger.is_cut_off());
  }
  EXPECT_TRUE(server_->latest().empty());
  expect_serves();
}

TEST_F(HeartbeatTest, SlowStrangersAndHalfBeatsAreCutOff) {
  HeartbeatServerOptions impatient = options();
  impatient.seconds_to_prove = 0.2;
  impatient.seconds_between_beats = 0.3;
  server_ = std::make_unique<HeartbeatServer>(impatient);
  Stranger silent(server_->port()), slow(server_->port()), half(server_->port());
  slow.send("0123");
  half.log_in();
  half.send(framed(small_beat(1).SerializeAsString()).substr(0, 7));
  EXPECT_TRUE(silent.is_cut_off());
  EXPECT_TRUE(slow.is_cut_off());
  EXPECT_TRUE(half.is_cut_off());
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
  expect_serves();
}

TEST_F(HeartbeatTest, ManyStrangersDoNotKeepRanksOut) {
  HeartbeatServerOptions few = options();
  few.most_strangers = 20;
  few.seconds_to_prove = 1;
  server_ = std::make_unique<HeartbeatServer>(few);
  std::vector<std::unique_ptr<Stranger>> crowd;
  for (int i = 0; i < 100; ++i) crowd.push_back(std::make_unique<Stranger>(server_->port()));
  EXPECT_TRUE(crowd.back()->is_cut_off());
  EXPECT_LE(server_->connections(), 20);
  expect_serves();  // once their time is over
}

TEST_F(HeartbeatTest, AClientOutlivesItsSupervisor) {
  std::atomic<int> beats = 0;
  const int port = server_->port();
  const auto client = client_of(port, 0, &beats);
  ASSERT_TRUE(eventually([&] { return server_->latest().size() == 1; }));
  server_.reset();
  const double begin = steady_seconds();
  client->send_now();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(steady_seconds() - begin, 10);
}

TEST_F(HeartbeatTest, ASupervisorThatTakesNothingHoldsNobodyUp) {
  asio::io_context io;
  tcp::acceptor deaf(io, {asio::ip::address_v4::loopback(), 0});  // takes connections, says nothing
  const double begin = steady_seconds();
  {
    const auto client = client_of(deaf.local_endpoint().port(), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    client->send_now();
  }
  EXPECT_LT(steady_seconds() - begin, 10);
}

TEST_F(HeartbeatTest, AddressesAreTriedInTurn) {
  HeartbeatClientOptions options;
  asio::io_context io;
  const auto closed = tcp::acceptor(io, {asio::ip::address_v4::loopback(), 0}).local_endpoint();
  options.server = {{"127.0.0.1", closed.port()}, {"127.0.0.1", server_->port()}};
  options.secret = kSecret;
  options.beat = [] { return small_beat(5); };
  const HeartbeatClient client(options);
  EXPECT_TRUE(eventually([&] { return server_->latest().size() == 1; }));
}

TEST(HeartbeatEnvironmentTest, WithoutASupervisorThereIsNoClient) {
  const auto beat = [] { return small_beat(0); };
  unsetenv(kSupervisorVariable);
  unsetenv(kSecretVariable);
  EXPECT_EQ(HeartbeatClient::from_environment(beat), nullptr);
  setenv(kSupervisorVariable, "127.0.0.1:1", 1);
  EXPECT_EQ(HeartbeatClient::from_environment(beat), nullptr) << "no secret";
  setenv(kSecretVariable, kSecret.c_str(), 1);
  EXPECT_NE(HeartbeatClient::from_environment(beat), nullptr) << "nobody listens there";
  setenv(kSupervisorVariable, "nonsense", 1);
  EXPECT_EQ(HeartbeatClient::from_environment(beat), nullptr);
  unsetenv(kSupervisorVariable);
  unsetenv(kSecretVariable);
}

}  // namespace
}  // namespace halo::launch
