#include "tests/monitor/monitored_run.h"

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::test {
namespace {

std::vector<std::string> with_monitor(std::vector<std::string> command) {
  command.insert(command.end(), {"--monitor", "127.0.0.1:0"});
  return command;
}

void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

}  // namespace

MonitoredRun::MonitoredRun(const ResumeCase& resume, int ranks, const std::string& output)
    : MonitoredRun(resume.command(ranks, output), resume.output(output + ".txt")) {}

MonitoredRun::MonitoredRun(std::vector<std::string> command, const std::filesystem::path& written)
    : output_(written), program_(with_monitor(std::move(command)), output_) {
  const std::string begin = "monitor: http://127.0.0.1:";
  while (port_ == 0) {
    const bool ended = program_.has_ended();
    const std::string text = std::filesystem::exists(output_) ? read_file(output_) : "";
    const std::size_t at = text.find(begin);
    if (at != std::string::npos && text.find('\n', at) != std::string::npos)
      port_ = static_cast<std::uint16_t>(std::atoi(text.c_str() + at + begin.size()));
    else if (ended)
      throw Error("the run ended without a monitor: " + text);
    pause();
  }
}

std::string MonitoredRun::url() const { return str("http://127.0.0.1:", port_, '/'); }

void MonitoredRun::wait_for_steps(const std::string& job, std::int64_t steps) const {
  for (;;) {
    HALO_REQUIRE(!program_.has_ended(), "the run ended: " + read_file(output_));
    const auto status = nlohmann::json::parse(get(port_, "/api/status").body);
    for (const auto& known : status["jobs"])
      if (known["name"] == job && known["step"] >= steps) return;
    pause();
  }
}

nlohmann::json MonitoredRun::rank_when(int rank, const std::string& state) const {
  for (;;) {
    HALO_REQUIRE(!program_.has_ended(), "the run ended: " + read_file(output_));
    const auto status = nlohmann::json::parse(get(port_, "/api/status").body);
    for (const auto& known : status["ranks"])
      if (known["rank"] == rank && known["state"] == state) return known;
    pause();
  }
}

}  // namespace halo::test
