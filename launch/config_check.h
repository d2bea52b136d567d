#pragma once
#include <string_view>

#include "launch/config.h"

namespace halo::launch {

/// Checks the meaning of a config whose defaults are filled in: required fields, ranges, references. Throws InputError
/// with the field's path, its value and what it may be.
void check_resolved(const Config& config);

/// Whether a select job of this strategy chooses by scores, rather than by the number of layers alone.
[[nodiscard]] bool is_measured(proto::Strategy strategy);

/// Its position in config.job(); -1 when there is none of this name.
[[nodiscard]] int find_job(const Config& config, std::string_view name);

}  // namespace halo::launch
