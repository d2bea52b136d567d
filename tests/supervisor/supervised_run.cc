#include "tests/supervisor/supervised_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <regex>

#include "core/base/error.h"

namespace halo::test {

SupervisedRun::SupervisedRun(int ranks, std::int64_t steps) : ranks_(ranks), resume_(steps) {
  std::ignore = resume_.run(ranks, "unbroken");
}

std::vector<std::string> SupervisedRun::command(const std::string& output,
                                                const std::vector<std::string>& options) const {
  std::vector<std::string> all{program("halo_launch").string(), "--backoff", "0"};
  all.insert(all.end(), options.begin(), options.end());
  all.emplace_back("--");
  const auto run = resume_.command(ranks_, output);
  all.insert(all.end(), run.begin(), run.end());
  return all;
}

ProgramResult SupervisedRun::run(const std::string& output, const std::vector<std::string>& options,
                                 const std::string& drill) const {
  if (!drill.empty()) setenv("HALO_DRILL", drill.c_str(), 1);
  setenv("ASAN_OPTIONS", "detect_leaks=0", 0);  // MPI's, as program.cc says
  ProgramResult result = run_program(command(output, options));
  unsetenv("HALO_DRILL");
  return result;
}

std::string SupervisedRun::expect_survives(const std::string& drill,
                                           const std::vector<std::string>& options,
                                           bool restarts) const {
  SCOPED_TRACE(drill);
  std::string name = drill;
  std::ranges::replace(name, ':', '_');
  const ProgramResult result = run(name, options, drill);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("a drill: HALO_DRILL"), std::string::npos)
      << "the drill met nothing\n"
      << result.output;
  EXPECT_EQ(result.output.find("; restart 1 of at most") != std::string::npos, restarts)
      << result.output;
  EXPECT_EQ(result.output.find("; restart 2 of at most"), std::string::npos) << result.output;
  resume_.expect_equal(name, "unbroken");
  return result.output;
}

std::string SupervisedRun::expect_survives_all(const std::string& output,
                                               const std::vector<std::string>& drills,
                                               const std::vector<std::string>& options) const {
  std::string all;
  for (const std::string& drill : drills) all += (all.empty() ? "" : ";") + drill;
  const ProgramResult result = run(output, options, all);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  std::size_t at = 0;
  for (const std::string& drill : drills) {
    const std::size_t met = result.output.find("a drill: HALO_DRILL lets rank", at);
    const std::size_t restart = result.output.find("; restart ", met);
    EXPECT_NE(restart, std::string::npos) << drill << " met nothing\n" << result.output;
    if (restart == std::string::npos) return result.output;
    const std::size_t end = result.output.find('\n', restart);
    EXPECT_TRUE(is_named(result.output.substr(met, end - met), drill.substr(0, drill.find(':'))))
        << drill << '\n'
        << result.output.substr(at, end - at);
    at = end;
  }
  EXPECT_EQ(result.output.find("; restart ", at), std::string::npos) << result.output;
  resume_.expect_equal(output, "unbroken");
  return result.output;
}

bool is_named(const std::string& told, const std::string& rank) {
  return std::regex_search(
      told, std::regex(str("halo_launch: it failed[^\n]*rank ", rank,
                           "( \\(host |, which has sent no beat)|process rank ", rank,
                           " with PID|Process name: \\[\\[[0-9]+,[0-9]+\\],", rank, "\\]")));
}

}  // namespace halo::test
