#pragma once
#include <functional>
#include <optional>

#include "tests/runs/golden_case.h"

namespace halo::test {

constexpr const char* kStages[] = {"align", "distill", "finetune"};

/// The golden case's three stages with more and shorter steps, so that a run can be met in the middle of each.
class ResumeCase {
 public:
  /// `options` of halo_train come after the case's own.
  explicit ResumeCase(std::int64_t steps, std::vector<std::string> options = {});

  [[nodiscard]] std::int64_t steps() const { return steps_; }
  /// Of the align and distill jobs.
  [[nodiscard]] std::filesystem::path tokens() const { return golden_->tokens(); }
  [[nodiscard]] std::filesystem::path output(const std::string& name) const {
    return folder_ / name;
  }
  [[nodiscard]] std::filesystem::path job(const std::string& output,
                                          const std::string& name) const {
    return folder_ / output / name;
  }
  [[nodiscard]] std::vector<std::string> command(int ranks, const std::string& output,
                                                 const std::vector<std::string>& more = {}) const;
  /// Runs to the end and expects exit code 0; returns what it wrote.
  std::string run(int ranks, const std::string& output,
                  const std::vector<std::string>& more = {}) const;
  /// Starts a run, calls `act` once the job has at least `lines` steps in metrics.jsonl, and waits for its end. Nothing
  /// when it had ended before that.
  [[nodiscard]] std::optional<ProgramResult> interrupt(
      int ranks, const std::string& output, const std::string& job, std::size_t lines,
      const std::function<void(const RunningProgram&)>& act) const;

  /// Asks a run to stop in the middle of a job and expects exit code 0. By SIGTERM to the program; under mpirun, whose own
  /// answer to SIGTERM is to end with a failure, by SIGUSR1, which it passes on to all ranks, or with `one_rank` by
  /// SIGTERM to its last one. False when the run had ended first.
  bool stop(int ranks, const std::string& output, const std::string& job, std::size_t lines,
            bool one_rank = false) const;

  /// Every step once and in order, every loss, grad_norm and final weight equal to the other's: bit for bit, or within
  /// a relative tolerance.
  void expect_equal(const std::string& output, const std::string& unbroken,
                    double tolerance = 0.0) const;

 private:
  void expect_equal_weights(const std::string& job, const std::string& output,
                            const std::string& unbroken, double tolerance) const;
  [[nodiscard]] checkpoints::SafetensorsFile exported(const std::string& job,
                                                      const std::string& output) const;

  TestFolder folder_;
  std::unique_ptr<GoldenCase> golden_;
  std::int64_t steps_;
  std::vector<std::string> options_;
};

/// How a run is killed, `tries` times at random moments that `seed` gives.
struct Kills {
  int ranks;
  bool one_rank;  // or all of them with mpirun
  unsigned seed;
  int tries;
};
/// Kills a run again and again, lets it end, and expects the unbroken run's results.
void expect_equal_after_kills(const ResumeCase& resume, const Kills& kills);

}  // namespace halo::test
