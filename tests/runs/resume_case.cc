#include "tests/runs/resume_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <random>
#include <thread>

#include "core/base/file.h"
#include "launch/metrics.h"
#include "tests/runs/read_values.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;

std::size_t lines_of(const fs::path& path) {
  if (!fs::exists(path)) return 0;
  const std::string text = read_file(path);
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

bool close(double a, double b, double tolerance) {
  return tolerance == 0.0 ? a == b : std::fabs(a - b) <= tolerance * std::fabs(b);
}

double norm(const std::vector<double>& values) {
  double squares = 0.0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

/// A tensor sums over many products: its difference is measured against the whole of it.
void expect_equal_tensor(const checkpoints::SafetensorsFile& file,
                         const checkpoints::SafetensorsFile& other, const std::string& name,
                         double tolerance) {
  ASSERT_TRUE(file.contains(name)) << name;
  std::vector<double> a = read_values(file, name);
  const std::vector<double> b = read_values(other, name);
  ASSERT_EQ(a.size(), b.size()) << name;
  if (tolerance == 0.0) {
    EXPECT_EQ(a, b) << name;
    return;
  }
  for (std::size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  EXPECT_LE(norm(a), tolerance * norm(b)) << name;
}

}  // namespace

ResumeCase::ResumeCase(std::int64_t steps, std::vector<std::string> options)
    : golden_(std::make_unique<GoldenCase>("tied", folder_.path())),
      steps_(steps),
      options_(std::move(options)) {}

std::vector<std::string> ResumeCase::command(int ranks, const std::string& output,
                                             const std::vector<std::string>& more) const {
  std::vector<std::string> arguments{
      "--config", golden_->config().string(),      "--output", (folder_ / output).string(),
      "--set",    str("train.steps=", steps_),     "--set",    "train.data.sequence_length=32",
      "--set",    "train.checkpoint.every_steps=7"};
  arguments.insert(arguments.end(), options_.begin(), options_.end());
  arguments.insert(arguments.end(), more.begin(), more.end());
  return train_command(ranks, arguments);
}

std::string ResumeCase::run(int ranks, const std::string& output,
                            const std::vector<std::string>& more) const {
  const ProgramResult result = run_program(command(ranks, output, more));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  return result.output;
}

std::optional<ProgramResult> ResumeCase::interrupt(
    int ranks, const std::string& output, const std::string& job_name, std::size_t lines,
    const std::function<void(const RunningProgram&)>& act) const {
  RunningProgram program(command(ranks, output), folder_ / "output.txt");
  const fs::path metrics = job(output, job_name) / "metrics.jsonl";
  while (lines_of(metrics) < lines) {
    if (program.has_ended()) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  act(program);
  return program.wait();
}

void ResumeCase::expect_equal(const std::string& output, const std::string& unbroken,
                              double tolerance) const {
  for (const char* name : kStages) {
    SCOPED_TRACE(name);
    const auto steps = launch::read_metrics(job(output, name) / "metrics.jsonl");
    const auto expected = launch::read_metrics(job(unbroken, name) / "metrics.jsonl");
    ASSERT_EQ(steps.size(), static_cast<std::size_t>(steps_));
    ASSERT_EQ(expected.size(), steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      ASSERT_EQ(steps[i].step, static_cast<std::int64_t>(i));
      EXPECT_EQ(steps[i].lr, expected[i].lr) << i;
      EXPECT_EQ(steps[i].skipped, expected[i].skipped) << i;
      if (steps[i].skipped) continue;
      EXPECT_TRUE(close(steps[i].loss, expected[i].loss, tolerance))
          << i << ": " << steps[i].loss << ", unbroken " << expected[i].loss;
      EXPECT_TRUE(close(steps[i].grad_norm, expected[i].grad_norm, tolerance))
          << i << ": " << steps[i].grad_norm << ", unbroken " << expected[i].grad_norm;
    }
    expect_equal_weights(name, output, unbroken, tolerance);
  }
}

void ResumeCase::expect_equal_weights(const std::string& job_name, const std::string& output,
                                      const std::string& unbroken, double tolerance) const {
  const checkpoints::SafetensorsFile weights = exported(job_name, output);
  const checkpoints::SafetensorsFile expected = exported(job_name, unbroken);
  EXPECT_EQ(weights.tensors().size(), expected.tensors().size());
  EXPECT_GT(expected.tensors().size(), 0U);
  for (const checkpoints::StoredTensor& t : expected.tensors())
    expect_equal_tensor(weights, expected, t.name, tolerance);
}

checkpoints::SafetensorsFile ResumeCase::exported(const std::string& job_name,
                                                  const std::string& output) const {
  const fs::path to = folder_ / ("export_" + output + '_' + job_name);
  const ProgramResult result =
      run_program({program("halo").string(), "export", "--from", job(output, job_name).string(),
                   "--to", to.string(), "--dtype", "float64"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const bool mixers = fs::exists(to / "mixers.safetensors");
  return checkpoints::SafetensorsFile(to / (mixers ? "mixers.safetensors" : "model.safetensors"));
}

bool ResumeCase::stop(int ranks, const std::string& output, const std::string& job_name,
                      std::size_t lines, bool one_rank) const {
  const auto act = [&](const RunningProgram& program) {
    if (ranks > 0 && one_rank) {
      const std::vector<int> children = program.children();
      if (!children.empty()) ::kill(children.back(), SIGTERM);
    } else {
      program.signal(ranks > 0 ? SIGUSR1 : SIGTERM);
    }
  };
  const auto result = interrupt(ranks, output, job_name, lines, act);
  if (!result) return false;
  EXPECT_EQ(result->exit_code, 0) << result->output;
  return result->output.find("; the same command goes on from there") != std::string::npos;
}

void expect_equal_after_kills(const ResumeCase& resume, const Kills& kills) {
  std::mt19937 random(kills.seed);
  std::ignore = resume.run(kills.ranks, "unbroken");
  int met = 0;
  for (int i = 0; i < kills.tries; ++i) {
    const char* job = kStages[i * 3 / kills.tries];
    // Some moments follow a step, some anything: a start, a checkpoint under way, a change of jobs.
    const std::size_t lines = random() % static_cast<unsigned>(resume.steps());
    const auto pause = std::chrono::milliseconds(random() % 60);
    const auto act = [&](const RunningProgram& program) {
      std::this_thread::sleep_for(pause);
      const std::vector<int> children = program.children();
      if (kills.ranks == 0 || !kills.one_rank || children.empty()) {
        program.kill_all();
      } else {
        ::kill(children[random() % children.size()], SIGKILL);
      }
    };
    const auto result = resume.interrupt(kills.ranks, "killed", job, lines, act);
    if (result && result->exit_code != 0) ++met;
  }
  EXPECT_GE(met, 2) << "too few of the kills met a run";
  std::ignore = resume.run(kills.ranks, "killed");
  resume.expect_equal("killed", "unbroken");
}

}  // namespace halo::test
