#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace halo::test {

using Tensors = std::map<std::string, std::vector<double>>;

/// What a training job left behind.
struct TrainingResult {
  std::string job;
  std::vector<double> losses, grad_norms;  // of each step
  Tensors gradients;                       // of the step that `dump_gradients_at` names
  Tensors weights;                         // the masters at the end
};

inline const std::vector<std::string> kJobs{"align", "distill", "finetune"};  // names of jobs

/// What each of `jobs` left in the folder of a run.
[[nodiscard]] std::vector<TrainingResult> read_results(const std::filesystem::path& output,
                                                       const std::vector<std::string>& jobs);

/// Series and tensors differ by no more than `tolerance` of their largest number; 0: not at all.
void expect_near(const std::vector<TrainingResult>& results,
                 const std::vector<TrainingResult>& reference, double tolerance);

/// A config and the fields, "path=value", that are set on top of it.
struct TrainingRun {
  std::filesystem::path config, output;
  std::vector<std::string> settings;
};
/// Runs its jobs on ranks that are threads, and expects them to end.
void run_on_threads(int ranks, const TrainingRun& run);
/// Runs them by halo_train under mpirun; 0: without mpirun.
void run_on_processes(int ranks, const TrainingRun& run);

}  // namespace halo::test
