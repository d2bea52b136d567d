#pragma once
#include "core/model/parameters.h"

namespace halo::launch {

/// Fills weights for measurements: matrices with a few million numbers of N(0, 0.02^2) again and again, vectors with what
/// they start from.
void fill_random(const model::ParameterSet& parameters, Stream& stream);

/// `tokens` with ids below `vocab_size`, the same for the same `name`.
void fill_random(std::vector<std::int32_t>& tokens, std::int64_t vocab_size, std::string_view name);

}  // namespace halo::launch
