#include "tests/runs/small_run.h"

#include <gtest/gtest.h>

namespace halo::test {

constexpr double kTolerance = 1e-10;  // rounding, in float64, after two steps

SmallRun::SmallRun(const SmallModelOptions& options, std::vector<std::string> settings)
    : model_(options, folder_.path()), settings_(std::move(settings)) {
  run_on_threads(1, {model_.config(), folder_ / "one", settings_});
  reference_ = read_results(folder_ / "one", kJobs);
}

std::vector<std::string> SmallRun::settings(const LayoutCase& c) const {
  std::vector<std::string> all = layout_settings(c);
  all.insert(all.end(), settings_.begin(), settings_.end());
  return all;
}

std::filesystem::path SmallRun::output(const LayoutCase& c) const {
  return folder_ / testing::PrintToString(c);
}

void SmallRun::expect_one_ranks_results(const LayoutCase& c, bool processes) const {
  SCOPED_TRACE(testing::PrintToString(c));
  const TrainingRun run{model_.config(), output(c), settings(c)};
  if (processes)
    run_on_processes(c.layout.ranks(), run);
  else
    run_on_threads(c.layout.ranks(), run);
  expect_near(read_results(run.output, kJobs), reference_, kTolerance);
}

}  // namespace halo::test
