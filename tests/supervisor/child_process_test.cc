#include "launch/supervisor/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "core/base/file.h"
#include "launch/health/proof.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

Ending end_of(ChildProcess& child) {
  for (int i = 0; i < 3000; ++i) {
    if (const auto ending = child.poll()) return *ending;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ADD_FAILURE() << "it does not end";
  return {};
}

std::vector<int> wait_for_processes(const std::string& entry, std::size_t count) {
  std::vector<int> found;
  for (int i = 0; i < 3000; ++i) {
    found = processes_with(entry);
    if (found.size() == count) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return found;
}

TEST(ChildProcessTest, EndsAreToldApart) {
  ChildProcess good({"true"}, {}), bad({"sh", "-c", "exit 7"}, {}),
      killed({"sh", "-c", "kill -9 $$"}, {}), missing({"/no/such/program"}, {}, /*quiet=*/true);
  EXPECT_TRUE(end_of(good).is_good());
  EXPECT_EQ(end_of(bad).code, 7);
  EXPECT_EQ(end_of(killed).signal, SIGKILL);
  EXPECT_EQ(end_of(missing).code, 127);
}

TEST(ChildProcessTest, TheEnvironmentIsAddedTo) {
  const test::TemporaryFolder folder;
  ChildProcess child({"sh", "-c", "echo \"$HALO_X $HOME\" > " + (folder / "out").string()},
                     {{"HALO_X", "a=b"}, {"HOME", "/new"}});
  EXPECT_TRUE(end_of(child).is_good());
  EXPECT_EQ(read_file(folder / "out"), "a=b /new\n");
}

/// As ranks do whose launcher was killed.
TEST(ChildProcessTest, ItsProcessesAreFoundByTheirEnvironmentWhenTheyAreOrphans) {
  const std::string mark = random_hex(32);
  const test::TemporaryFolder folder;
  const std::filesystem::path apart =
      folder / "apart";  // there once the orphan is in a session of its own
  ChildProcess child(
      {"sh", "-c",
       str("setsid sh -c 'touch ", apart.string(), "; exec sleep 1000' & exec sleep 1000")},
      {{"HALO_MARK", mark}});
  for (int i = 0; i < 3000 && !std::filesystem::exists(apart); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(wait_for_processes("HALO_MARK=" + mark, 2).size(), 2U);
  child.signal_group(SIGKILL);
  EXPECT_EQ(end_of(child).signal, SIGKILL);
  const auto orphans = wait_for_processes("HALO_MARK=" + mark, 1);
  ASSERT_EQ(orphans.size(), 1U);
  EXPECT_TRUE(processes_with("HALO_MARK=" + mark.substr(1)).empty());
  EXPECT_FALSE(is_stopped(orphans.front()));
  ::kill(orphans.front(), SIGSTOP);
  for (int i = 0; i < 1000 && !is_stopped(orphans.front()); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(is_stopped(orphans.front()));
  ::kill(orphans.front(), SIGKILL);
  EXPECT_TRUE(wait_for_processes("HALO_MARK=" + mark, 0).empty());
}

}  // namespace
}  // namespace halo::launch
