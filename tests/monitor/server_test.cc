// The monitor by real sockets: every route, what is refused, and what hostile clients can do to it: nothing.
#include "launch/monitor/monitor_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <list>
#include <memory>
#include <thread>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "tests/monitor/hostile.h"
#include "tests/monitor/http_client.h"
#include "tests/monitor/sample_status.h"

namespace halo::launch {
namespace {

using test::ask;
using test::Connection;
using test::get;
using test::HttpAnswer;
using testing::HasSubstr;

const MonitorAddress kAnyPort{"127.0.0.1", 0, true};

class MonitorServerTest : public testing::Test {
 protected:
  MonitorServerTest() {
    for (const char* job : {"align", "distill"})
      board_.job_state(job, JobState::kRunning, steady_seconds());
  }
  StatusBoard board_{sample_status(steady_seconds())};
};

TEST_F(MonitorServerTest, AnswersEveryRoute) {
  const MonitorServer server(board_, kAnyPort, "");
  EXPECT_EQ(server.url(), str("http://127.0.0.1:", server.port(), "/"));
  for (const char* route :
       {"/", "/monitor.css", "/monitor.js", "/api/status", "/metrics", "/healthz"}) {
    const HttpAnswer answer = get(server.port(), route);
    EXPECT_EQ(answer.status, 200) << route;
    EXPECT_EQ(answer.header("Content-Length"), str(answer.body.size()));
    EXPECT_THAT(answer.header("Content-Security-Policy"), HasSubstr("default-src 'none'"));
    EXPECT_EQ(answer.header("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(answer.header("X-Frame-Options"), "DENY");
    EXPECT_EQ(answer.header("Referrer-Policy"), "no-referrer");
    EXPECT_EQ(answer.header("Cache-Control"), "no-store");
    EXPECT_EQ(answer.header("Connection"), "close");
    EXPECT_EQ(answer.header("Access-Control-Allow-Origin"), "");
  }
  EXPECT_EQ(get(server.port(), "/nothing").status, 404);
}

TEST_F(MonitorServerTest, HeadIsGetWithoutItsBody) {
  const MonitorServer server(board_, kAnyPort, "");
  const HttpAnswer answer = ask(server.port(), "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Length"), "3");
  EXPECT_EQ(answer.body, "");
}

TEST_F(MonitorServerTest, RefusesWhatIsNoGoodRequest) {
  const MonitorServer server(board_, kAnyPort, "");
  struct Case {
    std::string bytes;
    int status;
  };
  const std::string host = "Host: localhost\r\n";
  const std::string long_text(100000, 'x');
  const std::vector<Case> cases = {
      {"POST / HTTP/1.1\r\n" + host + "\r\n", 405},
      {"DELETE / HTTP/1.1\r\n" + host + "\r\n", 405},
      {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 405},
      {"CONNECT localhost:1 HTTP/1.1\r\n" + host + "\r\n", 405},
      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 100000\r\n\r\n" + long_text, 405},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 100000\r\n\r\n" + long_text, 413},
      {"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
       413},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "X: " + long_text + "\r\n\r\n", 431},
      {"GET /" + long_text + " HTTP/1.1\r\n" + host + "\r\n", 431},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421},
      {"GET http://evil.example/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET / HTTP/7.3\r\n" + host + "\r\n", 400},
      {"GET /\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400},
      {std::string("GET / HTTP/1.1\r\nHo\0st: localhost\r\n\r\n", 36), 400},
      {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + "\r\n\r\n", 400},  // TLS
  };
  for (const Case& c : cases)
    EXPECT_EQ(ask(server.port(), c.bytes).status, c.status) << c.bytes.substr(0, 80);
  EXPECT_EQ(get(server.port(), "/healthz").status, 200);
}

TEST_F(MonitorServerTest, AWrongTokenIsRefusedAndARightOneIsNot) {
  const MonitorServer server(board_, kAnyPort, kToken);
  EXPECT_EQ(get(server.port(), "/metrics").status, 401);
  EXPECT_EQ(get(server.port(), "/metrics", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(get(server.port(), "/metrics", str("Authorization: Bearer ", kToken, "\r\n")).status,
            200);
  const HttpAnswer login = get(server.port(), str("/?token=", kToken));
  EXPECT_EQ(login.status, 303);
  const std::string set = login.header("Set-Cookie");
  const std::string cookie = set.substr(0, set.find(';'));
  EXPECT_EQ(get(server.port(), "/", "Cookie: " + cookie + "\r\n").status, 200);
  EXPECT_EQ(get(server.port(), "/", "Cookie: " + cookie + "x\r\n").status, 401);
}

TEST_F(MonitorServerTest, OneRequestAConnection) {
  const MonitorServer server(board_, kAnyPort, "");
  const std::string request =
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
  Connection connection(server.port());
  connection.send(request + request);
  const std::string text = connection.receive();
  EXPECT_TRUE(connection.closed());
  EXPECT_EQ(text.find("HTTP/1.1"), text.rfind("HTTP/1.1"));
}

TEST_F(MonitorServerTest, ASlowRequestIsCutOff) {
  MonitorLimits limits;
  limits.request_seconds = 0.3;
  const MonitorServer server(board_, kAnyPort, "", limits);
  Connection silent(server.port()), dripping(server.port());
  const double begin = steady_seconds();
  // A byte now and then does not buy time.
  for (const char c : std::string("GET / HTTP/1.1\r\nX-Very-Long-Header-That-Comes-Slowly: ")) {
    if (!dripping.send(std::string(1, c)) || steady_seconds() - begin > 20) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(dripping.receive(), "");
  EXPECT_TRUE(dripping.closed());
  EXPECT_EQ(silent.receive(), "");
  EXPECT_TRUE(silent.closed());
  EXPECT_LT(steady_seconds() - begin, 20);
}

TEST_F(MonitorServerTest, AHalfOpenConnectionIsLetGo) {
  const MonitorServer server(board_, kAnyPort, "");
  Connection half(server.port());
  half.send("GET / HTT");
  half.finish_sending();
  EXPECT_EQ(half.receive(), "");
  EXPECT_TRUE(half.closed()) << "at once, not when the time for a request is over";
  Connection whole(server.port());
  whole.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  whole.finish_sending();
  EXPECT_EQ(test::parse_answer(whole.receive()).status, 200);
}

TEST_F(MonitorServerTest, WhoHoldsConnectionsLosesTheOldestFirst) {
  MonitorLimits limits;
  limits.connections = 4;
  limits.request_seconds = 60;
  const MonitorServer server(board_, kAnyPort, "", limits);
  std::list<Connection> held;
  for (int i = 0; i < 10; ++i) held.emplace_back(server.port()).send("GET / HTTP/1.1\r\n");
  EXPECT_EQ(get(server.port(), "/healthz").status, 200);
  EXPECT_EQ(held.front().receive(), "");
  EXPECT_TRUE(held.front().closed());
  // One of the last four was let go for the good request; the newest still is heard.
  held.back().send("Host: localhost\r\n\r\n");
  EXPECT_EQ(test::parse_answer(held.back().receive()).status, 200);
}

TEST_F(MonitorServerTest, APortInUseIsBadInput) {
  const MonitorServer server(board_, kAnyPort, "");
  try {
    const MonitorServer second(board_, {"127.0.0.1", server.port(), true}, "");
    FAIL() << "two on one port";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(str("127.0.0.1:", server.port())),
                                             HasSubstr("in use"), HasSubstr("another port")));
  }
  EXPECT_THROW(MonitorServer(board_, {"192.0.2.1", 0, false}, kToken), InputError)
      << "not of this host";
  EXPECT_THROW(MonitorServer(board_, {"0.0.0.0", 0, false}, ""), InputError) << "no token";
}

TEST_F(MonitorServerTest, EndsAtOnceWithOpenConnectionsAndFreesItsPort) {
  auto server = std::make_unique<MonitorServer>(board_, kAnyPort, "");
  const std::uint16_t port = server->port();
  Connection open(port);
  open.send("GET / HTTP/1.1\r\n");
  EXPECT_EQ(get(port, "/healthz").status, 200);
  server.reset();
  EXPECT_EQ(open.receive(), "");
  EXPECT_TRUE(open.closed());
  const MonitorServer again(board_, {"127.0.0.1", port, true}, "");
  EXPECT_EQ(get(port, "/healthz").status, 200);
}

TEST_F(MonitorServerTest, AnOpenPageSeesTheEnd) {
  const MonitorServer server(board_, kAnyPort, "");
  const double begin = steady_seconds();
  server.show_end();
  EXPECT_LT(steady_seconds() - begin, 1) << "nobody looks";
  EXPECT_EQ(get(server.port(), "/api/status").status, 200);
  board_.ended(steady_seconds());
  std::jthread page([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_THAT(get(server.port(), "/api/status").body, HasSubstr("\"ended\":true"));
  });
  server.show_end();
  EXPECT_GT(steady_seconds() - begin, 0.3);
}

std::size_t files_of(const char* folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder),
                                                std::filesystem::directory_iterator()));
}

long resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return 0;
}

TEST_F(MonitorServerTest, AThousandHostileRequestsAndAGoodOneBetween) {
  const MonitorServer server(board_, kAnyPort, kToken);
  const std::string good = str("Authorization: Bearer ", kToken, "\r\n");
  EXPECT_EQ(get(server.port(), "/api/status", good).status, 200);
  const std::size_t threads = files_of("/proc/self/task");
  const long memory = resident_kib();
  {
    test::HostileClients hostile(server.port());
    for (int i = 0; i < 1000; ++i) {
      hostile.attack();
      if (i % 50 == 0) {
        const double begin = steady_seconds();
        ASSERT_EQ(get(server.port(), "/api/status", good).status, 200) << i;
        EXPECT_LT(steady_seconds() - begin, 10) << i;
      }
    }
    EXPECT_EQ(files_of("/proc/self/task"), threads);
    // Both ends of at most 64 held connections, and the tests' own that the server has closed.
    EXPECT_LT(files_of("/proc/self/fd"), 64 + hostile.held() + 50);
  }
  EXPECT_LT(resident_kib() - memory, 64 * 1024);
  EXPECT_EQ(get(server.port(), "/api/status", good).status, 200);
}

}  // namespace
}  // namespace halo::launch
