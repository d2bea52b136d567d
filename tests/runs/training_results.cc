#include "tests/runs/training_results.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/safetensors.h"
#include "launch/config.h"
#include "launch/jobs/run_jobs.h"
#include "launch/metrics.h"
#include "parallel/comm/local_communicator.h"
#include "tests/runs/program.h"
#include "tests/runs/read_values.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;

Tensors read_gradients(const fs::path& path) {
  const checkpoints::SafetensorsFile file(path);
  Tensors tensors;
  for (const checkpoints::StoredTensor& t : file.tensors())
    tensors[t.name] = read_values(file, t.name);
  return tensors;
}

Tensors read_masters(const fs::path& job) {
  const auto reader = checkpoints::open_checkpoint(
      job, [](const std::string& warning) { ADD_FAILURE() << warning; });
  Tensors tensors;
  for (const checkpoints::CheckpointTensor& t : reader->tensors()) {
    std::vector<double> values(static_cast<std::size_t>(t.shape.elements()));
    reader->read(t.name, checkpoints::Which::kMaster, parallel::whole(t.shape),
                 view(values.data(), t.shape));
    tensors[t.name] = std::move(values);
  }
  return tensors;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b,
                 const std::string& name, double tolerance) {
  ASSERT_EQ(a.size(), b.size()) << name;
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::isfinite(a[i]) ? std::fabs(a[i] - b[i]) : INFINITY);
    largest = std::max(largest, std::fabs(b[i]));
  }
  EXPECT_LE(difference, tolerance * largest) << name;
}

void expect_near(const Tensors& a, const Tensors& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, values] : b) {
    ASSERT_TRUE(a.contains(name)) << name;
    expect_near(a.at(name), values, name, tolerance);
  }
}

}  // namespace

std::vector<TrainingResult> read_results(const fs::path& output,
                                         const std::vector<std::string>& jobs) {
  std::vector<TrainingResult> results;
  for (const std::string& job : jobs) {
    TrainingResult result;
    result.job = job;
    for (const launch::StepMetrics& m : launch::read_metrics(output / job / "metrics.jsonl")) {
      result.losses.push_back(m.loss);
      result.grad_norms.push_back(m.grad_norm);
    }
    result.gradients = read_gradients(output / job / "gradients.safetensors");
    result.weights = read_masters(output / job);
    results.push_back(std::move(result));
  }
  return results;
}

void expect_near(const std::vector<TrainingResult>& results,
                 const std::vector<TrainingResult>& reference, double tolerance) {
  ASSERT_EQ(results.size(), reference.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    SCOPED_TRACE(reference[i].job);
    expect_near(results[i].losses, reference[i].losses, "loss", tolerance);
    expect_near(results[i].grad_norms, reference[i].grad_norms, "grad_norm", tolerance);
    expect_near(results[i].gradients, reference[i].gradients, tolerance);
    expect_near(results[i].weights, reference[i].weights, tolerance);
  }
}

void run_on_threads(int ranks, const TrainingRun& run) {
  launch::Config config = launch::read_config(run.config.string());
  for (const std::string& setting : run.settings) launch::apply_override(config, setting);
  config.set_output(run.output.string());
  const launch::Config resolved = launch::resolve(config, run.config.string());
  const std::atomic<bool> stop = false;
  comm::run_ranks(ranks, [&](comm::Communicator& world) {
    EXPECT_EQ(launch::run_jobs(resolved, world, stop), launch::RunOutcome::kDone);
  });
}

void run_on_processes(int ranks, const TrainingRun& run) {
  std::vector<std::string> arguments{"--config", run.config.string(), "--output",
                                     run.output.string()};
  for (const std::string& setting : run.settings)
    arguments.insert(arguments.end(), {"--set", setting});
  const ProgramResult result = run_program(train_command(ranks, arguments));
  ASSERT_EQ(result.exit_code, 0) << result.output;
}

}  // namespace halo::test
