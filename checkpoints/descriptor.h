#pragma once
#include <glog/logging.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/unique_handle.h"

namespace halo::checkpoints {

/// An open file of the system.
struct DescriptorTraits {
  using Raw = int;
  static constexpr Raw kNull = -1;
  static void close(Raw fd) noexcept {
    LOG_IF(ERROR, ::close(fd) != 0) << "close: " << std::strerror(errno);
  }
};
using Descriptor = UniqueHandle<DescriptorTraits>;

}  // namespace halo::checkpoints
