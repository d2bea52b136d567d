#pragma once
#include <string>

#include "checkpoints/descriptor.h"
#include "checkpoints/output_file.h"

namespace halo::checkpoints {

/// A sparse file in memory, for a library that writes files and does not stand a failure of it. Needs /proc.
class MemoryFile {
 public:
  /// Throws Error with the system's reason.
  MemoryFile();
  /// A path under which this process opens the file; valid as long as the object.
  [[nodiscard]] std::string path() const;
  /// Writes what the file holds, without its holes, to the same places of `to`. Returns the file's size.
  std::int64_t copy_to(OutputFile& to) const;

 private:
  Descriptor file_;
};

}  // namespace halo::checkpoints
