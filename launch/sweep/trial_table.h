#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halo::launch {

/// How far a trial has come.
enum class TrialState : std::uint8_t {
  kWaiting,
  kRunning,  // begun and not ended, whether or not a program is at it now
  kDropped,  // by successive halving: others were better
  kFailed,
  kDone,
};
[[nodiscard]] std::string to_string(TrialState state);

struct TrialRow {
  int number = 0;
  std::vector<std::string> values;  // one a parameter
  std::optional<double>
      objective;             // of the last time that it was measured; none: not yet, or not finite
  std::int64_t step = 0;     // steps of the objective's job by then; 0: it does not train
  std::int64_t skipped = 0;  // of them, steps that nothing was learned from
  TrialState state = TrialState::kWaiting;
  std::string reason;  // why it failed
  std::string job;     // that has the objective
  std::vector<std::pair<std::int64_t, double>>
      curve;  // step and loss, validation's where it is the objective
};

/// What the trials of a sweep have come to.
struct TrialTable {
  std::vector<std::string> parameters;
  std::string objective;
  bool more_is_better = false;
  std::vector<TrialRow> rows;  // see rank_trials
};

/// The parameters' paths without what goes before their last words, as far as these tell them apart.
[[nodiscard]] std::vector<std::string> short_names(const std::vector<std::string>& paths);

/// The best first: those that are done by their objective, then those that got further, those that failed last; of equals the
/// lower number.
void rank_trials(TrialTable& table);

/// "18", or "18, 3 skipped"; empty before any.
[[nodiscard]] std::string steps_of(const TrialRow& row);

/// The first `most` rows for a terminal, ending in a newline, and how many more there are.
[[nodiscard]] std::string trials_text(const TrialTable& table, std::size_t most);
/// All of them: rank, trial, a column a parameter, the objective at full precision, step, skipped, state, reason, job. RFC 4180.
[[nodiscard]] std::string trials_csv(const TrialTable& table);
/// {"objective", "more_is_better", "parameters", "trials": [{"trial", "values": {path: text}, "objective", "step", "skipped", "state",
/// "reason", "job"}, ...]}.
[[nodiscard]] std::string trials_json(const TrialTable& table);
/// A section of the report's page: curves, parallel coordinates and the table, as SVG without a script.
[[nodiscard]] std::string trials_html(const TrialTable& table);

}  // namespace halo::launch
