#include "launch/scheduler/crew.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/progress_point.h"

namespace halo::launch {
namespace {

/// Of a rank that has no job; who watches it sees about once a second that it gets on.
class Rest {
 public:
  void operator()() {
    if (const double now = steady_seconds(); now - told_ > 1) {
      told_ = now;
      pass_point({"idle"});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  double told_ = -1;
};

/// Keeps what goes wrong between the steps of a job: it is not the job's failure, and is thrown on when the job has ended.
class Between {
 public:
  template <class Work>
  void look(Work&& work) {
    if (failure_) return;
    try {
      work();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  [[nodiscard]] bool failed() const { return failure_ != nullptr; }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
};

bool asked_to_stop(const CrewOptions& options) { return options.stop != nullptr && *options.stop; }

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
        Between between;
        const proto::JobReport report = options_.work(order, [&] {
          between.look([this] { look_after(); });
          return stopping_ || between.failed();
        });
        between.rethrow();
        take(0, report);
      } else if (under_way_.empty() && (stopping_ || waits_for_nothing())) {
        return;
      } else {
        rest_();
      }
    }
  }
  /// Sends the others home, and waits until they have heard it.
  void dismiss() {
    send_to_others(proto::JobOrder());
    for (Inbox& inbox : in_)
      while (!has_heard(inbox)) rest_();
    out_.look_after(/*all=*/true);
  }

 private:
  struct Job {
    std::set<int> silent;  // ranks that have not reported
    bool stopped = false;
    double failed_at = std::numeric_limits<double>::infinity();
    proto::JobEnded end;
    bool reason_is_of_peer = true;
  };

  [[nodiscard]] bool waits_for_nothing() const {
    return std::isinf(table_.next_due(options_.clock()));
  }
  /// Anything else that was under way to this rank is void.
  static bool has_heard(Inbox& inbox) {
    const auto text = inbox.poll();
    return text && text->empty();
  }

  void record(const proto::SchedulerEvent& event) {
    record_event(event, journal_, table_);
    changed_ = true;
    if (options_.on_event) options_.on_event(event);
  }

  void send_to_others(const proto::JobOrder& order) {
    for (int peer = 1; peer < ranks_.size(); ++peer) out_.send(peer, order.SerializeAsString());
  }

  void look_after() {
    forgive_own_absence();
    int peer = 1;
    for (Inbox& inbox : in_) {
      if (const auto text = inbox.poll()) take(peer, parsed<proto::JobReport>(*text));
      ++peer;
    }
    if (asked_to_stop(options_)) stop_all();
    if (!stopping_) start_due();
    require_nobody_lost();
    out_.look_after();
  }

  void stop_all() {
    if (std::exchange(stopping_, true)) return;
    proto::JobOrder order;
    order.set_stop(true);
    send_to_others(order);
  }

  /// Of hundreds of jobs that wait, nothing is new between two events but the time.
  void start_due() {
    const double now = options_.clock();
    if (!changed_ && now < next_due_) return;
    changed_ = false;
    const auto events = table_.due(now);
    next_due_ = events.empty() ? table_.next_due(now) : now;
    for (const auto& event : events) {
      record(event);
      proto::JobOrder order;
      order.set_job(event.started().name());
      order.set_until(table_.job(order.job()).job.until());
      *order.mutable_rank() = event.started().rank();
      under_way_[order.job()].silent.insert(order.rank().begin(), order.rank().end());
      for (const int rank : order.rank()) {
        if (rank == 0)
          own_ = order;
        else
          out_.send(rank, order.SerializeAsString());
      }
    }
  }

  /// While rank 0 did not look, others may have said what it has not read.
  void forgive_own_absence() {
    const double now = steady_seconds(), away = now - std::exchange(looked_, now);
    for (auto& [name, job] : under_way_) job.failed_at += away > 1 ? away : 0;
  }

  void require_nobody_lost() const {
    const double now = steady_seconds();
    for (const auto& [name, job] : under_way_) {
      if (now - job.failed_at <= options_.longest_silence) continue;
      throw comm::PeerFailed(
          *job.silent.begin(),
          str("job ", name, " failed (", job.end.reason(), ") and rank ", *job.silent.begin(),
              " has said nothing of it for ", options_.longest_silence, " s"));
    }
  }

