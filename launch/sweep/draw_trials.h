#pragma once
#include <string>
#include <vector>

#include "launch/config.h"

namespace halo::launch {

/// What each trial of a sweep takes of each parameter, one text a parameter as tables show it: a value, the name of a choice,
/// or a number drawn from a range, of four digits. A pure function of the sweep: with more `trials` the first ones stay.
/// GRID, and SUCCESSIVE_HALVING without `trials`: every combination, that of the last parameter changing fastest. Otherwise
/// `trials` of them, drawn by `seed`, no two alike. Throws InputError for parameters that cannot be meant, more than 1000
/// trials, and more trials than there are combinations.
[[nodiscard]] std::vector<std::vector<std::string>> draw_trials(const proto::Sweep& sweep);

/// The assignments, as --set takes them, that a parameter's text in draw_trials stands for.
[[nodiscard]] std::vector<std::string> assignments(const proto::Parameter& parameter,
                                                   const std::string& text);

}  // namespace halo::launch
