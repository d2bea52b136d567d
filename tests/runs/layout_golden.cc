#include "tests/runs/layout_golden.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>

namespace halo::test {

LayoutGolden::LayoutGolden(const std::string& name) : golden_(name, folder_.path()) {
  reference_ = run({}, "one");
}

std::vector<TrainingResult> LayoutGolden::run(const LayoutCase& c, const std::string& output,
                                              const Options& options) const {
  TrainingRun run{golden_.config(), folder_ / output, layout_settings(c)};
  run.settings.push_back(str("train.steps=", options.steps));
  run.settings.emplace_back("train.optimizer.schedule=CONSTANT");  // whatever the length
  run.settings.insert(run.settings.end(), options.settings.begin(), options.settings.end());
  if (options.ranks == Ranks::kThreads)
    run_on_threads(c.layout.ranks(), run);
  else
    run_on_processes(c.layout.ranks(), run);
  return read_results(run.output, kJobs);
}

void LayoutGolden::expect_one_ranks_results(const LayoutCase& c, Ranks ranks) const {
  Options options;
  options.ranks = ranks;
  const std::string output = str(testing::PrintToString(c), ' ', static_cast<int>(ranks));
  expect_near(run(c, output, options), reference_, kLayoutTolerance);
}

const LayoutGolden& LayoutGolden::of(const std::string& name) {
  static std::map<std::string, std::unique_ptr<LayoutGolden>> made;
  auto& golden = made[name];
  if (golden == nullptr) golden = std::make_unique<LayoutGolden>(name);
  return *golden;
}

}  // namespace halo::test
