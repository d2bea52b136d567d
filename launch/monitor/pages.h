#pragma once
#include <atomic>
#include <map>
#include <string>
#include <string_view>

#include "launch/monitor/access.h"
#include "launch/monitor/metrics_tail.h"
#include "launch/monitor/status_board.h"

namespace halo::launch {

/// A GET or HEAD request as the client wrote it.
struct PageRequest {
  std::string_view target;  // "/api/metrics?job=align"
  Credentials credentials;
};
struct PageAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  std::map<std::string, std::string> headers = {};  // besides those of every answer
};

/// An answer to a request that cannot be served.
[[nodiscard]] PageAnswer refusal(int status, std::string_view reason);

/// What the monitor answers. For one thread, but for watched(); no sockets.
class Pages {
 public:
  Pages(const StatusBoard& board, Access access) : board_(board), access_(std::move(access)) {}

  [[nodiscard]] PageAnswer answer(const PageRequest& request);
  /// When a page last asked for the status, in steady_seconds().
  [[nodiscard]] double watched() const { return watched_; }

 private:
  /// The board's status, and the jobs' steps, whichever ranks do them, from their files.
  [[nodiscard]] RunStatus status();
  [[nodiscard]] PageAnswer curve(std::string_view query);
  [[nodiscard]] PageAnswer login(std::string_view query) const;
  [[nodiscard]] MetricsTail& tail_of(const MonitoredJob& job);

  const StatusBoard& board_;
  Access access_;
  std::map<std::string, MetricsTail> tails_;  // by job: of known jobs only
  std::atomic<double> watched_ = -1e9;        // others ask for it
};

/// The value of a field of a query ("job=a%20b&points=3"), decoded; "" where there is none or it is malformed.
[[nodiscard]] std::string query_value(std::string_view query, std::string_view name);

}  // namespace halo::launch
