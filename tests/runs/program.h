#pragma once
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace halo::test {

/// How a program ended and what it wrote.
struct ProgramResult {
  int exit_code = 0;   // 128 + signal when it was killed
  std::string output;  // standard output and error together
};

/// The programs under test, beside each other in the build tree.
[[nodiscard]] std::filesystem::path program(const std::string& name);  // "halo", "halo_train"

/// A program that runs in the background with its output in a file.
class RunningProgram {
 public:
  RunningProgram(const std::vector<std::string>& command, const std::filesystem::path& output);
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram();  // kills all of it when it still runs

  [[nodiscard]] int pid() const { return pid_; }
  void signal(int number) const;
  /// The ids of the processes that it started and that still run: mpirun's ranks on this host.
  [[nodiscard]] std::vector<int> children() const;
  /// SIGKILL to it and to its children.
  void kill_all() const;
  [[nodiscard]] bool has_ended() const;
  [[nodiscard]] ProgramResult wait();

 private:
  int pid_ = -1;
  std::filesystem::path output_;
};

/// Runs a command to its end.
[[nodiscard]] ProgramResult run_program(const std::vector<std::string>& command);

/// halo_train on `ranks` ranks under mpirun; 0: alone, without mpirun.
[[nodiscard]] std::vector<std::string> train_command(int ranks,
                                                     const std::vector<std::string>& arguments);

/// A folder for one test, empty, removed at its end unless the test failed.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// A file of the source tree.
[[nodiscard]] std::filesystem::path source_file(const std::string& name);
/// A file of tests/data_files.
[[nodiscard]] std::filesystem::path data_file(const std::string& name);

}  // namespace halo::test
