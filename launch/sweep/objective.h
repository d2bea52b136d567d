#pragma once
#include <string>

#include "launch/config.h"

namespace halo::launch {

/// The position of the job that a sweep's objective is read from: the one that it names, else the last one of the config that
/// can have it. Throws InputError when there is none.
[[nodiscard]] int objective_job(const Config& config);

/// Throws InputError unless the job, with its defaults filled in, gives the sweep's objective: a training job its
/// validation_loss or its loss, an evaluate job of one model its perplexity, bits_per_byte or "task:NAME", an accuracy.
void check_objective(const proto::Sweep& sweep, const proto::Job& job);

/// "NAME" of "task:NAME"; empty for other objectives.
[[nodiscard]] std::string objective_task(const proto::Sweep& sweep);

/// Of an accuracy more is better, of all else less.
[[nodiscard]] bool more_is_better(const proto::Sweep& sweep);

}  // namespace halo::launch
