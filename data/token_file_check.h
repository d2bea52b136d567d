#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "data/token_file.h"

namespace halo::data {

struct TokenCheckOptions {
  /// The program halo_check_tokens. Empty: the one beside the running program, and when there is none a forked copy of
  /// this process.
  std::filesystem::path program;
  /// How many tokens at most have their ids looked at; the rest is looked at when it is read.
  std::int64_t token_limit = std::int64_t{1} << 28;
  std::chrono::seconds timeout{300};  // below the deadline of ranks that wait for this one
};

/// Opens and reads the file in a child process, since libhdf5 is not hardened: what crashes or hangs it ends the child,
/// not the training. Throws InputError with file, place and reason.
void check_token_file(const std::filesystem::path& path, const TokenCheckOptions& options = {});

/// check_token_file, then open. One rank's check is enough for all that read the same file.
[[nodiscard]] std::shared_ptr<const TokenFile> open_token_file(
    const std::filesystem::path& path, const TokenCheckOptions& options = {});

/// What the child does: opens and verifies the file and writes the reason, if any, to descriptor `fd`. Returns the exit
/// code: 0, or 2 for a file that is refused.
int run_token_check(const std::filesystem::path& path, std::int64_t token_limit, int fd) noexcept;

}  // namespace halo::data
