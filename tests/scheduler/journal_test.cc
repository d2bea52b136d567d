#include "launch/scheduler/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/scheduler/events.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<std::string> texts_of(const std::vector<proto::SchedulerEvent>& events) {
  std::vector<std::string> texts;
  for (const auto& event : events) texts.push_back(event.ShortDebugString());
  return texts;
}

class JournalTest : public testing::Test {
 protected:
  std::vector<std::string> kept() { return texts_of(Journal(path_).events()); }
  /// Five events in the file, whose sizes it notes.
  void fill() {
    Journal journal(path_);
    sizes_.push_back(fs::file_size(path_));
    for (const auto& event : events_) {
      journal.append(event);
      sizes_.push_back(fs::file_size(path_));
    }
    bytes_ = read_file(path_);
  }
  [[nodiscard]] std::size_t whole_events(std::size_t bytes) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(sizes_, bytes) - sizes_.begin()) - 1;
  }
  [[nodiscard]] std::vector<std::string> first(std::size_t n) const {
    std::vector<std::string> texts = texts_of(events_);
    texts.resize(n);
    return texts;
  }

  test::TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "journal";
  const std::vector<proto::SchedulerEvent> events_{
      added("a", {.ranks = 2}, 1.5), added("b", {.needs = {"a"}}), started("a", {0, 1}, 2),
      ended("a", false, 3, "no memory"), began(2, 4)};
  std::vector<std::uintmax_t> sizes_;
  std::string bytes_;
};

TEST_F(JournalTest, KeepsEventsFromRunToRun) {
  EXPECT_EQ(kept().size(), 0U);
  fill();
  EXPECT_EQ(kept(), texts_of(events_));
  Journal(path_).append(began(1, 9));
  EXPECT_EQ(kept().size(), events_.size() + 1);
  EXPECT_FALSE(fs::exists(path_.string() + ".damaged"));
}

TEST_F(JournalTest, ATornTailIsCutAndTheRestGoesOn) {
  fill();
  for (std::size_t length = 0; length < bytes_.size(); ++length) {
    write_file_atomically(path_, bytes_.substr(0, length));
    const std::size_t whole = length < sizes_.front() ? 0 : whole_events(length);
    {
      Journal journal(path_);
      ASSERT_EQ(texts_of(journal.events()), first(whole)) << length;
      journal.append(events_.back());
    }
    auto expected = first(whole);
    expected.push_back(events_.back().ShortDebugString());
    ASSERT_EQ(kept(), expected) << length;
  }
}

TEST_F(JournalTest, AFlippedByteEndsWhatIsReadAndNothingIsLost) {
  fill();
  for (std::size_t at = sizes_.front(); at < bytes_.size(); ++at) {
    std::string damaged = bytes_;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write_file_atomically(path_, damaged);
    ASSERT_EQ(kept(), first(whole_events(at))) << at;
    ASSERT_EQ(read_file(path_.string() + ".damaged"), damaged) << at;
    ASSERT_EQ(kept(), first(whole_events(at))) << at;
  }
}

TEST_F(JournalTest, AnotherFileIsRefusedAndStaysAsItIs) {
  write_file_atomically(path_, "something else, and longer than a head");
  try {
    const Journal journal(path_);
    ADD_FAILURE();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(path_.string() + ": is no journal of a scheduler"));
  }
  EXPECT_EQ(read_file(path_), "something else, and longer than a head");
  EXPECT_THROW(Journal(folder_.path() / "no such folder/journal"), Error);
}

/// A file system without room, by a limit on the size of files.
class LimitedFiles {
 public:
  explicit LimitedFiles(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  LimitedFiles(const LimitedFiles&) = delete;
  LimitedFiles& operator=(const LimitedFiles&) = delete;
  ~LimitedFiles() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(JournalTest, AFullDiskLeavesWhatWasThere) {
  fill();
  Journal journal(path_);
  {
    const LimitedFiles limit(bytes_.size() + 11);  // a part of the next record fits
    try {
      journal.append(added("c"));
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("cannot write " + path_.string()));
    }
  }
  EXPECT_EQ(read_file(path_), bytes_);
  journal.append(added("d"));
  auto expected = texts_of(events_);
  expected.push_back(added("d").ShortDebugString());
  EXPECT_EQ(kept(), expected);
}

}  // namespace
}  // namespace halo::launch
