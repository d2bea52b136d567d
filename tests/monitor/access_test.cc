// Who may ask the monitor, and what it answers: without sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/monitor/pages.h"
#include "tests/monitor/sample_status.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string refused(const std::function<void()>& act) {
  try {
    act();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(MonitorAddressTest, Spellings) {
  struct Case {
    const char* text;
    const char* host;
    int port;
    bool loopback;
  };
  for (const Case& c :
       {Case{"8080", "127.0.0.1", 8080, true}, Case{":8080", "127.0.0.1", 8080, true},
        Case{"0", "127.0.0.1", 0, true}, Case{"127.0.0.1:8080", "127.0.0.1", 8080, true},
        Case{"127.1.2.3:80", "127.1.2.3", 80, true},
        Case{"localhost:65535", "127.0.0.1", 65535, true}, Case{"[::1]:8080", "::1", 8080, true},
        Case{"0.0.0.0:8080", "0.0.0.0", 8080, false}, Case{"[::]:8080", "::", 8080, false},
        Case{"10.0.0.7:8080", "10.0.0.7", 8080, false}}) {
    const MonitorAddress address = parse_monitor_address(c.text);
    EXPECT_EQ(address.host, c.host) << c.text;
    EXPECT_EQ(address.port, c.port) << c.text;
    EXPECT_EQ(address.loopback, c.loopback) << c.text;
  }
}

TEST(MonitorAddressTest, WhatIsNoneIsToldWithItsReason) {
  for (const char* text :
       {"", ":", "65536", "-1", "+80", "8080x", "127.0.0.1", "127.0.0.1:", "example.org:8080",
        "::1:8080", "[127.0.0.1]:8080", "[]:8080", "127.0.0.1.:80", "1:2:3"}) {
    EXPECT_THAT(refused([&] { std::ignore = parse_monitor_address(text); }),
                testing::AllOf(HasSubstr(std::string("--monitor ") + text + ": "),
                               HasSubstr("give PORT or IP:PORT")))
        << text;
  }
}

TEST(MonitorTokenTest, FromAFileOrTheEnvironment) {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "token").string();
  unsetenv("HALO_MONITOR_TOKEN");
  EXPECT_EQ(read_monitor_token(""), "");
  setenv("HALO_MONITOR_TOKEN", kToken, 1);
  EXPECT_EQ(read_monitor_token(""), kToken);
  std::ofstream(file) << "another-good-token-1\n";
  EXPECT_EQ(read_monitor_token(file), "another-good-token-1");
  unsetenv("HALO_MONITOR_TOKEN");
  EXPECT_THAT(refused([&] { std::ignore = read_monitor_token(file + "2"); }),
              HasSubstr(file + "2"));
  for (const std::string bad :
       {"", "short", "with spaces in the middle", "0123456789abcdef;cookie"}) {
    std::ofstream(file) << bad << '\n';
    const std::string reason = refused([&] { std::ignore = read_monitor_token(file); });
    EXPECT_THAT(reason, HasSubstr(file));
    if (!bad.empty()) {
      EXPECT_THAT(reason, Not(HasSubstr(bad)));
    }
  }
}

TEST(AccessTest, AnAddressThatOthersReachNeedsAToken) {
  EXPECT_THAT(refused([] {
                const Access access({"0.0.0.0", 8080, false}, "");
              }),
              HasSubstr("a token is needed"));
  const Access access({"0.0.0.0", 8080, false}, kToken);
  EXPECT_FALSE(access.may_read({"h", "", ""}));
  EXPECT_FALSE(Access({"127.0.0.1", 1, true}, "").needs_token());
}

