#pragma once
#include <map>
#include <string>
#include <string_view>

#include "launch/config.h"

namespace halo::launch {

/// Some of a sweep's trials: the index-th of `of` parts of the list, from 1. Neighbouring trials, which have most stages in
/// common, are in one part.
struct Share {
  int index = 1;
  int of = 1;
};
/// Of a text such as "2/8"; empty: all. Throws InputError.
[[nodiscard]] Share parse_share(std::string_view text);
/// The folder in the run's output that a share of several has for its own: "share_2_of_8". All trials: the output itself.
[[nodiscard]] std::string share_folder(const Share& share);

/// resolve() of a config whose sweep, if it has one, is made into jobs. Each trial is the config with the trial's values
/// assigned, resolved as it is alone: of its jobs it has the objective's and those that this one needs; a need that stands
/// for a reference which the trial does not have is none. Jobs that are the same but for how and where they run, with all that
/// they need, become one job, which several trials share. A job that is the same in all trials keeps its name; others are
/// named NAME@HASH by their content, so that a later sweep of the same output finds those of them that it has too. Reports of
/// the config come after all; its other jobs are left out. A share of several must have no export job. `trial` lists the trials of the share with the job of each one's
/// objective; `stored` is resolve()'s, for the config's own names.
/// Throws InputError for everything that cannot be meant, naming the parameter or the trial.
[[nodiscard]] Config resolve_run(const Config& config, std::string_view name,
                                 const std::map<std::string, Config>& stored = {},
                                 const Share& share = {});

/// "trial 3 (seed=7)": the first trial of a run that resolve_run made which needs a job that not all trials have; empty for other
/// jobs.
[[nodiscard]] std::string trial_of_job(const Config& run, const std::string& job);

/// The config without its sweep and with one trial's values, to run that trial alone. Throws InputError when there is no
/// such trial.
[[nodiscard]] Config trial_config(const Config& config, std::string_view name, int trial);

}  // namespace halo::launch
