#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "core/base/stream.h"
#include "core/halo/layer_sweep.h"
#include "launch/config.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/matmul_tables.h"
#include "parallel/device_mesh.h"

namespace halo::launch {

/// What every job is given: the run's resolved config, its own part of it, the ranks and threads it runs on.
struct JobContext {
  const Config& config;
  const proto::Job& job;
  int index;  // of job in config
  const parallel::DeviceMesh& mesh;
  Stream& stream;
  /// Whether the run was asked to stop, as far as this rank knows. Between steps, and as often as the run's other jobs
  /// should not wait for this rank.
  std::function<bool()> stop_requested;
  int ranks_of_run = 1;
  std::int64_t until = 0;  // a training job is to pause after so many steps; 0: to its end
  MatmulTables* matmul_tables = nullptr;  // saved with each checkpoint
  std::optional<method::SweepShard> shard =
      std::nullopt;  // of a select job, that alone is to be done

  [[nodiscard]] comm::Communicator& world() const { return mesh.world(); }
  [[nodiscard]] bool is_first_rank() const { return world().rank() == 0; }
  [[nodiscard]] JobFolder folder() const { return {config.output(), job.name()}; }
  [[nodiscard]] JobFolder folder_of(const std::string& name) const {
    return {config.output(), name};
  }
  [[nodiscard]] std::uint64_t seed() const { return static_cast<std::uint64_t>(job.seed()); }
  [[nodiscard]] DType dtype() const;

  /// Makes the job's folder and stores the job's config in it, which later runs are compared with: on rank 0, once the
  /// job's input has proven good.
  void begin_folder() const;
  /// Whether any of the job's ranks was asked to stop. Collective.
  [[nodiscard]] bool stop_agreed() const;
};

/// begin_folder of a job by its position in the config.
void begin_job_folder(const Config& config, int job);

enum class JobOutcome : std::uint8_t { kDone, kStopped };

JobOutcome run_train_job(const JobContext& context);
JobOutcome run_select_job(const JobContext& context);
JobOutcome run_evaluate_job(const JobContext& context);
JobOutcome run_export_job(const JobContext& context);
JobOutcome run_report_job(const JobContext& context);

}  // namespace halo::launch
