#include "launch/sweep/draw_trials.h"

#include <cmath>
#include <set>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/base/text.h"

namespace halo::launch {
namespace {

constexpr std::size_t kMaxTrials = 1000;
/// Draws in a row that only give trials there are, after which no other is looked for.
constexpr int kMostRedraws = 10000;

using Trials = std::vector<std::vector<std::string>>;

bool is_range(const proto::Parameter& parameter) {
  return parameter.has_low() || parameter.has_high();
}

std::vector<std::string> texts(const proto::Parameter& parameter) {
  std::vector<std::string> found(parameter.values().begin(), parameter.values().end());
  for (const proto::Choice& choice : parameter.choice()) found.push_back(choice.name());
  return found;
}

class ParameterCheck {
 public:
  ParameterCheck(const proto::Sweep& sweep, int index)
      : parameter_(sweep.parameter(index)),
        draws_(sweep.trials() > 0 && sweep.strategy() != proto::Sweep::GRID),
        path_(str("sweep.parameter[", parameter_.path().empty() ? str(index) : parameter_.path(),
                  ']')) {}

  void check() const {
    require(!parameter_.path().empty(), ".path is missing: name a field, as --set does");
    const int kinds = (parameter_.values_size() > 0 ? 1 : 0) +
                      (parameter_.choice_size() > 0 ? 1 : 0) + (is_range(parameter_) ? 1 : 0);
    require(kinds == 1, ": give one of values, choice, and low with high");
    if (is_range(parameter_)) check_range();
    std::set<std::string> seen;
    for (const std::string& text : texts(parameter_))
      require(seen.insert(text).second, ": \"", text, "\" stands there twice");
    for (const proto::Choice& choice : parameter_.choice())
      require(!choice.name().empty(), ".choice: a choice has no name");
  }

 private:
  void check_range() const {
    const double low = parameter_.low(), high = parameter_.high();
    require(parameter_.has_low() && parameter_.has_high(), ": a range needs low and high");
    require(std::isfinite(low) && std::isfinite(high) && low < high, ": low is ", low, " and high ",
            high, ": low must be below high");
    require(!parameter_.logarithmic() || low > 0, ".low is ", low,
            ": a logarithmic range is above 0");
    require(draws_,
            ": a range has no values to combine: give sweep.trials and strategy RANDOM or "
            "SUCCESSIVE_HALVING, or values");
  }
  template <class... Args>
  void require(bool ok, const Args&... reason) const {
    if (!ok) throw InputError(str(path_, reason...));
  }

  const proto::Parameter& parameter_;
  bool draws_;
  std::string path_;
};

/// How many there are; 0 for a range, which never ends.
std::size_t combinations(const proto::Sweep& sweep) {
  std::size_t all = 1;
  for (const proto::Parameter& parameter : sweep.parameter()) {
    all *= texts(parameter).size();
    if (all == 0 || all > std::size_t{1} << 30) break;  // enough to know
  }
  return all;
}

Trials grid(const proto::Sweep& sweep) {
  const std::size_t all = combinations(sweep);
  HALO_REQUIRE_INPUT(all <= kMaxTrials,
                     str("sweep: ", all, " combinations are more than ", kMaxTrials,
                         " trials: give fewer values, or draw sweep.trials of them by RANDOM"));
  Trials trials;
  for (std::size_t i = 0; i < all; ++i) {
    std::vector<std::string>& trial = trials.emplace_back(sweep.parameter_size());
    std::size_t rest = i;
    for (int p = sweep.parameter_size(); p-- > 0;) {
      const std::vector<std::string> values = texts(sweep.parameter(p));
      trial[static_cast<std::size_t>(p)] = values[rest % values.size()];
      rest /= values.size();
    }
  }
  return trials;
}

std::string drawn(const proto::Parameter& parameter, const CounterRng& random, std::uint64_t i) {
  if (!is_range(parameter)) {
    const std::vector<std::string> values = texts(parameter);
    return values[static_cast<std::size_t>(random.below(values.size(), i))];
  }
  const double u = random.uniform(i), low = parameter.low(), high = parameter.high();
  const double value =
      parameter.logarithmic() ? low * std::exp(u * std::log(high / low)) : low + u * (high - low);
  if (takes_whole_numbers(parameter.path())) return formatted("%.0f", value);
  return formatted("%.4g", value);
}

Trials draw(const proto::Sweep& sweep) {
  const auto wanted = static_cast<std::size_t>(sweep.trials());
  const std::size_t all = combinations(sweep);
  HALO_REQUIRE_INPUT(wanted <= kMaxTrials,
                     str("sweep.trials is ", wanted, ": there can be ", kMaxTrials));
  HALO_REQUIRE_INPUT(all == 0 || wanted <= all,
                     str("sweep.trials is ", wanted, " and there are ", all,
                         all == 1 ? " combination" : " combinations", " of values"));
  const auto seed = static_cast<std::uint64_t>(sweep.seed());
  Trials trials;
  std::set<std::vector<std::string>> seen;
  int redraws = 0;
  for (std::uint64_t i = 0; trials.size() < wanted; ++i) {
    std::vector<std::string> trial;
    for (const proto::Parameter& parameter : sweep.parameter())
      trial.push_back(drawn(parameter, CounterRng(seed, "sweep " + parameter.path()), i));
    if (seen.insert(trial).second) {
      trials.push_back(std::move(trial));
      redraws = 0;
    }
    HALO_REQUIRE_INPUT(++redraws <= kMostRedraws,
                       str("sweep.trials is ", wanted, " and the ranges give hardly more than ",
                           trials.size(), " trials that differ"));
  }
  return trials;
}

}  // namespace

std::vector<std::vector<std::string>> draw_trials(const proto::Sweep& sweep) {
  HALO_REQUIRE_INPUT(sweep.parameter_size() > 0, "sweep has no parameter");
  HALO_REQUIRE_INPUT(sweep.trials() >= 0,
                     str("sweep.trials is ", sweep.trials(), ": it must be at least 0"));
  HALO_REQUIRE_INPUT(sweep.seed() >= 0,
                     str("sweep.seed is ", sweep.seed(), ": it must be at least 0"));
  std::set<std::string> paths;
  for (int i = 0; i < sweep.parameter_size(); ++i) {
    ParameterCheck(sweep, i).check();
    const std::string& path = sweep.parameter(i).path();
    HALO_REQUIRE_INPUT(paths.insert(path).second,
                       str("sweep.parameter[", path, "]: the path stands there twice"));
  }
  const bool halving = sweep.strategy() == proto::Sweep::SUCCESSIVE_HALVING;
  if (sweep.strategy() == proto::Sweep::GRID) {
    HALO_REQUIRE_INPUT(sweep.trials() == 0,
                       str("sweep.trials is ", sweep.trials(),
                           ": a GRID has every combination; strategy RANDOM draws some"));
    return grid(sweep);
  }
  if (halving && sweep.trials() == 0) return grid(sweep);
  HALO_REQUIRE_INPUT(sweep.trials() > 0, "sweep.trials is missing: how many RANDOM draws");
  return draw(sweep);
}

std::vector<std::string> assignments(const proto::Parameter& parameter, const std::string& text) {
  for (const proto::Choice& choice : parameter.choice())
    if (choice.name() == text) return {choice.set().begin(), choice.set().end()};
  return {parameter.path() + '=' + text};
}

}  // namespace halo::launch
