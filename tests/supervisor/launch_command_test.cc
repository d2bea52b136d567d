#include "launch/supervisor/launch_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LaunchCommandTest : public testing::Test {
 protected:
  LaunchCommandTest() {  // the test itself may run under a batch system
    for (const char* name : {"SLURM_JOB_NODELIST", "SLURM_NODELIST", "PBS_NODEFILE", "LSB_HOSTS",
                             "PE_HOSTFILE", "OMPI_MCA_orte_default_hostfile"})
      unsetenv(name);
  }
  static LaunchCommand command(const std::string& words) {
    return LaunchCommand(split(words, ' '));
  }
  std::string started(const std::string& words, const std::vector<std::string>& gone,
                      int multiple = 1) {
    std::string line;
    for (const std::string& word :
         command(words).start({"HALO_A", "HALO_B"}, gone, multiple, folder_ / "hosts"))
      line += (line.empty() ? "" : " ") + word;
    return line;
  }
  test::TemporaryFolder folder_;
};

TEST_F(LaunchCommandTest, OnThisHostTheCommandIsLeftAsItIs) {
  for (const char* words :
       {"halo_train --config x", "mpirun -np 4 /opt/bin/halo_train --config x",
        "mpirun --host localhost:4 -np 4 halo_train --config x", "echo -np 3"}) {
    EXPECT_EQ(started(words, {}), words);
    EXPECT_FALSE(command(words).may_reach_other_hosts()) << words;
  }
}

TEST_F(LaunchCommandTest, RanksElsewhereGetTheEnvironment) {
  EXPECT_EQ(started("mpirun -np 4 -H n1:2,n2:2 halo_train --config x", {}),
            "mpirun -x HALO_A -x HALO_B -np 4 -H n1:2,n2:2 halo_train --config x");
  EXPECT_TRUE(command("srun -n 4 halo_train").may_reach_other_hosts());
  EXPECT_EQ(started("srun -n 4 halo_train", {}), "srun -n 4 halo_train") << "srun passes all of it";
  setenv("SLURM_JOB_NODELIST", "n[1-2]", 1);
  EXPECT_TRUE(command("mpirun halo_train").may_reach_other_hosts());
  unsetenv("SLURM_JOB_NODELIST");
}

TEST_F(LaunchCommandTest, HostsThatAreGoneAreLeftOut) {
  const std::string words = "mpirun -np 6 --host n1:2,n2:2,n3:2 halo_train -n 7";
  EXPECT_THAT(command(words).hosts(), ElementsAre("n1", "n2", "n3"));
  EXPECT_EQ(started(words, {"n2"}),
            "mpirun -x HALO_A -x HALO_B -np 4 --host n1:2,n3:2 halo_train -n 7");
  EXPECT_EQ(started(words, {"n2"}, 3),
            "mpirun -x HALO_A -x HALO_B -np 3 --host n1:2,n3:2 halo_train -n 7")
      << "a multiple of the layouts' ranks";
  EXPECT_THROW(std::ignore = started(words, {"n2"}, 5), Error);
  EXPECT_EQ(started("mpirun --oversubscribe -np 8 -host a,b halo_train", {"b"}),
            "mpirun -x HALO_A -x HALO_B --oversubscribe -np 4 -host a halo_train");
  EXPECT_EQ(started("mpirun -host a:3,b:2 halo_train", {"b"}),
            "mpirun -np 3 -x HALO_A -x HALO_B -host a:3 halo_train");
}

TEST_F(LaunchCommandTest, AHostfileIsWrittenAnewWithoutThem) {
  write_file_atomically(folder_ / "all",
                        "# the machines\nn1 slots=4\n\nn2 slots=4 max_slots=8 # b\n");
  const std::string words =
      str("mpirun -np 8 --hostfile ", (folder_ / "all").string(), " halo_train");
  EXPECT_THAT(command(words).hosts(), ElementsAre("n1", "n2"));
  EXPECT_EQ(started(words, {"n1"}), str("mpirun -x HALO_A -x HALO_B -np 4 --hostfile ",
                                        (folder_ / "hosts").string(), " halo_train"));
  EXPECT_EQ(read_file(folder_ / "hosts"), "n2 slots=4 max_slots=8 # b\n");
}

TEST_F(LaunchCommandTest, WhatIsTooSpecialIsNotChanged) {
  EXPECT_THAT(command("mpirun -np 1 -H a halo_train : -np 1 -H b halo_train").hosts(), IsEmpty());
  EXPECT_THAT(command("mpirun -np 2 -H a,b wrapper.sh").hosts(), IsEmpty());
  EXPECT_TRUE(command("mpirun -np 2 -H a,b wrapper.sh").may_reach_other_hosts());
}

TEST_F(LaunchCommandTest, AProbeStartsOneProcessByTheSameWay) {
  EXPECT_THAT(
      command("mpirun --mca plm_rsh_agent ssh2 -np 4 -H a:2,b:2 --map-by node halo_train -x")
          .probe("b"),
      ElementsAre("mpirun", "--mca", "plm_rsh_agent", "ssh2", "-np", "1", "--host", "b", "true"));
}

TEST_F(LaunchCommandTest, ACommandIsNeeded) {
  EXPECT_THROW(LaunchCommand({}), InputError);
  EXPECT_THROW(std::ignore = command("mpirun --hostfile /no/such halo_train"), InputError);
}

}  // namespace
}  // namespace halo::launch
