#include "core/train/recorded_pass.h"

#include <gtest/gtest.h>

#include <utility>

#include "core/base/error.h"

namespace halo::train {
namespace {

struct Counts {
  int recordings = 0, launches = 0, graphs = 0;
  bool refuses = false;
};

class CountedGraph final : public DeviceGraph {
 public:
  explicit CountedGraph(Counts& counts) : counts_(counts) { ++counts_.graphs; }
  ~CountedGraph() override { --counts_.graphs; }
  void launch() override { ++counts_.launches; }

 private:
  Counts& counts_;
};

/// A GPU's queue without a GPU: records by running, and counts.
class CountingQueue final : public DeviceQueue {
 public:
  explicit CountingQueue(Counts& counts) : counts_(counts) {}
  std::shared_ptr<Allocator> make_allocator() override { return std::make_shared<CpuAllocator>(); }
  void synchronize() override {}
  void copy(const TensorView&, const TensorView&) override {}
  void fill_zero(const TensorView&) override {}
  std::unique_ptr<DeviceMark> mark() override { return nullptr; }
  std::unique_ptr<DeviceGraph> record(const std::function<void()>& work) override {
    ++counts_.recordings;
    work();
    if (counts_.refuses) throw Error("no");
    return std::make_unique<CountedGraph>(counts_);
  }
  void* native() const override { return nullptr; }
  int device() const override { return 0; }

 private:
  Counts& counts_;
};

class RecordedPassTest : public testing::Test {
 protected:
  void run(const PassKey& key) {
    recorded_.run(key, [this] { ++passes_; });
  }

  Counts counts_;
  Stream stream_{std::make_unique<CountingQueue>(counts_)};
  RecordedPass recorded_{stream_};
  int passes_ = 0;
};

const PassKey kKey{0.5, {{64, 2, 0}}}, kOther{0.5, {{64, 2, 1}}};

TEST_F(RecordedPassTest, IsRecordedOnceAndLaunchedFromThenOn) {
  for (int i = 0; i < RecordedPass::kUnrecorded; ++i) run(kKey);
  EXPECT_EQ(counts_.recordings, 0);
  for (int i = 0; i < 5; ++i) run(kKey);
  EXPECT_EQ(counts_.recordings, 1);
  EXPECT_EQ(counts_.launches, 5);
  EXPECT_EQ(passes_, RecordedPass::kUnrecorded + 1);
}

TEST_F(RecordedPassTest, AnotherKeyBeginsAnew) {
  for (int i = 0; i < 4; ++i) run(kKey);
  run(kOther);
  EXPECT_EQ(counts_.graphs, 0) << "its memory is the others'";
  const int launches = counts_.launches;
  run(kOther);
  EXPECT_EQ(counts_.launches, launches);
  run(kOther);
  EXPECT_EQ(counts_.launches, launches + 1);
}

TEST_F(RecordedPassTest, KeysThatChangeEachTimeAreNotRecorded) {
  for (int i = 0; i < 20; ++i) run(PassKey{1.0 + i, {}});
  EXPECT_EQ(counts_.recordings, 0);
  EXPECT_EQ(passes_, 20);
}

TEST_F(RecordedPassTest, GivesUpWhenKeysChangeOften) {
  for (int i = 0; i < 20; ++i)
    for (int j = 0; j < 4; ++j) run(i % 2 == 0 ? kKey : kOther);
  EXPECT_EQ(counts_.recordings, RecordedPass::kMostRecordings);
}

TEST_F(RecordedPassTest, WhatCannotBeRecordedRuns) {
  counts_.refuses = true;
  for (int i = 0; i < 6; ++i) run(kKey);
  EXPECT_EQ(counts_.recordings, 1);
  EXPECT_EQ(counts_.launches, 0);
  EXPECT_EQ(passes_, 7) << "each time, and once while it was tried";
}

}  // namespace
}  // namespace halo::train
