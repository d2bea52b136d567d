#include "launch/jobs/job_runner.h"

#include <iostream>
#include <vector>

#include "core/base/progress_point.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/recent_calls.h"
#include "launch/program.h"

namespace halo::launch {
namespace {

JobOutcome run_job(const JobContext& context) {
  switch (context.job.work_case()) {
    case proto::Job::kTrain:
      return run_train_job(context);
    case proto::Job::kSelect:
      return run_select_job(context);
    case proto::Job::kEvaluate:
      return run_evaluate_job(context);
    case proto::Job::kExport:
      return run_export_job(context);
    case proto::Job::kReport:
      return run_report_job(context);
    case proto::Job::WORK_NOT_SET:
      break;
  }
  throw InputError(str("job ", context.job.name(), " has no work"));
}

/// Of shards of a job, which stop on several ranks, the run tells when it ends.
void say_stopped(const JobContext& context) {
  if (!context.is_first_rank() || context.shard) return;
  std::cout << "stopped as asked before the end of job " << context.job.name()
            << "; the same command goes on from there" << std::endl;
}

}  // namespace

parallel::Layout layout_of_job(const proto::Job& job, int ranks) {
  parallel::Layout layout;
  if (job.has_train()) {
    layout.pipeline = job.layout().pipeline();
    layout.context = job.layout().context();
    layout.tensor = job.layout().tensor();
  }
  try {
    return parallel::fill_data(layout, ranks);
  } catch (const InputError& error) {
    throw InputError(str("job ", job.name(), ": ", error.what()));
  }
}

JobRunner::JobRunner(const Config& config, comm::Communicator& world, comm::Communicator& ranks,
                     Stream& stream)
    : config_(config),
      world_(world),
      ranks_(ranks),
      stream_(stream),
      matmul_tables_(config.output(), world.rank(), stream) {
  for (int i = 0; i < config.job_size(); ++i) places_[config.job(i).name()] = i;
}

int JobRunner::index_of(const std::string& job) const {
  const auto found = places_.find(job);
  HALO_REQUIRE(found != places_.end(), str("there is no job ", job));
  return found->second;
}

proto::JobReport::Outcome JobRunner::run_on(comm::Communicator& ranks, const ScheduledName& name,
                                            std::int64_t until,
                                            const std::function<bool()>& stop_requested) {
  const int job = index_of(name.job);
  const proto::Job& spec = config_.job(job);
  pass_point({"job", -1, spec.name()});
  const parallel::DeviceMesh mesh(ranks, layout_of_job(spec, ranks.size()));
  const JobContext context{config_,         spec,           job,           mesh,
                           stream_,         stop_requested, world_.size(), until,
                           &matmul_tables_, name.shard};
  const bool stopped = context.stop_agreed() || run_job(context) == JobOutcome::kStopped;
  matmul_tables_.save();
  if (stopped) {
    say_stopped(context);
    return proto::JobReport::STOPPED;
  }
  ranks.barrier().wait();  // nobody reports what another rank may still fail at
  if (!spec.has_report()) pass_point({"job_ended"});  // one that is made each time is no progress
  return proto::JobReport::SUCCEEDED;
}

proto::JobReport JobRunner::run(const proto::JobOrder& order,
                                const std::function<bool()>& stop_requested) {
  proto::JobReport report;
  report.set_job(order.job());
  const ScheduledName name = parse_scheduled_name(order.job());
  const std::vector<int> members(order.rank().begin(), order.rank().end());
  const std::unique_ptr<comm::Communicator> ranks = ranks_.group(members, "job");
  try {
    report.set_outcome(run_on(*ranks, name, order.until(), stop_requested));
  } catch (const comm::PeerFailed& failure) {
    report.set_outcome(proto::JobReport::PEER_FAILED);
    report.set_reason(failure.what());
    ranks->abort(failure.what());  // a deadline was this rank's alone
  } catch (const std::exception&) {
    const Failure failure = current_failure();
    report.set_outcome(proto::JobReport::FAILED);
    report.set_reason(failure.reason);
    report.set_is_bad_input(failure.is_bad_input);
    ranks->abort(failure.reason);  // ends it on its other ranks too
  }
  if (report.has_reason()) note_failure(report);
  stream_.synchronize();  // throws where the GPU is lost to this process
  return report;
}

/// Calls are of interest once the job has begun.
void JobRunner::note_failure(const proto::JobReport& report) const {
  const std::string job = parse_scheduled_name(report.job()).job;
  const bool begun = std::filesystem::exists(JobFolder(config_.output(), job).path());
  if (begun && !report.is_bad_input()) keep_recent_calls(config_.output(), world_.rank(), world_);
  if (on_failure) on_failure(report.reason(), report.outcome() == proto::JobReport::PEER_FAILED);
}

}  // namespace halo::launch
