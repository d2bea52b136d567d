#include "parallel/pipeline_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"

namespace halo::parallel {
namespace {

std::string text(const std::vector<PipelineAction>& list) {
  std::string out;
  for (const PipelineAction& action : list) out += (out.empty() ? "" : " ") + to_string(action);
  return out;
}

TEST(PipelineScheduleTest, OneStageTakesOneMicroBatchAfterTheOther) {
  EXPECT_EQ(text(pipeline_schedule({.micro_batches = 2, .teacher = true}).front()),
            "T0.0 F0.0 B0.0 T1.0 F1.0 B1.0");
  EXPECT_EQ(text(pipeline_schedule({.micro_batches = 3, .backward = false}).front()),
            "F0.0 F1.0 F2.0");
}

TEST(PipelineScheduleTest, IsOneForwardOneBackward) {
  const auto lists = pipeline_schedule({.stages = 3, .micro_batches = 5});
  EXPECT_EQ(text(lists[0]), "F0.0 F1.0 F2.0 B0.0 F3.0 B1.0 F4.0 B2.0 B3.0 B4.0");
  EXPECT_EQ(text(lists[1]), "F0.0 F1.0 B0.0 F2.0 B1.0 F3.0 B2.0 F4.0 B3.0 B4.0");
  EXPECT_EQ(text(lists[2]), "F0.0 B0.0 F1.0 B1.0 F2.0 B2.0 F3.0 B3.0 F4.0 B4.0");
}

void expect_runs_within_its_memory(const PipelineShape& shape) {
  const PipelineReport report = check_pipeline(shape, pipeline_schedule(shape));
  const bool even = shape.chunks == 1 || shape.micro_batches % shape.stages == 0;
  for (int s = 0; s < shape.stages; ++s) {
    const int ahead = shape.stages - s - 1;
    const int warm_up = shape.chunks == 1 ? ahead : 2 * ahead + (shape.chunks - 1) * shape.stages;
    // With micro-batches that do not divide, some passes come out of turn.
    const int most = warm_up + 1 + (even ? 0 : shape.stages);
    EXPECT_LE(report.peak_activations[static_cast<std::size_t>(s)],
              std::min(most, shape.micro_batches * shape.chunks));
    EXPECT_LE(report.peak_teacher[static_cast<std::size_t>(s)],
              shape.teacher_credit * shape.chunks);
  }
}

/// Every size: nothing waits for ever, messages keep their order, and no stage holds more than 1F1B's activations.
TEST(PipelineScheduleTest, EverySizeRunsWithinItsMemory) {
  for (int chunks = 1; chunks <= 4; ++chunks) {
    for (int stages = 1; stages <= 16; ++stages) {
      for (int m = 1; m <= 64; ++m) {
        for (const bool teacher : {false, true}) {
          SCOPED_TRACE(testing::Message() << stages << " stages, " << chunks << " chunks, " << m
                                          << " micro-batches, teacher " << teacher);
          expect_runs_within_its_memory(
              {.stages = stages, .chunks = chunks, .micro_batches = m, .teacher = teacher});
        }
      }
    }
  }
}

TEST(PipelineScheduleTest, BubblesAreThoseOf1F1B) {
  for (const int P : {2, 4, 8}) {
    const PipelineShape shape{.stages = P, .micro_batches = 4 * P};
    const PipelineReport report = check_pipeline(shape, pipeline_schedule(shape));
    EXPECT_DOUBLE_EQ(report.time, 3.0 * (5 * P - 1)) << P;  // m + P - 1 times forward and backward
    const PipelineShape interleaved{
        .stages = P, .chunks = 2, .micro_batches = 4 * P, .forward_cost = 0.5, .backward_cost = 1};
    const double shorter = check_pipeline(interleaved, pipeline_schedule(interleaved)).time;
    EXPECT_LE(shorter, 3.0 * 4 * P + 3.0 * (P - 1) / 2 + 1.5) << P;  // half the bubble
  }
}

TEST(PipelineScheduleTest, TheTeacherFillsBubbles) {
  const PipelineShape shape{.stages = 4, .micro_batches = 8, .teacher = true};
  const PipelineReport report = check_pipeline(shape, pipeline_schedule(shape));
  PipelineShape first = shape;  // all of the teacher as part of each forward pass
  first.teacher = false;
  first.forward_cost = 2;
  EXPECT_LT(report.time, check_pipeline(first, pipeline_schedule(first)).time);
}

TEST(PipelineScheduleTest, AlignIsForwardOnly) {
  const PipelineShape shape{.stages = 4, .micro_batches = 8, .backward = false};
  EXPECT_DOUBLE_EQ(check_pipeline(shape, pipeline_schedule(shape)).time, 8 + 3);
}

/// Whether every stage ends when one sends a message only once its message before was taken.
bool ends_with_one_message_at_a_time(const PipelineShape& shape) {
  const auto lists = pipeline_schedule(shape);
  const auto P = static_cast<std::size_t>(shape.stages);
  std::vector<std::size_t> next(P, 0);
  std::vector<bool> received(P, false), full(P, false);  // full[s]: what s has sent was not taken
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t s = 0; s < P; ++s) {
      if (next[s] == lists[s].size()) continue;
      const std::size_t before = (s + P - 1) % P;
      const auto chunk = static_cast<std::size_t>(lists[s][next[s]].chunk) * P + s;
      if (chunk > 0 && !received[s]) {
        if (!full[before]) continue;
        full[before] = false;
        received[s] = moved = true;
      }
      const bool sends = chunk + 1 < static_cast<std::size_t>(shape.layer_chunks());
      if (sends && full[s]) continue;
      full[s] = full[s] || sends;
      received[s] = false;
      ++next[s];
      moved = true;
    }
  }
  for (std::size_t s = 0; s < P; ++s)
    if (next[s] < lists[s].size()) return false;
  return true;
}

