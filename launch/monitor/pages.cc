#include "launch/monitor/pages.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "launch/monitor/page_files.h"
#include "launch/monitor/status_text.h"

namespace halo::launch {
namespace {

constexpr std::size_t kBytesARequest = std::size_t{32} << 20;  // of metrics files, at most
constexpr std::size_t kDefaultPoints = 500;
constexpr const char* kHtml = "text/html; charset=utf-8";

constexpr const char* kLoginPage = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>halo monitor</title><link rel="stylesheet" href="/monitor.css"></head>
<body><main><h1>halo monitor</h1><form class="card login" method="get" action="/">
<label for="token">Token of this monitor</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus required>
<button>Open</button></form></main></body></html>
)html";

PageAnswer text(std::string type, std::string body) {
  return {200, std::move(type), std::move(body)};
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// With %XX and + resolved; "" where that cannot be done.
std::string decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return "";
    plain += static_cast<char>(16 * high + low);
    i += 2;
  }
  return plain;
}

}  // namespace

std::string query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view field = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (field.size() > name.size() && field.starts_with(name) && field[name.size()] == '=')
      return decoded(field.substr(name.size() + 1));
  }
  return "";
}

PageAnswer refusal(int status, std::string_view reason) {
  return {status, "text/plain; charset=utf-8", std::string(reason) + "\n"};
}

PageAnswer Pages::answer(const PageRequest& request) {
  if (!request.target.starts_with('/')) return refusal(400, "the target must be a path");
  if (!access_.may_name_host(request.credentials.host))
    return refusal(421, "this monitor answers to localhost, 127.0.0.1 and [::1] alone");
  const std::size_t mark = std::min(request.target.find('?'), request.target.size());
  const std::string_view path = request.target.substr(0, mark);
  const std::string_view query = request.target.substr(std::min(mark + 1, request.target.size()));
  if (path == "/monitor.css") return text("text/css; charset=utf-8", kPageCss);
  if (path == "/" && !query_value(query, "token").empty()) return login(query);
  if (!access_.may_read(request.credentials)) {
    PageAnswer denied = path == "/"
                            ? PageAnswer{401, kHtml, kLoginPage}
                            : refusal(401, "a token is needed: Authorization: Bearer TOKEN");
    denied.headers["WWW-Authenticate"] = "Bearer";
    return denied;
  }
  const double now = steady_seconds();
  if (path == "/") return text(kHtml, kPageHtml);
  if (path == "/monitor.js") return text("text/javascript; charset=utf-8", kPageJs);
  if (path == "/api/status") {
    watched_ = now;
    return text("application/json", status_json(status(), now));
  }
  if (path == "/api/metrics") return curve(query);
  if (path == "/metrics")
    return text("text/plain; version=0.0.4; charset=utf-8", prometheus_text(status(), now));
  if (path == "/healthz") {
    const Health health = health_of(status(), now);
    return health.ok ? text("text/plain; charset=utf-8", "ok\n") : refusal(503, health.reason);
  }
  return refusal(404, "there is /, /api/status, /api/metrics?job=NAME, /metrics and /healthz");
}

PageAnswer Pages::login(std::string_view query) const {
  if (access_.needs_token() && !access_.is_token(query_value(query, "token")))
    return {401, kHtml, kLoginPage, {{"WWW-Authenticate", "Bearer"}}};
  PageAnswer answer = refusal(303, "go on to /");  // a target without the token, for the history
  answer.headers["Location"] = "/";
  if (access_.needs_token()) answer.headers["Set-Cookie"] = access_.login_cookie();
  return answer;
}

MetricsTail& Pages::tail_of(const MonitoredJob& job) {
  return tails_.try_emplace(job.name, job.metrics).first->second;
}

RunStatus Pages::status() {
  RunStatus status = board_.read();
  for (MonitoredJob& job : status.jobs) {
    if (job.metrics.empty() || job.state == JobState::kWaiting) continue;
    MetricsTail& tail = tail_of(job);
    std::ignore = tail.follow(kBytesARequest);
    job.progress = tail.progress();
    if (job.state == JobState::kRunning) job.changed = std::max(job.changed, tail.grown());
  }
  return status;
}

PageAnswer Pages::curve(std::string_view query) {
  const std::string name = query_value(query, "job");
  const RunStatus status = board_.read();
  const MonitoredJob* job = status.find(name);
  if (job == nullptr || job->metrics.empty())
    return refusal(404, "job: no training job of this run has that name");
  std::size_t points = kDefaultPoints;
  const std::string wanted = query_value(query, "points");
  const char* end = wanted.data() + wanted.size();
  const auto read = std::from_chars(wanted.data(), end, points);
  if (!wanted.empty() && (read.ec != std::errc() || read.ptr != end || points < 2 ||
                          points > MetricsTail::kMostPoints))
    return refusal(400, str("points: expected a number from 2 to ", MetricsTail::kMostPoints));
  MetricsTail& tail = tail_of(*job);
  const bool complete = tail.follow(kBytesARequest);
  return text("application/json", curve_json(name, tail, points, complete));
}

}  // namespace halo::launch
