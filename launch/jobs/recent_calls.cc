#include "launch/jobs/recent_calls.h"

#include <glog/logging.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::launch {

void keep_recent_calls(const std::filesystem::path& output, int rank,
                       const comm::Communicator& ranks) noexcept {
  try {
    if (!std::filesystem::is_directory(output) || ::access(output.c_str(), W_OK) != 0) return;
    const std::filesystem::path log = output / "log";
    std::filesystem::create_directories(log);
    write_file_atomically(log / str("calls_rank", rank, ".txt"), ranks.recent_calls());
  } catch (const std::exception& error) {
    LOG(ERROR) << "the last calls of this rank are lost: " << error.what();
  }
}

}  // namespace halo::launch
