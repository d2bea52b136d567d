#include "launch/program.h"

#include <glog/logging.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {
namespace {

void report(std::string_view program, std::string reason) {
  // One line whatever the reason holds, so that scripts and logs can rely on it.
  while (!reason.empty() && reason.back() == '\n') reason.pop_back();
  for (std::size_t at = 0; (at = reason.find('\n', at)) != std::string::npos;) {
    reason.replace(at, 1, "; ");
  }
  std::cout.flush();
  std::cerr << program << ": error: " << reason << std::endl;
}

/// What follows the program's name, when that is meant as a subcommand but is none.
void require_known_command(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (names.empty() || argc < 2 || argv[1][0] == '-') return;
  const std::string name = argv[1];
  if (std::ranges::find(names, name) != names.end()) return;
  const std::string nearest = nearest_name(name, names);
  throw InputError(str("there is no command \"", name, '"',
                       nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?"), " (see ",
                       app.get_name(), " --help)"));
}

}  // namespace

int run_guarded(std::string_view program, const std::function<int()>& body) {
  try {
    return body();
  } catch (const InputError& error) {
    report(program, error.what());
    return kExitBadInput;
  } catch (const std::bad_alloc&) {
    report(program, "out of memory");
  } catch (const std::exception& error) {
    report(program, error.what());
  }
  return kExitFailure;
}

int run_app(CLI::App& app, int argc, char** argv) {
  const std::string program = app.get_name();
  return run_guarded(program, [&] {
    require_known_command(app, argc, argv);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& answer) {
      (void)app.exit(answer);  // prints help or version
    } catch (const CLI::ParseError& error) {
      std::string command = program;
      for (const CLI::App* sub : app.get_subcommands()) command += " " + sub->get_name();
      throw InputError(str(error.what(), " (see ", command, " --help)"));
    }
    std::cout.flush();
    if (!std::cout) throw Error("standard output cannot be written");
    return 0;
  });
}

void start_logging(const char* program, bool verbose) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = verbose ? google::GLOG_INFO : google::GLOG_WARNING;
  google::InitGoogleLogging(program);
}

}  // namespace halo::launch
