#include "launch/jobs/nan_drill.h"

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "core/base/host_access.h"

namespace halo::launch {

NanDrill NanDrill::parse(const std::string& text) {
  NanDrill drill;
  long long step = -1, steps = 0;
  int once = 0, always = 0;
  const int read =
      std::sscanf(text.c_str(), "%d:%lld%n:%lld%n", &drill.rank, &step, &once, &steps, &always);
  const bool whole = (read == 2 && text.size() == static_cast<std::size_t>(once)) ||
                     (read == 3 && steps > 0 && text.size() == static_cast<std::size_t>(always));
  HALO_REQUIRE_INPUT(whole && drill.rank >= 0 && step >= 0,
                     str("HALO_DRILL_NAN=", text, ": expected RANK:STEP or RANK:STEP:STEPS"));
  drill.step = step;
  drill.steps = steps;
  return drill;
}

std::optional<NanDrill> NanDrill::from_environment(int ranks) {
  const char* const text = std::getenv("HALO_DRILL_NAN");
  if (text == nullptr) return std::nullopt;
  NanDrill drill = parse(text);
  HALO_REQUIRE_INPUT(drill.rank < ranks,
                     str("HALO_DRILL_NAN=", text, ": there are ", ranks, " ranks, counted from 0"));
  return drill;
}

void NanDrill::spoil(int own_rank, std::int64_t own_step, const train::ShardedAdamW& optimizer,
                     Stream& stream) {
  const bool first_try = std::exchange(last_step_, own_step) != own_step;
  const bool meant =
      steps == 0 ? own_step == step && first_try : own_step >= step && own_step < step + steps;
  const auto owned = optimizer.counted();
  if (own_rank != rank || !meant || owned.empty()) return;
  const TensorView& gradient = owned.front().gradient;
  const TensorView one = gradient.reshape({gradient.size()}).slice(0, 0, 1);
  write_from_host(one, stream, [](const TensorView& value) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    if (value.dtype == DType::kFloat64) {
      *value.as<double>() = kNan;
    } else {
      *value.as<float>() = static_cast<float>(kNan);
    }
  });
}

}  // namespace halo::launch
