#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/base/unique_handle.h"
#include "launch/scheduler/job_table.h"
#include "launch/scheduler/scheduler.pb.h"

namespace halo::launch {

/// The events of a run's scheduler in a file that only grows, each durable before `append` returns. One process at a time.
/// Format: docs/formats/journal.md.
class Journal {
 public:
  /// Opens `path`, or begins it. From the first record on that is torn by a crash or damaged nothing can be read: it is cut
  /// off, with a warning, and the whole file kept beside as `path`.damaged. Throws InputError for a file that is no
  /// journal, Error with the system's reason when it cannot be read or written.
  explicit Journal(std::filesystem::path path);

  /// What it held when it was opened.
  [[nodiscard]] const std::vector<proto::SchedulerEvent>& events() const { return events_; }

  /// Throws Error with the system's reason (a full disk); the journal is then what it was before.
  void append(const proto::SchedulerEvent& event);

 private:
  struct DescriptorTraits {
    using Raw = int;
    static constexpr Raw kNull = -1;
    static void close(Raw fd) noexcept;
  };
  void begin();
  void read(const std::string& bytes);
  void cut(std::size_t length);
  void write(const std::string& bytes);

  std::filesystem::path path_;
  UniqueHandle<DescriptorTraits> file_;
  std::size_t length_ = 0;  // of what is good
  std::vector<proto::SchedulerEvent> events_;
};

/// The events of a journal that may be another's, who may be appending to it, up to what is torn or damaged: nothing is changed.
/// None when there is no journal.
[[nodiscard]] std::vector<proto::SchedulerEvent> read_journal(const std::filesystem::path& path);

/// Applies an event that the table takes, once it is in the journal: neither has it when the other cannot.
void record_event(const proto::SchedulerEvent& event, Journal& journal, JobTable& table);

}  // namespace halo::launch
