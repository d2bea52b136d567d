#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "launch/scheduler/frames.h"
#include "launch/scheduler/job_table.h"
#include "launch/scheduler/journal.h"

namespace halo::launch {

// The ranks of a run at work on the jobs of a table: rank 0 says who does what, and works along. Ranks without a job sleep; none
// waits for those of other jobs.

struct CrewOptions {
  /// Does one job on this rank, one of order.rank(), together with the others, over communicators of their own. Calls
  /// `stop_requested` in between, as often as jobs elsewhere should not wait for rank 0: it looks after them there, and says
  /// on every rank whether the run is to stop. Must not throw but for what ends the run.
  std::function<proto::JobReport(const proto::JobOrder& order,
                                 const std::function<bool()>& stop_requested)>
      work;
  /// Seconds since 1970.
  std::function<double()> clock;
  /// Set by a signal to this rank: the run is to stop, on all ranks.
  const std::atomic<bool>* stop = nullptr;
  /// Rank 0 is told of every event that the journal has.
  std::function<void(const proto::SchedulerEvent&)> on_event;
  /// Seconds from the first report that a job failed after which its ranks that have not reported are lost, and after which
  /// rank 0 is when it has not heard of one.
  double longest_silence = 1800;
};

/// Rank 0's part. The table has its jobs already; each event is in the journal before it counts. Throws PeerFailed when a
/// rank is lost.
void run_first(comm::Communicator& ranks, JobTable& table, Journal& journal,
               const CrewOptions& options);
/// Every other rank's. Returns when rank 0 says that there is no more to do.
void run_other(comm::Communicator& ranks, const CrewOptions& options);

}  // namespace halo::launch
