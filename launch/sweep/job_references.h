#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "launch/config.h"

namespace halo::launch {

/// The models that a job reads, as the config names them, paths and "job:NAME".
[[nodiscard]] std::vector<std::string> models_read(const proto::Job& job);

/// The jobs that a job names as "job:NAME" in any of its fields.
[[nodiscard]] std::set<std::string> jobs_read(const proto::Job& job);

/// Puts other names in their place; those that `names` lacks stay.
void rename_jobs_read(proto::Job& job, const std::map<std::string, std::string>& names);

}  // namespace halo::launch
