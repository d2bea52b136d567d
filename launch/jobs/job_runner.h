#pragma once
#include <functional>
#include <map>
#include <string>

#include "core/base/stream.h"
#include "launch/config.h"
#include "launch/jobs/matmul_tables.h"
#include "launch/jobs/sweep_shards.h"
#include "launch/scheduler/scheduler.pb.h"
#include "parallel/comm/communicator.h"
#include "parallel/device_mesh.h"

namespace halo::launch {

/// The layout of a job on so many ranks: training jobs run on their own, the others share their work out over all. Throws
/// InputError when it does not divide them.
[[nodiscard]] parallel::Layout layout_of_job(const proto::Job& job, int ranks);

/// Does jobs on this rank, as it is told.
class JobRunner {
 public:
  /// `world` is all ranks of the run, `ranks` the same with what carries the memory that they compute on. All must
  /// outlive it.
  JobRunner(const Config& config, comm::Communicator& world, comm::Communicator& ranks,
            Stream& stream);

  /// One job, with the other ranks of the order. Says how it ended; throws only what ends the run: PeerFailed when the ranks
  /// do not find together, and a GPU's failure after which it computes nothing any more.
  proto::JobReport run(const proto::JobOrder& order, const std::function<bool()>& stop_requested);

  /// Is told when a job fails on this rank, by itself or because another rank did; may be empty.
  std::function<void(const std::string& reason, bool of_peer)> on_failure;

 private:
  [[nodiscard]] int index_of(const std::string& job) const;
  proto::JobReport::Outcome run_on(comm::Communicator& ranks, const ScheduledName& name,
                                   std::int64_t until, const std::function<bool()>& stop_requested);

  void note_failure(const proto::JobReport& report) const;

  const Config& config_;
  std::map<std::string, int> places_;  // of jobs in the config, by name
  comm::Communicator& world_;
  comm::Communicator& ranks_;
  Stream& stream_;
  MatmulTables matmul_tables_;
};

}  // namespace halo::launch
