#include "launch/supervisor/child_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <tuple>

#include "core/base/error.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (const std::string& text : texts) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!more.contains(text.substr(0, text.find('=')))) all.push_back(text);
  }
  for (const auto& [name, value] : more) all.push_back(str(name, '=', value));
  return all;
}

void say(std::string_view text) { std::ignore = ::write(2, text.data(), text.size()); }

/// In the new process: nothing here may take memory or locks.
[[noreturn]] void become(const std::vector<char*>& words, const std::vector<char*>& environment,
                         bool quiet) {
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDWR);
  ::dup2(nothing, 0);
  if (quiet) {
    ::dup2(nothing, 1);
    ::dup2(nothing, 2);
  }
  ::execvpe(words[0], words.data(), environment.data());
  say("halo_launch: ");
  say(words[0]);
  say(errno == ENOENT ? ": not found\n" : ": cannot be run\n");
  ::_exit(errno == ENOENT ? 127 : 126);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command,
                           const std::map<std::string, std::string>& environment, bool quiet) {
  const std::vector<std::string> entries = environment_with(environment);
  const std::vector<char*> words = pointers(command), variables = pointers(entries);
  pid_ = ::fork();
  if (pid_ == 0) become(words, variables, quiet);
  HALO_REQUIRE(pid_ > 0, str("no process can be made: ", std::strerror(errno)));
  ::setpgid(pid_, pid_);  // whichever of the two comes first
}

ChildProcess::~ChildProcess() {
  if (ending_) return;
  signal_group(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::optional<Ending> ChildProcess::poll() {
  int status = 0;
  if (!ending_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    ending_ = WIFSIGNALED(status) ? Ending{0, WTERMSIG(status)} : Ending{WEXITSTATUS(status), 0};
  }
  return ending_;
}

void ChildProcess::signal(int number) const {
  if (!ending_) ::kill(pid_, number);
}

void ChildProcess::signal_group(int number) const {
  if (!ending_) ::kill(-pid_, number);
}

std::vector<int> processes_with(const std::string& entry) {
  std::vector<int> found;
  std::error_code failure;
  for (const auto& process : fs::directory_iterator("/proc", failure)) {
    const int pid = std::atoi(process.path().filename().c_str());
    if (pid <= 0 || pid == ::getpid()) continue;
    std::ifstream file(process.path() / "environ", std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(file), {}};
    const std::string end(1, '\0');  // of each entry
    if ((end + all).find(end + entry + end) != std::string::npos) found.push_back(pid);
  }
  return found;
}

bool is_stopped(int pid) {
  std::ifstream file(fs::path("/proc") / std::to_string(pid) / "stat");
  std::string line;
  std::getline(file, line);  // PID (NAME) STATE ...
  const std::size_t name_end = line.rfind(')');
  return name_end != std::string::npos && name_end + 2 < line.size() && line[name_end + 2] == 'T';
}

}  // namespace halo::launch
