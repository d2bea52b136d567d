#include "data/token_file_check.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/hdf5_lock.h"
#include "core/base/unique_handle.h"

extern char** environ;

namespace halo::data {
namespace {

using Clock = std::chrono::steady_clock;

struct DescriptorTraits {
  using Raw = int;
  static constexpr Raw kNull = -1;
  static void close(Raw fd) noexcept { ::close(fd); }
};
using Descriptor = UniqueHandle<DescriptorTraits>;

std::string system_reason(int code) { return std::strerror(code); }

std::pair<Descriptor, Descriptor> make_pipe() {
  std::array<int, 2> ends{};
  HALO_REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0,
               str("cannot make a pipe: ", system_reason(errno)));
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

std::filesystem::path program_beside_this_one() {
  std::error_code ignored;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  if (self.empty()) return {};
  const auto program = self.parent_path() / "halo_check_tokens";
  return ::access(program.c_str(), X_OK) == 0 ? program : std::filesystem::path();
}

struct FileActions {
  FileActions() { ::posix_spawn_file_actions_init(&actions); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions); }
  posix_spawn_file_actions_t actions{};
};

/// A signal that asks a whole process group to stop is for the training; the check ends by itself.
struct SpawnAttributes {
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes);
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&blocked, signal);
    ::posix_spawnattr_setsigmask(&attributes, &blocked);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes); }
  posix_spawnattr_t attributes{};
};

/// The reason comes out of the program's standard output.
pid_t spawn(const std::filesystem::path& program, const std::filesystem::path& file,
            std::int64_t token_limit, int write_end) {
  FileActions files;
  ::posix_spawn_file_actions_adddup2(&files.actions, write_end, STDOUT_FILENO);
  std::string name = program.string();
  std::string path = file.string();
  std::string limit = std::to_string(token_limit);
  const std::array<char*, 4> arguments{name.data(), path.data(), limit.data(), nullptr};
  pid_t child = 0;
  const SpawnAttributes spawning;
  const int failed = ::posix_spawn(&child, name.c_str(), &files.actions, &spawning.attributes,
                                   arguments.data(), environ);
  HALO_REQUIRE(failed == 0, str("cannot run ", name, ": ", system_reason(failed)));
  return child;
}

/// For programs that were not installed with their helper. No other thread may be inside libhdf5 at the fork, or the
/// child would find it locked for ever.
pid_t fork_check(const std::filesystem::path& file, std::int64_t token_limit, int write_end) {
  std::unique_lock lock(hdf5_mutex());
  const pid_t child = ::fork();
  lock.unlock();
  HALO_REQUIRE(child >= 0, str("cannot fork: ", system_reason(errno)));
  if (child == 0) ::_exit(run_token_check(file, token_limit, write_end));
  return child;
}

/// What the child writes until it closes its end. False when the time is over.
bool read_all(int fd, Clock::time_point deadline, std::string& text) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd wait{fd, POLLIN, 0};
    const int ready =
        ::poll(&wait, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60000)));
    if (ready <= 0) continue;
    std::array<char, 4096> buffer{};
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    if (text.size() < buffer.size()) text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    HALO_REQUIRE(errno == EINTR, str("cannot wait for the check: ", system_reason(errno)));
  }
  return status;
}

}  // namespace

int run_token_check(const std::filesystem::path& path, std::int64_t token_limit, int fd) noexcept {
  const auto refuse = [fd](std::string_view reason) {
    const ssize_t written = ::write(fd, reason.data(), reason.size());
    return written < 0 ? 1 : 2;
  };
  try {
    TokenFile(path).verify(token_limit);
    return 0;
  } catch (const Error& error) {
    return refuse(error.what());
  } catch (const std::exception& error) {
    return refuse(str(path.string(), ": ", error.what()));
  }
}

void check_token_file(const std::filesystem::path& path, const TokenCheckOptions& options) {
  std::error_code unknown;
  HALO_REQUIRE_INPUT(
      !std::filesystem::exists(path, unknown) || std::filesystem::is_regular_file(path, unknown),
      str(path.string(), ": no regular file"));
  const auto program = options.program.empty() ? program_beside_this_one() : options.program;
  auto [read_end, write_end] = make_pipe();
  const pid_t child = program.empty() ? fork_check(path, options.token_limit, write_end.get())
                                      : spawn(program, path, options.token_limit, write_end.get());
  { const Descriptor closed = std::move(write_end); }  // so that the pipe ends with the child
  std::string reason;
  const bool in_time = read_all(read_end.get(), Clock::now() + options.timeout, reason);
  if (!in_time) ::kill(child, SIGKILL);
  const int status = wait_for(child);
  const std::string name = path.string();
  HALO_REQUIRE_INPUT(in_time, str(name, ": reading it takes libhdf5 more than ",
                                  options.timeout.count(), " s: not a sound HDF5 file"));
  HALO_REQUIRE_INPUT(!WIFSIGNALED(status), str(name, ": libhdf5 crashes on it (signal ",
                                               WTERMSIG(status), "): not a sound HDF5 file"));
  if (WEXITSTATUS(status) == 0) return;
  throw InputError(reason.empty() ? str(name, ": the check of the token file failed with code ",
                                        WEXITSTATUS(status))
                                  : reason);
}

std::shared_ptr<const TokenFile> open_token_file(const std::filesystem::path& path,
                                                 const TokenCheckOptions& options) {
  check_token_file(path, options);
  return std::make_shared<const TokenFile>(path);
}

}  // namespace halo::data
