#include "launch/report.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "core/base/file.h"
#include "launch/chart.h"
#include "tests/launch/sample_report.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

/// The first tag that closes what is not open, or is never closed; empty for a well-formed page.
std::string unbalanced_tag(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return html.substr(at, 40);
    std::string tag = html.substr(at + 1, end - at - 1);
    if (tag.starts_with("!") || tag.starts_with("meta") || tag.ends_with("/")) continue;
    const bool closes = tag.starts_with("/");
    std::istringstream(closes ? tag.substr(1) : tag) >> tag;
    if (!closes) {
      open.push_back(tag);
    } else if (open.empty() || open.back() != tag) {
      return "/" + tag;
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back();
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ReportHtml, IsOneWellFormedPageWithoutScriptsOrLinks) {
  const std::string html = to_html(sample_report());
  EXPECT_EQ(unbalanced_tag(html), "");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos) << "a page that stands alone loads nothing";
  EXPECT_EQ(count(html, "<svg"), 7U) << "models, five stages, layers";
  EXPECT_EQ(html.find("='nan"), std::string::npos);
  EXPECT_EQ(html.find("='inf"), std::string::npos);
  EXPECT_EQ(count(html, "<tr class='kept'>"), 2U);
  EXPECT_NE(html.find("+5.6%"), std::string::npos) << "29.9 over 28.31";
  EXPECT_NE(html.find("gzip -9: 2.696"), std::string::npos);
}

TEST(ReportHtml, HasTheTrialsOfASweepInTheSamePage) {
  Report report = sample_report();
  report.trials = TrialTable{{"train.optimizer.lr", "<kind>"}, "validation_loss", false, {}};
  report.trials->rows = {
      {0, {"1e-4", "a&b"}, 2.5, 8, 0, TrialState::kDone, "", "x", {{4, 3.0}, {8, 2.5}}},
      {1, {"1e-3", "c"}, std::nullopt, 0, 0, TrialState::kFailed, "<nan>", "y", {}}};
  const std::string html = to_html(report);
  EXPECT_EQ(unbalanced_tag(html), "");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);
  EXPECT_EQ(count(html, "<svg"), 9U);
  EXPECT_NE(html.find("best of 2 trials"), std::string::npos);
  EXPECT_NE(to_text_table(report).find("2 trials, by validation_loss"), std::string::npos);
}

TEST(ReportHtml, EscapesWhatItIsGiven) {
  Report report = sample_report();
  report.title = "<b>&\"'";
  report.stages[0].name = "</svg><script>";
  report.models[0].name = "a<b";
  const std::string html = to_html(report);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("<b>&"), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;&amp;&quot;&#39;"), std::string::npos);
  EXPECT_EQ(unbalanced_tag(html), "");
}

TEST(ReportHtml, LeavesOutWhatThereIsNot) {
  const std::string html = to_html(Report{});
  EXPECT_EQ(unbalanced_tag(html), "");
  EXPECT_EQ(html.find("<svg"), std::string::npos);
  Report one;
  one.stages = {{"a", "PRETRAIN", {{0, std::nan("")}}, {}, 0, 0, 0},
                {"b", "ALIGN", {}, {}, 0, 0, 0}};
  one.models = {{"m", ModelReport::Role::kStudent, 10, std::nullopt, {}}};
  EXPECT_EQ(unbalanced_tag(to_html(one)), "");
  EXPECT_EQ(count(to_html(one), "no finite values"), 2U);
}

TEST(Report, AModelWithoutPerplexityHasABlank) {
  Report report = sample_report();
  for (ModelReport& model : report.models) {
    model.perplexity.reset();
    model.bits_per_byte.reset();
  }
  for (const std::string& text : {to_html(report), to_text_table(report)}) {
    EXPECT_EQ(text.find("nan"), std::string::npos);
    EXPECT_EQ(text.find("inf"), std::string::npos);
  }
  EXPECT_EQ(unbalanced_tag(to_html(report)), "");
}

TEST(ReportText, IsANeatTable) {
  const std::string text = to_text_table(sample_report());
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100U) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
  EXPECT_TRUE(text.ends_with('\n'));
  EXPECT_NE(text.find("\n  ranks: 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("kept as softmax attention: 1, 4\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  hybrid after finetune            29.9             +5.6%        1.966\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(to_text_table(Report{}), "");
}

TEST(Report, LateLossIsTheMeanOfTheLastTenth) {
  StageReport stage;
  for (int i = 0; i < 25; ++i) stage.loss.push_back({i, static_cast<double>(i)});
  EXPECT_EQ(late_loss(stage), 23.5) << "of steps 23 and 24";
  stage.loss.resize(1);
  EXPECT_EQ(late_loss(stage), 0);
  EXPECT_TRUE(std::isnan(late_loss(StageReport{})));
}

TEST(Report, SkippedStepsAreCounted) {
  Report report;
  report.stages.resize(1);
  report.stages[0].loss = {{0, 2.0}, {3, 1.0}};
  EXPECT_EQ(steps_text(report.stages[0]), "2");
  report.stages[0].skipped = 2;
  EXPECT_EQ(steps_text(report.stages[0]), "4, 2 skipped");
  EXPECT_NE(to_text_table(report).find("4, 2 skipped"), std::string::npos);
  EXPECT_NE(to_html(report).find("4, 2 skipped"), std::string::npos);
}

TEST(Chart, TicksAreRoundNumbersInTheRange) {
  EXPECT_EQ(linear_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(linear_ticks(0.9, 3.3, 5), (std::vector<double>{1, 1.5, 2, 2.5, 3}));
  EXPECT_EQ(linear_ticks(-3, 3, 3), (std::vector<double>{-2, 0, 2}));
  EXPECT_TRUE(linear_ticks(1, 1, 5).empty());
  EXPECT_EQ(log_ticks(0.5, 30, 5), (std::vector<double>{0.5, 1, 2, 5, 10, 20}));
  EXPECT_EQ(log_ticks(1e-6, 1e6, 4).size(), 5U) << "every third decade";
  EXPECT_TRUE(log_ticks(0, 1, 5).empty());
}

TEST(Chart, NumbersAreShort) {
  EXPECT_EQ(short_number(0.00123456), "0.001235");
  EXPECT_EQ(short_number(9999), "9999");
  EXPECT_EQ(short_number(12345), "12.3K");
  EXPECT_EQ(short_number(std::nan("")), "nan");
}

TEST(Gzip, ComesToWhatTheProgramGzipDoes) {
  const test::TemporaryFolder folder;
  const std::string path = (folder.path() / "text").string();
  const CounterRng rng(1, "gzip");
  std::string text;
  for (std::uint64_t i = 0; i < 200000; ++i) text += "etaoin shrdlu\n"[rng.below(i % 14 + 1, i)];
  std::ofstream(path) << text;
  std::FILE* pipe = ::popen(("gzip -9 -n -c '" + path + "' | wc -c").c_str(), "r");
  long bytes = 0;
  ASSERT_EQ(std::fscanf(pipe, "%ld", &bytes), 1);
  ::pclose(pipe);
  const double expected = 8.0 * static_cast<double>(bytes) / static_cast<double>(text.size());
  // The two programs cut blocks a little differently.
  EXPECT_NEAR(gzip_bits_per_byte(text), expected, 0.005 * expected);
  EXPECT_EQ(gzip_bits_per_byte(""), 0);
}

}  // namespace
}  // namespace halo::launch