TEST(AccessTest, OnLoopbackOnlyItsNamesAreAnswered) {
  const Access loopback({"127.0.0.1", 8080, true}, "");
  for (const char* host : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:9999", "[::1]:1"})
    EXPECT_TRUE(loopback.may_name_host(host)) << host;
  for (const char* host :
       {"", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
        "localhost:80:80", "localhost:", "localhost:x", "localhost:99999", "::1", "[::1",
        "10.0.0.1", " localhost", "user@localhost"})
    EXPECT_FALSE(loopback.may_name_host(host)) << host;
  const Access open({"0.0.0.0", 8080, false}, kToken);
  EXPECT_TRUE(open.may_name_host("node7.cluster:8080"));
  EXPECT_FALSE(open.may_name_host(""));
}

TEST(AccessTest, TheTokenInAHeaderOrACookieMadeFromIt) {
  const Access access({"127.0.0.1", 8080, true}, kToken);
  const std::string good = std::string("Bearer ") + kToken;
  EXPECT_TRUE(access.may_read({"", good, ""}));
  EXPECT_TRUE(access.may_read({"", "bearer   " + std::string(kToken) + " ", ""}));
  for (const std::string& bad : {std::string(kToken), std::string("Bearer"), std::string("Bearer "),
                                 good + "x", good.substr(0, good.size() - 1), "Basic " + good})
    EXPECT_FALSE(access.may_read({"", bad, ""})) << bad;

  const std::string set = access.login_cookie();
  EXPECT_THAT(set, testing::AllOf(HasSubstr("HttpOnly"), HasSubstr("SameSite=Strict"),
                                  HasSubstr("Path=/"), Not(HasSubstr(kToken))));
  const std::string cookie = set.substr(0, set.find(';'));
  EXPECT_TRUE(access.may_read({"", "", cookie}));
  EXPECT_TRUE(access.may_read({"", "", "a=b; " + cookie + " ;c=d"}));
  for (const std::string& bad :
       {cookie + "0", cookie.substr(0, cookie.size() - 1), "x" + cookie,
        cookie.substr(0, cookie.find('=') + 1), std::string("halo_monitor_8080=") + kToken})
    EXPECT_FALSE(access.may_read({"", "", bad})) << bad;
  EXPECT_FALSE(
      Access({"127.0.0.1", 8080, true}, "another-good-token-1").may_read({"", "", cookie}));
}

TEST(QueryTest, FieldsAreDecoded) {
  EXPECT_EQ(query_value("job=a%20b&points=3", "job"), "a b");
  EXPECT_EQ(query_value("job=a%20b&points=3", "points"), "3");
  EXPECT_EQ(query_value("job=a+b", "job"), "a b");
  EXPECT_EQ(query_value("jobs=1&xjob=2", "job"), "");
  for (const char* bad : {"", "job", "job=", "job=%", "job=%4", "job=%zz", "&&=&job=%4"})
    EXPECT_EQ(query_value(bad, "job"), "") << bad;
}

class PagesTest : public testing::Test {
 protected:
  PagesTest() {
    RunStatus status = sample_status(steady_seconds());
    for (MonitoredJob& job : status.jobs) {
      job.changed = steady_seconds();
      if (job.steps > 0) job.metrics = (folder_ / (job.name + ".jsonl")).string();
    }
    board_.emplace(status);
  }
  static PageAnswer ask(Pages& pages, std::string_view target, Credentials credentials = {}) {
    if (credentials.host.empty()) credentials.host = "localhost";
    return pages.answer({target, credentials});
  }
  void write_steps(const std::string& job, std::int64_t steps) {
    std::ofstream out(folder_ / (job + ".jsonl"));
    for (std::int64_t i = 0; i < steps; ++i) out << to_json_line(sample_step(i)) << '\n';
  }

  test::TemporaryFolder folder_;
  std::optional<StatusBoard> board_;
};

TEST_F(PagesTest, Routes) {
  Pages pages(*board_, Access({"127.0.0.1", 1, true}, ""));
  EXPECT_THAT(ask(pages, "/").body, HasSubstr("<script src=\"/monitor.js\">"));
  EXPECT_THAT(ask(pages, "/monitor.js").body, HasSubstr("/api/status"));
  EXPECT_THAT(ask(pages, "/monitor.css").type, HasSubstr("text/css"));
  EXPECT_THAT(ask(pages, "/metrics").type, HasSubstr("version=0.0.4"));
  EXPECT_THAT(ask(pages, "/metrics?x=y").body, HasSubstr("halo_steps{job=\"distill\"} 10\n"));
  EXPECT_EQ(ask(pages, "/healthz").body, "ok\n");
  for (const char* nothing :
       {"/x", "/api", "/metrics/", "//", "/../etc/passwd", "/api/metrics",
        "/api/metrics?job=nobody", "/api/metrics?job=export", "/api/metrics?job=../align"})
    EXPECT_EQ(ask(pages, nothing).status, 404) << nothing;
  for (const char* bad : {"http://localhost/", "*", ""})
    EXPECT_EQ(ask(pages, bad).status, 400) << bad;
  EXPECT_EQ(ask(pages, "/", {"evil.example", "", ""}).status, 421);
}

TEST_F(PagesTest, NoPageLoadsAnythingFromElsewhere) {
  Pages pages(*board_, Access({"127.0.0.1", 1, true}, ""));
  for (const char* page : {"/", "/monitor.js", "/monitor.css"}) {
    std::string text = ask(pages, page).body;
    const std::string name_of_svg = "http://www.w3.org/2000/svg";  // a name, not an address
    if (const auto at = text.find(name_of_svg); at != std::string::npos)
      text.erase(at, name_of_svg.size());
    EXPECT_THAT(text, Not(HasSubstr("//www"))) << page;
    EXPECT_THAT(text, Not(HasSubstr("http:"))) << page;
    EXPECT_THAT(text, Not(HasSubstr("https:"))) << page;
    EXPECT_THAT(text, Not(HasSubstr("innerHTML"))) << page;
  }
}

TEST_F(PagesTest, HealthSaysWhy) {
  board_->job_state("align", JobState::kFailed, 1, "out of memory");
  Pages pages(*board_, Access({"127.0.0.1", 1, true}, ""));
  EXPECT_EQ(ask(pages, "/healthz").status, 503);
  EXPECT_EQ(ask(pages, "/healthz").body, "job align failed: out of memory\n");
}

/// Whichever ranks do it, a job's steps are in the output folder.
TEST_F(PagesTest, StepsComeFromTheJobsFiles) {
  write_steps("align", 7);
  write_steps("distill", 9);
  Pages pages(*board_, Access({"127.0.0.1", 1, true}, ""));
  const auto status = nlohmann::json::parse(ask(pages, "/api/status").body);
  EXPECT_EQ(status["jobs"][0]["step"], 7);
  EXPECT_EQ(status["jobs"][0]["last"]["loss"], sample_step(6).loss);
  EXPECT_EQ(status["jobs"][1]["step"], 9);
  EXPECT_THAT(ask(pages, "/metrics").body, HasSubstr("halo_step{job=\"align\"} 7\n"));
}

TEST_F(PagesTest, CurvesHaveAsManyPointsAsAskedFor) {
  write_steps("align", 100);
  Pages pages(*board_, Access({"127.0.0.1", 1, true}, ""));
  const auto curve = nlohmann::json::parse(ask(pages, "/api/metrics?job=align&points=5").body);
  EXPECT_LE(curve["points"].size(), 5U);
  EXPECT_EQ(curve["points"].back()[0], 99);
  EXPECT_EQ(curve["complete"], true);
  for (const char* bad : {"1", "0", "-1", "x", "5x", "99999999999999999999", "100000"})
    EXPECT_EQ(ask(pages, std::string("/api/metrics?job=align&points=") + bad).status, 400) << bad;
}

TEST_F(PagesTest, WithATokenNothingIsReadWithoutIt) {
  Pages pages(*board_, Access({"0.0.0.0", 8080, false}, kToken));
  for (const char* page : {"/", "/monitor.js", "/api/status", "/api/metrics?job=align", "/metrics",
                           "/healthz", "/x", "/?token=wrong", "/?token=", "/metrics?token=wrong"}) {
    const PageAnswer answer = ask(pages, page);
    EXPECT_EQ(answer.status, 401) << page;
    EXPECT_EQ(answer.headers.at("WWW-Authenticate"), "Bearer");
    for (const char* secret : {"distill", kToken}) EXPECT_THAT(answer.body, Not(HasSubstr(secret)));
    EXPECT_FALSE(answer.headers.contains("Set-Cookie"));
  }
  EXPECT_EQ(ask(pages, std::string("/metrics?token=") + kToken).status, 401)
      << "for the login alone";
  EXPECT_EQ(ask(pages, "/metrics", {"", std::string("Bearer ") + kToken, ""}).status, 200);

  const PageAnswer login = ask(pages, std::string("/?token=") + kToken);
  EXPECT_EQ(login.status, 303);
  EXPECT_EQ(login.headers.at("Location"), "/");
  const std::string set = login.headers.at("Set-Cookie");
  const std::string cookie = set.substr(0, set.find(';'));
  EXPECT_EQ(ask(pages, "/api/status", {"", "", cookie}).status, 200);
}

}  // namespace
}  // namespace halo::launch
