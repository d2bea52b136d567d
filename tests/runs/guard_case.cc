#include "tests/runs/guard_case.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/file.h"
#include "launch/metrics.h"

namespace halo::test {

using testing::HasSubstr;

Environment::Environment(const char* name, const char* value) : name_(name) {
  setenv(name, value, 1);
}
Environment::~Environment() { unsetenv(name_); }

std::string run_with_nan(const ResumeCase& resume, const char* drill, int ranks,
                         const std::string& output, const std::vector<std::string>& more) {
  const Environment nan("HALO_DRILL_NAN", drill);
  return resume.run(ranks, output, more);
}

void expect_skipped(const ResumeCase& resume, const std::string& output,
                    const std::vector<std::pair<std::int64_t, std::int64_t>>& skipped) {
  for (const char* job : kStages) {
    SCOPED_TRACE(job);
    const auto folder = resume.job(output, job);
    const auto reader = checkpoints::open_checkpoint(
        folder, [](const std::string& warning) { ADD_FAILURE() << warning; });
    EXPECT_EQ(reader->info().skipped, skipped);
    std::int64_t count = 0;
    for (const auto& [begin, end] : skipped) count += end - begin;
    EXPECT_EQ(reader->info().step, resume.steps());
    EXPECT_EQ(reader->info().adam_steps, resume.steps() - count);
    for (const launch::StepMetrics& m : launch::read_metrics(folder / "metrics.jsonl")) {
      const bool in_range = std::ranges::any_of(
          skipped, [&](const auto& r) { return r.first <= m.step && m.step < r.second; });
      EXPECT_EQ(m.skipped, in_range) << m.step;
      EXPECT_EQ(m.tokens == 0, in_range) << m.step;
      EXPECT_TRUE(in_range || std::isfinite(m.loss)) << m.step;
    }
    EXPECT_THAT(read_file(folder / "summary.json"), HasSubstr(str("\"skipped\": ", count)));
  }
}

}  // namespace halo::test
