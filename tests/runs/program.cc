#include "tests/runs/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::test {
namespace fs = std::filesystem;

fs::path program(const std::string& name) { return fs::path(HALO_PROGRAMS) / name; }
fs::path source_file(const std::string& name) { return fs::path(HALO_SOURCE) / name; }
fs::path data_file(const std::string& name) { return source_file("tests/data_files/" + name); }

RunningProgram::RunningProgram(const std::vector<std::string>& command, const fs::path& output)
    : output_(output) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int in = ::open("/dev/null", O_RDONLY);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    // Open MPI keeps memory until the process ends, some of it by plug-ins that are gone by then and have no name to be
    // suppressed by. The tests of the libraries look for leaks.
    if (command.front() == "mpirun" || command.front().ends_with("halo_train")) {
      ::setenv("ASAN_OPTIONS", "detect_leaks=0", /*replace=*/0);
    }
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  HALO_REQUIRE(pid_ > 0, "fork failed");
}

RunningProgram::~RunningProgram() {
  if (pid_ <= 0) return;
  kill_all();
  ::waitpid(pid_, nullptr, 0);
}

void RunningProgram::signal(int number) const { ::kill(pid_, number); }

std::vector<int> RunningProgram::children() const {
  std::vector<int> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const int process = std::atoi(entry.path().filename().c_str());
    if (process <= 0) continue;
    std::string line;
    std::getline(std::ifstream(entry.path() / "stat"), line);  // PID (NAME) STATE PARENT ...
    const std::size_t name_end = line.rfind(')');
    if (name_end == std::string::npos || name_end + 4 >= line.size()) continue;
    if (std::atoi(line.c_str() + name_end + 4) == pid_) found.push_back(process);
  }
  return found;
}

void RunningProgram::kill_all() const {
  const std::vector<int> ranks = children();  // before they lose their parent
  ::kill(pid_, SIGKILL);
  for (const int rank : ranks) ::kill(rank, SIGKILL);
}

bool RunningProgram::has_ended() const {
  siginfo_t info{};
  HALO_REQUIRE(::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0,
               "waitid failed");
  return info.si_pid == pid_;
}

ProgramResult RunningProgram::wait() {
  int status = 0;
  HALO_REQUIRE(::waitpid(pid_, &status, 0) == pid_, "waitpid failed");
  pid_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(output_)};
}

ProgramResult run_program(const std::vector<std::string>& command) {
  const TestFolder folder;
  return RunningProgram(command, folder / "output").wait();
}

std::vector<std::string> train_command(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> command;
  if (ranks > 0) {
    command = {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
               "-np",    std::to_string(ranks)};
  }
  command.push_back(program("halo_train").string());
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

TestFolder::TestFolder() {
  std::string name = (fs::temp_directory_path() / "halo_test_XXXXXX").string();
  HALO_REQUIRE(::mkdtemp(name.data()) != nullptr, "no temporary folder: " + name);
  path_ = name;
}

TestFolder::~TestFolder() {
  if (testing::Test::HasFailure()) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace halo::test
