#pragma once
#include "launch/config.h"

namespace halo::launch {

/// Checks the meaning of a config whose defaults are filled in: required fields, ranges, references. Throws InputError
/// with the field's path, its value and what it may be.
void check_resolved(const Config& config);

}  // namespace halo::launch
