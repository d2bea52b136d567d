#pragma once
#include <string>

#include "launch/config.h"

namespace halo::launch {

/// The name that a job has in the config that its sweep stands in.
[[nodiscard]] std::string name_in_config(const proto::Job& job);

/// Whether no job before it differs from it in the values of a sweep alone.
[[nodiscard]] bool is_first_of_its_trials(const Config& resolved, int job);

/// Whether a command is to look at a job: at the one of the name `asked`, which is the run's or the config's; empty: at all.
/// Of jobs that differ by the values of a sweep alone the first one stands for all.
[[nodiscard]] bool is_asked(const Config& resolved, int job, const std::string& asked);

/// The trials of a sweep with their values, and how many jobs they have by what each is in the config; empty without one.
[[nodiscard]] std::string sweep_text(const Config& resolved);

/// What a run would take, as a table: of each training job its trained parameters, the memory of a rank (weights,
/// gradients, optimizer state, activations, teacher) and the FLOPs of a step on `ranks` ranks, or as many as a job asks for if
/// that are more. Reads configs of models,
/// never weights; jobs that need results of earlier ones are computed from the config alone. Of
/// jobs that differ by the values of a sweep the first one stands for all, below sweep_text.
/// Throws InputError like resolve.
[[nodiscard]] std::string dry_run(const Config& resolved, int ranks);

}  // namespace halo::launch