TEST(PipelineScheduleTest, ForwardPassesGoOnWithOneMessageAtATime) {
  for (int chunks = 1; chunks <= 4; ++chunks)
    for (int stages = 2; stages <= 16; ++stages)
      for (int m = 1; m <= 64; ++m)
        EXPECT_TRUE(ends_with_one_message_at_a_time(
            {.stages = stages, .chunks = chunks, .micro_batches = m, .backward = false}))
            << stages << " stages, " << chunks << " chunks, " << m << " micro-batches";
}

std::string complaint(const PipelineShape& shape,
                      const std::vector<std::vector<PipelineAction>>& lists) {
  try {
    static_cast<void>(check_pipeline(shape, lists));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(PipelineCheckTest, FindsWhatIsWrong) {
  using testing::HasSubstr;
  const PipelineShape shape{.stages = 2, .micro_batches = 2};
  const auto good = pipeline_schedule(shape);
  EXPECT_EQ(complaint(shape, good), "");
  auto lists = good;
  lists[1].pop_back();
  EXPECT_THAT(complaint(shape, lists), HasSubstr("stage 1 does B1.0 0 times"));
  lists = good;
  lists[1].push_back({PipelineAction::Kind::kTeacherForward, 0, 0});
  EXPECT_THAT(complaint(shape, lists), HasSubstr("more than its step"));
  lists = good;  // F0 B0 F1 B1 on the last stage
  std::swap(lists[1][0], lists[1][1]);
  EXPECT_THAT(complaint(shape, lists), HasSubstr("waits for ever before B0.0"));
  lists = good;
  std::swap(lists[1][0], lists[1][2]);
  std::swap(lists[1][1], lists[1][3]);
  EXPECT_THAT(complaint(shape, lists), HasSubstr("in another order"));
}

TEST(PipelineScheduleTest, RefusesSizesBelowOne) {
  EXPECT_THAT([] { static_cast<void>(pipeline_schedule({.stages = 0})); },
              testing::Throws<Error>());
  EXPECT_THAT([] { static_cast<void>(pipeline_schedule({.micro_batches = 0})); },
              testing::Throws<Error>());
}

}  // namespace
}  // namespace halo::parallel
