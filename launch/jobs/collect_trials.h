#pragma once
#include <filesystem>
#include <vector>

#include "launch/config.h"
#include "launch/sweep/trial_table.h"

namespace halo::launch {

/// The folders that the trials of a run may lie in: its output, and those in it that shares of the trials have.
[[nodiscard]] std::vector<std::filesystem::path> trial_folders(const Config& run);

/// What the trials of a run that resolve_run made have come to, ranked: by the files of their objectives' jobs, by the
/// journals, and by the decisions of successive halving. Where several folders hold a trial the one counts that has come
/// furthest. Throws InputError for a damaged file.
[[nodiscard]] TrialTable collect_trials(const Config& run);

}  // namespace halo::launch
