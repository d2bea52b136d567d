#include "launch/scheduler/crew.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace halo::launch {
namespace {

void rest() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

template <class Proto>
Proto parsed(const std::string& text) {
  Proto message;
  HALO_REQUIRE(message.ParseFromString(text), "a message between ranks that cannot be read");
  return message;
}

/// Rank 0 as the one who knows what all do.
class Coordinator {
 public:
  Coordinator(comm::Communicator& ranks, JobTable& table, Journal& journal,
              const CrewOptions& options)
      : ranks_(ranks), table_(table), journal_(journal), options_(options), out_(ranks) {
    for (int peer = 1; peer < ranks.size(); ++peer) in_.emplace_back(ranks, peer);
  }

  /// Until nothing runs and nothing will.
  void run() {
    for (;;) {
      look_after();
      if (own_.has_job()) {
        const proto::JobOrder order = std::exchange(own_, {});
        take(options_.work(order, [this] { look_after(); }));
      } else if (under_way_.empty() && (stopping() || waits_for_nothing())) {
        return;
      } else {
        rest();
      }
    }
  }
  /// Sends the others home, and waits until they have heard it.
  void dismiss() {
    for (int peer = 1; peer < ranks_.size(); ++peer)
      out_.send(peer, proto::JobOrder().SerializeAsString());
    for (Inbox& inbox : in_)
      while (!inbox.poll()) rest();
    out_.look_after(/*all=*/true);
  }

 private:
  struct Job {
    int reports_left = 0;
    bool stopped = false, failed = false;
    std::string reason;
    bool reason_is_of_peer = true;
  };

  [[nodiscard]] bool stopping() const { return options_.stop != nullptr && *options_.stop; }
  [[nodiscard]] bool waits_for_nothing() const {
    return std::isinf(table_.next_due(options_.clock()));
  }

  void record(const proto::SchedulerEvent& event) {
    journal_.append(event);
    table_.apply(event);
  }

  void look_after() {
    for (Inbox& inbox : in_)
      if (const auto text = inbox.poll()) take(parsed<proto::JobReport>(*text));
    if (!stopping()) start_due();
    out_.look_after();
  }

  void start_due() {
    for (const auto& event : table_.due(options_.clock())) {
      record(event);
      proto::JobOrder order;
      order.set_job(event.started().name());
      *order.mutable_rank() = event.started().rank();
      under_way_[order.job()].reports_left = order.rank_size();
      for (const int rank : order.rank()) {
        if (rank == 0)
          own_ = order;
        else
          out_.send(rank, order.SerializeAsString());
      }
    }
  }

  /// A job has ended when all its ranks say so: they are free then.
  void take(const proto::JobReport& report) {
    const auto found = under_way_.find(report.job());
    HALO_REQUIRE(found != under_way_.end(),
                 str("a report of job ", report.job(), ", which nobody does"));
    Job& job = found->second;
    const bool of_peer = report.outcome() == proto::JobReport::PEER_FAILED;
    job.stopped = job.stopped || report.outcome() == proto::JobReport::STOPPED;
    if (of_peer || report.outcome() == proto::JobReport::FAILED) {
      if (!job.failed || (job.reason_is_of_peer && !of_peer)) job.reason = report.reason();
      job.failed = true;
      job.reason_is_of_peer = job.reason_is_of_peer && of_peer;
    }
    if (--job.reports_left > 0) return;
    if (job.failed || !job.stopped) {  // a job that was stopped goes on in the next program
      proto::SchedulerEvent event;
      event.set_time(options_.clock());
      event.mutable_ended()->set_name(report.job());
      event.mutable_ended()->set_succeeded(!job.failed);
      if (job.failed) event.mutable_ended()->set_reason(job.reason);
      record(event);
    }
    under_way_.erase(found);
  }

  comm::Communicator& ranks_;
  JobTable& table_;
  Journal& journal_;
  const CrewOptions& options_;
  Outbox out_;
  std::deque<Inbox> in_;  // of ranks 1, 2, ...
  std::map<std::string, Job> under_way_;
  proto::JobOrder own_;
};

}  // namespace

void run_first(comm::Communicator& ranks, JobTable& table, Journal& journal,
               const CrewOptions& options) {
  HALO_REQUIRE(
      ranks.rank() == 0 && table.ranks() == ranks.size(),
      str("rank ", ranks.rank(), " coordinates ", table.ranks(), " ranks of ", ranks.size()));
  Coordinator coordinator(ranks, table, journal, options);
  coordinator.run();
  coordinator.dismiss();
}

void run_other(comm::Communicator& ranks, const CrewOptions& options) {
  Inbox in(ranks, 0);
  Outbox out(ranks);
  for (;;) {
    const auto text = in.poll();
    if (!text) {
      rest();
      continue;
    }
    const auto order = parsed<proto::JobOrder>(*text);
    if (!order.has_job()) break;
    out.send(0, options.work(order, [] {}).SerializeAsString());
    out.look_after();
  }
  out.send(0, "");  // heard
  out.look_after(/*all=*/true);
}

}  // namespace halo::launch
