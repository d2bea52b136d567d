#pragma once
#include <string>
#include <utility>
#include <vector>

#include "tests/runs/resume_case.h"

namespace halo::test {

/// Sets a variable of the environment while it lives.
class Environment {
 public:
  Environment(const char* name, const char* value);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment();

 private:
  const char* name_;
};

inline const std::vector<std::string> kNoRollback{"--set", "train.guard.rollback_after=0"};

/// Runs to the end with numbers that are not finite where HALO_DRILL_NAN says; returns what was written.
std::string run_with_nan(const ResumeCase& resume, const char* drill, int ranks,
                         const std::string& output, const std::vector<std::string>& more = {});

/// Of every job: what its newest checkpoint, its metrics and its summary say was skipped, steps [begin, end).
void expect_skipped(const ResumeCase& resume, const std::string& output,
                    const std::vector<std::pair<std::int64_t, std::int64_t>>& skipped);

}  // namespace halo::test
