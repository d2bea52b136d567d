#pragma once
#include <string>
#include <vector>

#include "tests/runs/layout_case.h"
#include "tests/runs/program.h"
#include "tests/runs/small_model.h"
#include "tests/runs/training_results.h"

namespace halo::test {

/// A small model with the results of its three stages on one rank.
class SmallRun {
 public:
  explicit SmallRun(const SmallModelOptions& options, std::vector<std::string> settings = {});
  /// The stages on a layout whose ranks are threads, or with `processes` by halo_train under mpirun.
  void expect_one_ranks_results(const LayoutCase& c, bool processes = false) const;
  [[nodiscard]] const SmallModel& model() const { return model_; }
  /// What is set on a layout.
  [[nodiscard]] std::vector<std::string> settings(const LayoutCase& c) const;
  [[nodiscard]] std::filesystem::path output(const LayoutCase& c) const;

 private:
  TestFolder folder_;
  SmallModel model_;
  std::vector<std::string> settings_;
  std::vector<TrainingResult> reference_;
};

}  // namespace halo::test
