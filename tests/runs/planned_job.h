#pragma once
#include "launch/config.h"
#include "launch/plan/machine.h"
#include "tests/runs/program.h"

namespace halo::test {

/// A config that distils in bfloat16 a Qwen3 of `layers` layers with 8B's sizes otherwise into a hybrid that keeps the first
/// and the middle one as softmax attention. There are no weights and no tokens: it can be planned, not run.
[[nodiscard]] launch::Config distillation(const TestFolder& folder, int layers, std::int64_t length,
                                          std::int64_t sequences);

/// The h100 preset with other memory.
[[nodiscard]] launch::proto::Machine machine_of(double memory_gib);

}  // namespace halo::test
