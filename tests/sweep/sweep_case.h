#pragma once
#include <map>
#include <string>
#include <vector>

#include "launch/metrics.h"
#include "tests/runs/golden_case.h"

namespace halo::test {

/// Sweeps over an ALIGN job that trials share and a DISTILL job of 18 steps, on one rank each, with the golden models.
class SweepCase {
 public:
  /// `sweep` are the fields of the config's sweep.
  explicit SweepCase(const std::string& sweep);

  [[nodiscard]] std::vector<std::string> command(int ranks, const std::string& output,
                                                 const std::vector<std::string>& more = {}) const;
  [[nodiscard]] ProgramResult run(int ranks, const std::string& output,
                                  const std::vector<std::string>& more = {}) const;
  [[nodiscard]] std::filesystem::path output(const std::string& name) const {
    return folder_ / name;
  }
  /// The trials as `halo report` writes them, the best first: what its JSON says of each, by name.
  [[nodiscard]] std::vector<std::map<std::string, std::string>> table(
      const std::string& output) const;
  /// Runs a trial alone and expects the sweep's job to have the same losses, gradient norms and validation losses, and each step
  /// once, as far as it came.
  void expect_as_alone(const std::string& output,
                       const std::map<std::string, std::string>& row) const;
  /// Starts the sweep, kills it and all its ranks after so many lines of its journal and then some, and says whether it still ran.
  bool kill(int ranks, const std::string& output, std::size_t events, int milliseconds) const;

  /// Of the config, "halo" report and others.
  [[nodiscard]] std::filesystem::path config() const { return folder_ / "sweep.textproto"; }

 private:
  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

}  // namespace halo::test
