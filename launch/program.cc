#include "launch/program.h"

#include <glog/logging.h>

#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace halo::launch {

void report_error(std::string_view program, std::string reason) {
  // One line whatever the reason holds, so that scripts and logs can rely on it.
  while (!reason.empty() && reason.back() == '\n') reason.pop_back();
  for (std::size_t at = 0; (at = reason.find('\n', at)) != std::string::npos;) {
    reason.replace(at, 1, "; ");
  }
  std::cout.flush();
  std::cerr << program << ": error: " << reason << std::endl;
}

Failure current_failure() {
  try {
    throw;
  } catch (const InputError& error) {
    return {error.what(), true};
  } catch (const std::filesystem::filesystem_error& error) {
    const bool bad_path = error.code() == std::errc::filename_too_long ||
                          error.code() == std::errc::permission_denied ||
                          error.code() == std::errc::not_a_directory ||
                          error.code() == std::errc::too_many_symbolic_link_levels;
    return {str(error.path1().string(), ": ", error.code().message()), bad_path};
  } catch (const std::bad_alloc&) {
    return {"out of memory"};
  } catch (const std::exception& error) {
    return {error.what()};
  }
}

int run_guarded(std::string_view program, const std::function<int()>& body) {
  try {
    return body();
  } catch (const std::exception&) {
    const Failure failure = current_failure();
    report_error(program, failure.reason);
    return failure.exit_code();
  }
}

int run_program(Program& program, int argc, char** argv) {
  return run_guarded(program.name(), [&] {
    program.run({argv + 1, argv + argc});
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
