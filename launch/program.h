#pragma once
#include <functional>
#include <string_view>

namespace CLI {
class App;
}

namespace halo::launch {

inline constexpr int kExitFailure = 1;  // something failed
inline constexpr int kExitBadInput =
    2;  // what the user gave cannot be used: options, config, files

/// Parses the command line and runs what its callbacks do. What they throw becomes one line on standard error,
/// "name: error: reason", and the exit code: kExitBadInput for options that cannot be parsed and for InputError,
/// kExitFailure for everything else, lost output (a full disk behind standard output) included. --help is no error.
[[nodiscard]] int run_app(CLI::App& app, int argc, char** argv);

/// Runs `body` and answers its exit code, or reports what it throws as run_app does.
[[nodiscard]] int run_guarded(std::string_view program, const std::function<int()>& body);

/// Sends log lines to standard error, warnings and worse, or all when `verbose`. Once a process.
void start_logging(const char* program, bool verbose);

}  // namespace halo::launch
