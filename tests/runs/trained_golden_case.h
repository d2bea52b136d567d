#pragma once
#include <gtest/gtest.h>

#include "tests/runs/golden_case.h"

namespace halo::test {

/// The tied golden case after one step of each stage, in made/.
class TrainedGoldenCase : public testing::Test {
 protected:
  void SetUp() override {
    const ProgramResult made =
        run_program(train_command(0, {"--config", golden_.config().string(), "--output",
                                      (folder_ / "made").string(), "--set", "train.steps=1"}));
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }

  TestFolder folder_;
  GoldenCase golden_{"tied", folder_.path()};
};

}  // namespace halo::test
