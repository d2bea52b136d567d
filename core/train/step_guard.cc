#include "core/train/step_guard.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/json.h"

namespace halo::train {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

/// Adds a range that ends where the last one does or later; those that it covers become one with it.
void add_range(std::vector<StepRange>& ranges, StepRange range) {
  while (!ranges.empty() && ranges.back().second >= range.first) {
    range.first = std::min(range.first, ranges.back().first);
    ranges.pop_back();
  }
  ranges.push_back(range);
}

}  // namespace

std::string to_json(const GuardState& state) {
  return nlohmann::json{{"streak", state.streak},
                        {"rollbacks", state.rollbacks},
                        {"rolled_back_to", state.rolled_back_to},
                        {"losses", state.losses}}
      .dump();
}

GuardState parse_guard_state(std::string_view text, const std::string& name) {
  const nlohmann::json document = parse_json(text, name);
  const JsonValue json(document, name);
  GuardState state;
  state.streak = json.at("streak").integer(0, kMax);
  state.rollbacks = json.at("rollbacks").integer(0, kMax);
  state.rolled_back_to = json.at("rolled_back_to").integer(-1, kMax);
  const JsonValue losses = json.at("losses");
  losses.require_array();
  for (std::size_t i = 0; i < losses.size(); ++i) state.losses.push_back(losses[i].number());
  return state;
}

void StepGuard::restore(GuardState state) {
  state_ = std::move(state);
  second_try_ = false;
}

bool StepGuard::is_spike(double loss) const {
  if (options_.spike_factor == 0.0 || std::ssize(state_.losses) < options_.spike_window)
    return false;
  std::vector<double> losses = state_.losses;
  const auto middle = losses.begin() + std::ssize(losses) / 2;
  std::ranges::nth_element(losses, middle);
  return loss > options_.spike_factor * *middle;
}

void StepGuard::accept(double loss) {
  state_.streak = 0;
  state_.rolled_back_to = -1;
  if (options_.spike_factor == 0.0) return;
  state_.losses.push_back(loss);
  const auto extra = std::max<std::ptrdiff_t>(
      std::ssize(state_.losses) - static_cast<std::ptrdiff_t>(options_.spike_window), 0);
  state_.losses.erase(state_.losses.begin(), state_.losses.begin() + extra);
}

Verdict StepGuard::judge(std::int64_t step, double loss, double grad_norm) {
  const bool finite = std::isfinite(loss) && std::isfinite(grad_norm);
  if (finite && !is_spike(loss)) {
    second_try_ = false;
    accept(loss);
    return Verdict::kAccept;
  }
  second_try_ = !second_try_;
  if (second_try_) return Verdict::kComputeAgain;
  if (finite || options_.skip_nonfinite) return skip(step);
  reason_ = str("step ", step, ": loss ", loss, ", gradient norm ", grad_norm,
                ", computed twice; the weights are unchanged. Lower train.optimizer.lr, look at "
                "the data, or set train.guard.skip_nonfinite to pass over such steps");
  return Verdict::kFail;
}

Verdict StepGuard::skip(std::int64_t step) {
  ++state_.streak;
  add_range(state_.skipped, {step, step + 1});
  if (options_.rollback_after == 0 || state_.streak < options_.rollback_after)
    return Verdict::kSkip;
  const std::int64_t first = step + 1 - state_.streak;
  const std::string what =
      str("steps ", first, " to ", step, ", in a row, are not finite or spikes of the loss; ");
  const char* const advice = "Lower train.optimizer.lr or look at the data, and begin the job anew";
  if (state_.rollbacks >= options_.max_rollbacks) {
    reason_ = str(what, "the job has gone back to a checkpoint ", state_.rollbacks,
                  " times before (train.guard.max_rollbacks is ", options_.max_rollbacks, "). ",
                  advice, ", or allow more of them");
    return Verdict::kFail;
  }
  if (state_.rolled_back_to == 0) {
    reason_ = str(what, "so are the first weights, with which the job has begun anew. ", advice);
    return Verdict::kFail;
  }
  // The weights that a rollback has just brought back are no good either: older ones then.
  rollback_.newest = state_.rolled_back_to > 0 ? state_.rolled_back_to - 1 : first;
  rollback_.next = step + 1;
  return Verdict::kRollBack;
}

void StepGuard::roll_back(GuardState then, std::int64_t to) {
  HALO_REQUIRE(to <= rollback_.newest,
               str("a rollback to step ", to, ", later than ", rollback_.newest));
  then.rollbacks = state_.rollbacks + 1;
  then.streak = 0;
  then.rolled_back_to = to;
  add_range(then.skipped, {to, rollback_.next});
  restore(std::move(then));
}

}  // namespace halo::train
