#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/profiler_range.h"
#include "core/base/stream.h"
#include "parallel/comm/collectives.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/scope_registry.h"

namespace halo::comm {

/// One rank's operations under way, over all communicators of one origin: whoever waits for one progresses all, so that
/// ranks may wait for theirs in different orders. It also knows which communicators have failed.
class ProgressEngine : public std::enable_shared_from_this<ProgressEngine> {
 public:
  ProgressEngine(std::unique_ptr<Transport> transport, const CommunicatorOptions& options)
      : transport_(std::move(transport)),
        options_(options),
        scopes_(tag_blocks(*transport_, options)) {}

  /// An operation that was started; finished ones are in nobody's list.
  struct Running {
    std::shared_ptr<const Scope> scope;
    Call call;
    std::int64_t sequence = -1;  // among the scope's collectives; -1: none of them
    std::int64_t record = 0;
    double begin = 0;                      // seconds, as of now()
    double wait_begin = -1;                // while somebody waits for it
    std::unique_ptr<Operation> operation;  // null once done, failed or withdrawn
    std::exception_ptr failure;            // other than PeerFailed, which belongs to the scope
    bool done = false;
    ProfilerSpan profiled;  // from its start until it ends
  };

  [[nodiscard]] Transport& transport() { return *transport_; }
  [[nodiscard]] CallLog& log() { return log_; }

  /// A channel for collective number `sequence` of the scope, or for messages outside of collectives (-1).
  [[nodiscard]] Channel channel(const std::shared_ptr<const Scope>& scope, std::int64_t sequence);
  /// Throws Error when a collective more than about 1000 before this one is still unfinished: tags come around.
  [[nodiscard]] Work start(std::shared_ptr<const Scope> scope, Call call, std::int64_t sequence,
                           Operation operation);

  /// Progresses everything; true when `running` is done. Throws PeerFailed.
  bool test(Running& running);
  void wait(Running& running);
  /// Progresses everything. Throws PeerFailed when the scope has failed.
  void check(const Scope& scope);
  /// Forgets an unfinished operation; its scope counts as failed.
  void withdraw(Running& running) noexcept;

  /// Fails the scope here and at its other members.
  void abort(const Scope& scope, const std::string& reason);

  [[nodiscard]] ScopeRegistry& scopes() { return scopes_; }
  /// A scope of which this rank holds nothing any more.
  void forget(const Scope& scope);

 private:
  struct Failure {
    int world_rank = -1;
    std::string reason;
  };

  [[nodiscard]] static int tag_blocks(const Transport& transport,
                                      const CommunicatorOptions& options);
  void progress();
  bool step(Running& running);  // true when it ended
  void poll_abort();
  void require_alive(const Running& running) const;
  void require_alive(const Scope& scope) const;
  void fail(const Scope& scope, int world_rank, const std::string& reason);
  [[noreturn]] void miss_deadline(const Running& running);

  std::unique_ptr<Transport> transport_;
  CommunicatorOptions options_;
  Stream stream_{1};
  CallLog log_;
  std::vector<std::shared_ptr<Running>> active_;  // in the order they were started
  std::map<int, Failure> failed_;                 // by scope id; the first failure of each
  ScopeRegistry scopes_;
};

}  // namespace halo::comm
