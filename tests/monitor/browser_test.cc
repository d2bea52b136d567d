// The status page of a run in a real browser, headless Chromium; passed over where there is none. With
// HALO_SCREENSHOT=FILE.png in the environment it keeps a picture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <regex>

#include "core/base/error.h"
#include "launch/metrics.h"
#include "tests/monitor/monitored_run.h"

namespace halo::test {
namespace {

using testing::HasSubstr;

class BrowserTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v chromium >/dev/null") != 0)
      GTEST_SKIP() << "there is no chromium: apt-get install chromium";
  }

  /// What chromium writes when it is given the page's address and `options`.
  [[nodiscard]] std::string browse(const std::string& url,
                                   const std::vector<std::string>& options) const {
    std::vector<std::string> command{"chromium",
                                     "--headless",
                                     "--no-sandbox",  // tests may run as root
                                     "--disable-gpu",
                                     "--disable-dev-shm-usage",
                                     "--hide-scrollbars",
                                     "--virtual-time-budget=6000",
                                     "--user-data-dir=" + (folder_ / "profile").string()};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(url);
    const ProgramResult result = run_program(command);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  }

  TestFolder folder_;
};

/// The exact number of a tile, which is its title.
double tile(const std::string& page, const std::string& name) {
  std::smatch found;
  const std::regex pattern("<div class=\"name\">" + name +
                           "</div><div class=\"number\" title=\"([^\"]*)\">");
  if (!std::regex_search(page, found, pattern)) {
    ADD_FAILURE() << "no tile " << name << " in " << page;
    return 0;
  }
  return std::strtod(found[1].str().c_str(), nullptr);
}

TEST_F(BrowserTest, ThePageShowsTheJobAndTheLastStepsNumbers) {
  const ResumeCase resume(3000);
  MonitoredRun run(resume, 2, "tiny");
  run.wait_for_steps("align", 700);
  const std::string page = browse(run.url(), {"--dump-dom"});
  if (const char* picture = std::getenv("HALO_SCREENSHOT"))
    std::ignore = browse(run.url(), {str("--screenshot=", picture), "--window-size=1120,1420"});
  run.program().signal(SIGUSR1);
  EXPECT_EQ(run.program().wait().exit_code, 0);

  EXPECT_THAT(page, HasSubstr("<h1 id=\"name\">tiny</h1>"));
  for (const char* job : kStages) EXPECT_THAT(page, HasSubstr(std::string(job) + "</button>"));
  EXPECT_THAT(page, HasSubstr("role=\"status\">running</div>"));
  EXPECT_THAT(page, HasSubstr("<path class=\"curve\" d=\"M")) << "the curves are drawn";
  for (const char* rank : {"0", "1"})
    EXPECT_THAT(page, HasSubstr(str("<span class=\"light\"></span>", rank,
                                    "</td><td title=\"\">well</td>")));
  for (const char* job : kStages) {
    if (page.find(std::string(job) + ": loss</div>") == std::string::npos) continue;
    const double loss = tile(page, std::string(job) + ": loss");
    const auto steps = launch::read_metrics(resume.job("tiny", job) / "metrics.jsonl");
    const auto shown = std::ranges::find(steps, loss, &launch::StepMetrics::loss);
    ASSERT_NE(shown, steps.end()) << loss << " is no step's loss";
    EXPECT_EQ(tile(page, "tokens a second"), shown->tokens_per_s);
    return;
  }
  ADD_FAILURE() << "no job's loss is shown: " << page;
}

TEST_F(BrowserTest, ARankThatIsStoppedIsNamed) {
  const ResumeCase resume(100000);
  MonitoredRun run(resume, 2, "tiny");
  run.wait_for_steps("align", 10);
  const int pid = run.rank_when(1, "well")["pid"];
  ::kill(pid, SIGSTOP);
  std::ignore = run.rank_when(1, "silent");
  const std::string page = browse(run.url(), {"--dump-dom"});
  ::kill(pid, SIGCONT);
  run.program().signal(SIGUSR1);
  EXPECT_EQ(run.program().wait().exit_code, 0);
  EXPECT_THAT(page, HasSubstr("rank 1 is silent: no heartbeat for "));
  EXPECT_THAT(page, HasSubstr("<span class=\"light lost\"></span>1</td>"));
  EXPECT_THAT(page, HasSubstr(">waits for ")) << "what rank 0 does";
}

TEST_F(BrowserTest, WithATokenThePageOpensByALogin) {
  const ResumeCase resume(3000);
  setenv("HALO_MONITOR_TOKEN", "0123456789abcdef-good", 1);
  MonitoredRun run(resume, 0, "tiny");
  unsetenv("HALO_MONITOR_TOKEN");
  EXPECT_THAT(browse(run.url(), {"--dump-dom"}), HasSubstr("Token of this monitor"));
  EXPECT_THAT(browse(run.url() + "?token=0123456789abcdef-good", {"--dump-dom"}),
              HasSubstr("<h1 id=\"name\">tiny</h1>"));
  run.program().signal(SIGTERM);
  EXPECT_EQ(run.program().wait().exit_code, 0);
}

}  // namespace
}  // namespace halo::test
