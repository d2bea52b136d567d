#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "launch/command_line.h"

namespace halo::launch {

inline constexpr int kExitFailure = 1;  // something failed
inline constexpr int kExitBadInput =
    2;  // what the user gave cannot be used: options, config, files

/// Reads the command line and does what it asks for. What they throw becomes one line on standard error,
/// "name: error: reason", and the exit code: kExitBadInput for options that cannot be parsed and for InputError,
/// kExitFailure for everything else, lost output (a full disk behind standard output) included. --help is no error.
[[nodiscard]] int run_program(Program& program, int argc, char** argv);

/// What an exception tells a user.
struct Failure {
  std::string reason;
  bool is_bad_input = false;
  [[nodiscard]] int exit_code() const { return is_bad_input ? kExitBadInput : kExitFailure; }
};
/// Of the exception that is being handled.
[[nodiscard]] Failure current_failure();

/// Runs `body` and answers its exit code, or reports what it throws as run_program does.
[[nodiscard]] int run_guarded(std::string_view program, const std::function<int()>& body);

/// One line on standard error, "name: error: reason", whatever lines the reason has.
void report_error(std::string_view program, std::string reason);

/// Sends log lines to standard error, warnings and worse, or all when `verbose`. Once a process.
void start_logging(const char* program, bool verbose);

}  // namespace halo::launch
