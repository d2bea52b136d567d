#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/config.h"

namespace halo::launch {

// Successive halving: all trials are trained for some steps, the best of them on for more, and of these the best to the end.
// Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization". The rungs are
// of the steps of the objective's job; its learning rate is that of all its steps, so that a trial that comes to the end is
// the one that it would have been alone.

/// Whether the run's trials are compared before their ends.
[[nodiscard]] bool is_halving(const Config& run);

/// Throws InputError when the trials of a run that resolve_run made cannot be compared: the objective's job does not train, or
/// for other numbers of steps in some trials, or min_steps and reduction give no rung.
void check_halving(const Config& run);

/// The steps after which trials are compared, and at last those of a whole trial: min_steps, min_steps * reduction, ...
[[nodiscard]] std::vector<std::int64_t> rung_steps(const proto::Halving& halving,
                                                   std::int64_t steps);

/// What a job came to at a rung.
struct RungResult {
  std::string job;
  std::optional<double> objective;  // none: it failed
  std::string reason;               // why it has none
  bool goes_on = false;
};

/// How many of n jobs go on.
[[nodiscard]] std::size_t places_of(std::size_t jobs, int reduction);

/// The results that may go on, the best first, of equal ones the earlier in the list.
[[nodiscard]] std::vector<RungResult*> ranked(std::vector<RungResult>& results);

/// Decides: of n jobs that began the rung floor(n / reduction), at least one, go on, those with the lowest objectives, of equal
/// ones the earlier in the list. None goes on that failed, or whose objective is not finite.
void decide_rung(std::vector<RungResult>& results, int reduction);

struct Rung {
  std::int64_t steps = 0;
  std::vector<RungResult> results;
};
/// The decisions of a run are files of its output, rungs/0.json, rungs/1.json, ..., each written once.
[[nodiscard]] std::filesystem::path rung_file(const std::filesystem::path& output, int rung);
void write_rung(const std::filesystem::path& path, const Rung& rung);
/// Throws InputError for a file that is none.
[[nodiscard]] Rung read_rung(const std::filesystem::path& path);

/// Where a training job paused, and what it had come to.
struct Pause {
  std::int64_t step = 0;
  std::optional<double> validation_loss;
  double loss = 0;  // mean of the last tenth of its steps
};
/// Adds it to paused.json in a job's folder.
void write_pause(const std::filesystem::path& job, const Pause& pause);
/// The one after so many steps; nothing when it has not paused there. Throws InputError for a damaged file.
[[nodiscard]] std::optional<Pause> read_pause(const std::filesystem::path& job, std::int64_t step);
/// Of it, the sweep's objective; none when it is not a number.
[[nodiscard]] std::optional<double> objective_of(const proto::Sweep& sweep, const Pause& pause);

}  // namespace halo::launch