  /// A job has ended when all its ranks say so: they are free then. One that was asked to stop goes on in the next program.
  void take(int rank, const proto::JobReport& report) {
    if (report.outcome() == proto::JobReport::STOPPED) stop_all();
    if (!report.has_job()) return;
    const auto found = under_way_.find(report.job());
    HALO_REQUIRE(found != under_way_.end() && found->second.silent.erase(rank) == 1,
                 str("rank ", rank, " reports of job ", report.job(), ", which it does not do"));
    Job& job = found->second;
    acknowledge_failure(rank, report);
    job.stopped = job.stopped || report.outcome() == proto::JobReport::STOPPED;
    note_failure(job, rank, report);
    if (!job.silent.empty()) return;
    if (std::isfinite(job.failed_at) || !job.stopped) {
      proto::SchedulerEvent event;
      event.set_time(options_.clock());
      *event.mutable_ended() = job.end;
      event.mutable_ended()->set_name(report.job());
      event.mutable_ended()->set_succeeded(std::isinf(job.failed_at));
      record(event);
    }
    under_way_.erase(report.job());
  }

  /// Whoever does not hear of it knows that rank 0 hangs.
  void acknowledge_failure(int rank, const proto::JobReport& report) {
    if (rank == 0 || !report.has_reason()) return;
    proto::JobOrder heard;
    heard.set_heard(true);
    out_.send(rank, heard.SerializeAsString());
  }

  /// The first rank's reason that is its own, else the first.
  void note_failure(Job& job, int rank, const proto::JobReport& report) const {
    const bool of_peer = report.outcome() == proto::JobReport::PEER_FAILED;
    if (!of_peer && report.outcome() != proto::JobReport::FAILED) return;
    const bool is_first = std::isinf(job.failed_at);
    if (is_first) job.failed_at = steady_seconds();
    if (is_first || (job.reason_is_of_peer && !of_peer)) {
      const bool all_fail_alike = report.is_bad_input() || ranks_.size() == 1;
      job.end.set_reason(all_fail_alike ? report.reason()
                                        : str("rank ", rank, ": ", report.reason()));
      job.end.set_is_bad_input(report.is_bad_input());
    }
    job.reason_is_of_peer = job.reason_is_of_peer && of_peer;
  }

  comm::Communicator& ranks_;
  JobTable& table_;
  Journal& journal_;
  const CrewOptions& options_;
  Outbox out_;
  std::deque<Inbox> in_;  // of ranks 1, 2, ...
  std::map<std::string, Job> under_way_;
  proto::JobOrder own_;
  bool stopping_ = false;
  bool changed_ = true;  // the table, since it was asked what is due
  double next_due_ = 0;  // by time alone
  double looked_ = steady_seconds();
  Rest rest_;
};

/// Any other rank.
class Member {
 public:
  Member(comm::Communicator& ranks, const CrewOptions& options)
      : options_(options), in_(ranks, 0), out_(ranks) {}

  /// Until rank 0 sends it home.
  void run() {
    while (!goes_home_) {
      read_order();
      if (order_.has_job()) {
        const proto::JobOrder order = std::exchange(order_, {});
        Between between;
        const proto::JobReport done = options_.work(order, [&] {
          between.look([this] { read_order(); });
          return stopping_ || between.failed() || asked_to_stop(options_);
        });
        between.rethrow();
        report(done);
      } else {
        if (asked_to_stop(options_)) tell_of_signal();
        require_first_alive();
        rest_();
      }
      out_.look_after();
    }
    out_.send(0, "");  // heard
    out_.look_after(/*all=*/true);
  }

 private:
  void read_order() {
    const auto text = in_.poll();
    if (!text) return;
    order_ = parsed<proto::JobOrder>(*text);
    stopping_ = stopping_ || order_.stop();
    if (order_.heard()) unheard_since_ = std::numeric_limits<double>::infinity();
    goes_home_ = !order_.has_job() && !order_.stop() && !order_.heard();
  }
  void report(const proto::JobReport& report) {
    out_.send(0, report.SerializeAsString());
    if (report.has_reason()) unheard_since_ = steady_seconds();
  }
  /// Of a job that failed because rank 0 hangs nobody else would know.
  void require_first_alive() const {
    if (steady_seconds() - unheard_since_ <= options_.longest_silence) return;
    throw comm::PeerFailed(
        0, str("rank 0 has not heard for ", options_.longest_silence, " s that a job failed"));
  }
  void tell_of_signal() {
    if (std::exchange(told_, true) || stopping_) return;
    proto::JobReport stopped;
    stopped.set_outcome(proto::JobReport::STOPPED);
    report(stopped);
  }

  const CrewOptions& options_;
  Inbox in_;
  Outbox out_;
  proto::JobOrder order_;
  bool stopping_ = false, told_ = false, goes_home_ = false;
  double unheard_since_ = std::numeric_limits<double>::infinity();  // a report of a failure
  Rest rest_;
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
  Member(ranks, options).run();
}

}  // namespace halo::launch
