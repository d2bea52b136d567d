#pragma once
#include <string>
#include <vector>

#include "tests/runs/golden_case.h"
#include "tests/runs/layout_case.h"
#include "tests/runs/training_results.h"

namespace halo::test {

/// Ranks add in another order than one rank does: rounding, in float64, after kSteps steps.
constexpr double kLayoutTolerance = 1e-10;

/// A golden case with the results of its three stages on one rank.
class LayoutGolden {
 public:
  explicit LayoutGolden(const std::string& name);

  enum class Ranks : std::uint8_t { kThreads, kProcesses };
  struct Options {
    Ranks ranks = Ranks::kThreads;
    int steps = 2;
    std::vector<std::string> settings;  // on top of the layout's
  };
  /// The stages on a layout, going on where the run in the folder `output` has ended.
  [[nodiscard]] std::vector<TrainingResult> run(const LayoutCase& c, const std::string& output,
                                                const Options& options) const;
  [[nodiscard]] std::vector<TrainingResult> run(const LayoutCase& c,
                                                const std::string& output) const {
    return run(c, output, Options());
  }
  /// Runs the layout and compares.
  void expect_one_ranks_results(const LayoutCase& c, Ranks ranks) const;

  /// The case of that name, made when it is first asked for.
  static const LayoutGolden& of(const std::string& name);

 private:
  TestFolder folder_;
  GoldenCase golden_;
  std::vector<TrainingResult> reference_;
};

}  // namespace halo::test
