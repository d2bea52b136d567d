// The golden stages on every layout of up to eight ranks, which are threads here: one rank's numbers, to rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/file.h"
#include "launch/config.h"
#include "launch/jobs/run_jobs.h"
#include "launch/metrics.h"
#include "parallel/comm/local_communicator.h"
#include "tests/runs/golden_case.h"
#include "tests/runs/layout_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStages[] = {"align", "distill", "finetune"};
constexpr double kTolerance = 1e-10;
constexpr int kSteps = 2;

using Tensors = std::map<std::string, std::vector<double>>;

/// What a stage left behind.
struct StageResult {
  std::vector<double> losses, grad_norms;
  Tensors gradients, weights;
};

Tensors read_gradients(const fs::path& path) {
  const checkpoints::SafetensorsFile file(path);
  Tensors tensors;
  for (const checkpoints::StoredTensor& t : file.tensors()) {
    std::vector<double> values(static_cast<std::size_t>(t.shape.elements()));
    file.read(t.name, parallel::whole(t.shape), view(values.data(), t.shape));
    tensors[t.name] = std::move(values);
  }
  return tensors;
}

Tensors read_masters(const fs::path& job) {
  const auto reader =
      checkpoints::open_checkpoint(job, [](const std::string& warning) { FAIL() << warning; });
  Tensors tensors;
  for (const checkpoints::CheckpointTensor& t : reader->tensors()) {
    std::vector<double> values(static_cast<std::size_t>(t.shape.elements()));
    reader->read(t.name, checkpoints::Which::kMaster, parallel::whole(t.shape),
                 view(values.data(), t.shape));
    tensors[t.name] = std::move(values);
  }
  return tensors;
}

/// A golden case with its results on one rank.
class Golden {
 public:
  explicit Golden(const std::string& name) : golden_(name, folder_.path()) {
    reference_ = run({}, "one");
  }

  /// The golden stages, going on where `output` has been left.
  [[nodiscard]] std::vector<StageResult> run(const LayoutCase& c, const std::string& output,
                                             int steps = kSteps) const {
    launch::Config config = launch::read_config(golden_.config().string());
    std::vector<std::string> arguments = layout_arguments(c);
    for (std::size_t i = 1; i < arguments.size(); i += 2)
      launch::apply_override(config, arguments[i]);
    launch::apply_override(config, str("train.steps=", steps));
    launch::apply_override(config, "train.optimizer.schedule=CONSTANT");  // whatever the length
    config.set_output((folder_ / output).string());
    const launch::Config resolved = launch::resolve(config, "golden");
    const std::atomic<bool> stop = false;
    comm::run_ranks(c.layout.ranks(), [&](comm::Communicator& world) {
      EXPECT_TRUE(launch::run_jobs(resolved, world, stop));
    });
    return read(output);
  }

  void expect_reference(const std::vector<StageResult>& results) const {
    expect_equal(results, reference_);
  }
  static void expect_equal(const std::vector<StageResult>& results,
                           const std::vector<StageResult>& reference) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      SCOPED_TRACE(kStages[i]);
      expect_near(results[i].losses, reference[i].losses, "loss");
      expect_near(results[i].grad_norms, reference[i].grad_norms, "grad_norm");
      expect_near(results[i].gradients, reference[i].gradients);
      expect_near(results[i].weights, reference[i].weights);
    }
  }

 private:
  [[nodiscard]] std::vector<StageResult> read(const std::string& output) const {
    std::vector<StageResult> results;
    for (const char* stage : kStages) {
      const fs::path job = folder_ / (output + '/' + stage);
      StageResult result;
      for (const launch::StepMetrics& m : launch::read_metrics(job / "metrics.jsonl")) {
        result.losses.push_back(m.loss);
        result.grad_norms.push_back(m.grad_norm);
      }
      result.gradients = read_gradients(job / "gradients.safetensors");
      result.weights = read_masters(job);
      results.push_back(std::move(result));
    }
    return results;
  }

  static void expect_near(const std::vector<double>& a, const std::vector<double>& b,
                          const std::string& name) {
    ASSERT_EQ(a.size(), b.size()) << name;
    double difference = 0, largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      difference = std::max(difference, std::isfinite(a[i]) ? std::fabs(a[i] - b[i]) : INFINITY);
      largest = std::max(largest, std::fabs(b[i]));
    }
    EXPECT_LE(difference, kTolerance * largest) << name;
  }
  static void expect_near(const Tensors& a, const Tensors& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, values] : b) {
      ASSERT_TRUE(a.contains(name)) << name;
      expect_near(a.at(name), values, name);
    }
  }

  TestFolder folder_;
  GoldenCase golden_;
  std::vector<StageResult> reference_;
};

class LayoutTest : public testing::TestWithParam<std::tuple<const char*, LayoutCase>> {
 protected:
  static const Golden& golden(const std::string& name) {
    static std::map<std::string, std::unique_ptr<Golden>> made;
    auto& golden = made[name];
    if (golden == nullptr) golden = std::make_unique<Golden>(name);
    return *golden;
  }
};

TEST_P(LayoutTest, EqualsOneRank) {
  const auto& [name, layout] = GetParam();
  const Golden& golden = LayoutTest::golden(name);
  golden.expect_reference(golden.run(layout, testing::PrintToString(layout)));
}

/// A step on one layout, one on the next, and so on: the weights and all steps are those of one rank.
TEST(LayoutResumeTest, AnotherLayoutGoesOn) {
  const Golden golden("tied");
  const std::vector<LayoutCase> cases = layout_cases(8, 4, 4);
  const std::vector<StageResult> reference = golden.run({}, "long", 4);
  for (const std::size_t first : {std::size_t{3}, cases.size() / 2, cases.size() - 1}) {
    std::vector<StageResult> last;
    for (int part = 0; part < 4; ++part) {
      const LayoutCase& c = cases[(first + static_cast<std::size_t>(part) * 11) % cases.size()];
      SCOPED_TRACE(testing::PrintToString(c));
      last = golden.run(c, str("parts", first), part + 1);
    }
    Golden::expect_equal(last, reference);
  }
}

INSTANTIATE_TEST_SUITE_P(Tied, LayoutTest,
                         testing::Combine(testing::Values("tied"),
                                          testing::ValuesIn(layout_cases(8, 4, 4))));
INSTANTIATE_TEST_SUITE_P(Untied, LayoutTest,
                         testing::Combine(testing::Values("untied"),
                                          testing::ValuesIn(layout_cases(8, 3, 4))));

}  // namespace
}  // namespace halo::test
