#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/monitor/http_client.h"
#include "tests/runs/resume_case.h"

namespace halo::test {

/// halo_train in the background with a monitor on a free port.
class MonitoredRun {
 public:
  /// `ranks` 0: without mpirun. Waits until it listens; throws Error with its output when it ends before.
  MonitoredRun(const ResumeCase& resume, int ranks, const std::string& output);
  /// Of any halo_train command; `written` is the file for what it writes.
  MonitoredRun(std::vector<std::string> command, const std::filesystem::path& written);

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string url() const;
  [[nodiscard]] RunningProgram& program() { return program_; }
  /// Waits until a job has done so many steps.
  void wait_for_steps(const std::string& job, std::int64_t steps) const;
  /// What is told of a rank once it is in that state.
  [[nodiscard]] nlohmann::json rank_when(int rank, const std::string& state) const;

 private:
  std::filesystem::path output_;
  RunningProgram program_;
  std::uint16_t port_ = 0;
};

}  // namespace halo::test
