#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/halo/layer_sweep.h"
#include "launch/config.h"
#include "launch/jobs/job_folder.h"

namespace halo::launch {

// A select job that measures is done as one job of one rank for each shard of its tasks' batches, which leaves what it
// measured in output/NAME/shards/, and a last one, of the job's own name, that sums and selects. Its shards are known to the
// scheduler as "NAME.3-of-32", which no job of a config can be named.

[[nodiscard]] bool measures_layers(const proto::Job& job);

/// What the scheduler's name of a job stands for.
struct ScheduledName {
  std::string job;  // of the config
  std::optional<method::SweepShard> shard;
};
[[nodiscard]] std::string to_string(const ScheduledName& name);
[[nodiscard]] ScheduledName parse_scheduled_name(const std::string& text);

/// The folder that shards leave their results in.
[[nodiscard]] std::filesystem::path shards_folder(const JobFolder& folder);

/// A hash of all that the scores of a job's shards depend on: precision, tasks, teacher, its tokenizer, mixers. Throws
/// InputError when one is not there.
[[nodiscard]] std::string sweep_inputs(const Config& config, const proto::Job& job);

/// The model whose mixers a select job tries and their teacher, as open_model takes them. Throws InputError.
struct SweptModels {
  std::string teacher, mixers;
};
[[nodiscard]] SweptModels swept_models(const Config& config, const proto::Job& job);

/// The task files' examples, as many as the job asks for. Throws InputError.
[[nodiscard]] std::vector<infer::Task> selection_tasks(const proto::Select& select);

/// Writes what a shard measured, whole or not at all, with a checksum.
void write_shard(const JobFolder& folder, const std::string& inputs,
                 const method::SweepShard& shard, const method::SweepResult& result);
/// Reads it into the form of `nothing`. Nothing when there is no whole file made from these inputs.
[[nodiscard]] std::optional<method::SweepResult> read_shard(const JobFolder& folder,
                                                            const std::string& inputs,
                                                            const method::SweepShard& shard,
                                                            const method::SweepResult& nothing);

/// The sum of a whole set of shards in the folder. Throws Error when there is none.
[[nodiscard]] method::SweepResult sum_of_shards(const JobFolder& folder, const std::string& inputs,
                                                const method::SweepResult& nothing);

/// How a job's batches are shared out, and which shards earlier programs of the run have done.
struct ShardPlan {
  int count = 1;
  std::set<int> done;
};
/// By job name, of every select job that measures and has not `ended`. What earlier programs have begun is gone on with,
/// whatever the ranks and `shards` of the config are now; what was made from other inputs, or before a job that it needs is
/// made again, is removed.
[[nodiscard]] std::map<std::string, ShardPlan> plan_shards(const Config& config,
                                                           const std::set<std::string>& ended,
                                                           int ranks);

}  // namespace halo::launch
