#include "launch/sweep/trial_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launch/sweep/trial_charts.h"

namespace halo::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TrialRow row(int number, TrialState state, std::optional<double> objective, std::int64_t step) {
  TrialRow made{
      number, {"1e-5", "a"}, objective, step, 0, state, "", "tune@" + std::to_string(number), {}};
  if (objective) made.curve = {{step / 2, *objective + 1}, {step, *objective}};
  return made;
}

TrialTable sample() {
  TrialTable table{{"train.optimizer.lr", "kind, of"}, "validation_loss", false, {}};
  table.rows = {
      row(0, TrialState::kFailed, std::nullopt, 0), row(1, TrialState::kDone, 2.5, 100),
      row(2, TrialState::kDropped, 0.5, 10),        row(3, TrialState::kDone, 1.0 / 3, 100),
      row(4, TrialState::kDropped, 0.7, 30),        row(5, TrialState::kWaiting, std::nullopt, 0),
      row(6, TrialState::kDone, 2.5, 100)};
  table.rows[0].reason = "rank 2: loss is <nan>, \"so\"";
  table.rows[3].skipped = 3;
  table.rows[3].values = {"1e-2", "b \"quoted\""};
  rank_trials(table);
  return table;
}

std::vector<int> order(const TrialTable& table) {
  std::vector<int> numbers;
  for (const TrialRow& r : table.rows) numbers.push_back(r.number);
  return numbers;
}

TEST(TrialTable, WhoIsDoneComesFirstThenWhoGotFurther) {
  TrialTable table = sample();
  EXPECT_THAT(order(table), ElementsAre(3, 1, 6, 4, 2, 5, 0));
  table.more_is_better = true;
  rank_trials(table);
  EXPECT_THAT(order(table), ElementsAre(1, 6, 3, 4, 2, 5, 0));
}

TEST(TrialTable, ShortNamesTellPathsApart) {
  EXPECT_THAT(short_names({"job[a].train.optimizer.lr", "seed", "train.steps"}),
              ElementsAre("lr", "seed", "steps"));
  EXPECT_THAT(short_names({"job[a].train.steps", "job[b].train.steps", "train.data.steps"}),
              ElementsAre("job[a].train.steps", "job[b].train.steps", "data.steps"));
  EXPECT_THAT(short_names({"steps", "train.steps"}), ElementsAre("steps", "train.steps"));
}

TEST(TrialTable, TextShowsTheBestAndCountsTheRest) {
  const std::string text = trials_text(sample(), 3);
  EXPECT_THAT(text, HasSubstr("7 trials, by validation_loss"));
  EXPECT_THAT(text, HasSubstr("0.3333  100, 3 skipped   done"));
  EXPECT_THAT(text, HasSubstr("  and 4 more\n"));
  EXPECT_THAT(text, Not(HasSubstr("dropped")));
  EXPECT_THAT(trials_text(sample(), 100), HasSubstr("trial 0: rank 2: loss is <nan>"));
}

TEST(TrialTable, CsvQuotesAndKeepsEveryDigit) {
  const std::string csv = trials_csv(sample());
  EXPECT_THAT(csv, HasSubstr("rank,trial,train.optimizer.lr,\"kind, "
                             "of\",validation_loss,step,skipped,state,reason,job\r\n"));
  EXPECT_THAT(csv,
              HasSubstr("1,3,1e-2,\"b \"\"quoted\"\"\",0.3333333333333333,100,3,done,,tune@3\r\n"));
  EXPECT_THAT(csv,
              HasSubstr("7,0,1e-5,a,,0,0,failed,\"rank 2: loss is <nan>, \"\"so\"\"\",tune@0\r\n"));
}

TEST(TrialTable, JsonReadsBack) {
  const auto json = nlohmann::json::parse(trials_json(sample()));
  EXPECT_EQ(json["objective"], "validation_loss");
  ASSERT_EQ(json["trials"].size(), 7U);
  EXPECT_EQ(json["trials"][0]["objective"].get<double>(), 1.0 / 3);
  EXPECT_EQ(json["trials"][0]["values"]["kind, of"], "b \"quoted\"");
  EXPECT_TRUE(json["trials"][6]["objective"].is_null());
  EXPECT_EQ(json["trials"][6]["state"], "failed");
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(TrialCharts, EveryTrialHasALineAndNothingIsTakenForMarkup) {
  const TrialTable table = sample();
  const std::string parallel = parallel_svg(table);
  EXPECT_EQ(count(parallel, "<path "), 7U);
  EXPECT_EQ(count(parallel, "class='best'"), 1U);
  EXPECT_EQ(count(parallel, "class='lost'"), 2U);
  EXPECT_EQ(count(curves_svg(table), "<path "), 5U);
  const std::string html = trials_html(table);
  EXPECT_THAT(html, HasSubstr("&lt;nan&gt;"));
  EXPECT_THAT(html, HasSubstr("b &quot;quoted&quot;"));
  EXPECT_THAT(html, Not(HasSubstr("='nan")));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
}

TEST(TrialCharts, ATableOfNothingIsDrawnToo) {
  TrialTable table{{"seed"}, "loss", false, {}};
  table.rows.push_back({0, {"1"}, std::nullopt, 0, 0, TrialState::kWaiting, "", "a", {}});
  EXPECT_EQ(curves_svg(table), "");
  EXPECT_THAT(trials_html(table), HasSubstr("1 trial by loss"));
}

}  // namespace
}  // namespace halo::launch
