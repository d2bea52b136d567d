#include <iostream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/commands/commands.h"
#include "launch/jobs/collect_report.h"
#include "launch/jobs/run_jobs.h"
#include "launch/sweep/expand_sweep.h"

namespace halo::launch {
namespace {

struct Options {
  std::string config;
  std::string output;
  std::string html;
  std::string csv;
  std::string json;
  int most = 20;
};

void run(const Options& options) {
  Config config = read_config(options.config);
  std::vector<std::filesystem::path> inputs{options.config};
  for (const proto::Job& job : config.job()) {
    inputs.emplace_back(job.report().gzip_text());
    inputs.insert(inputs.end(), job.train().data().tokens().begin(),
                  job.train().data().tokens().end());
  }
  for (const std::string& file : {options.html, options.csv, options.json})
    require_no_input(file, inputs);
  if (!options.output.empty()) config.set_output(options.output);
  const Config resolved = resolve_run(config, options.config, stored_configs(config));
  HALO_REQUIRE_INPUT((options.csv.empty() && options.json.empty()) || resolved.trial_size() > 0,
                     "--csv and --json are of trials: the config has no sweep");
  HALO_REQUIRE_INPUT(std::filesystem::is_directory(resolved.output()),
                     str(resolved.output(), ": no such folder: nothing has run there"));
  const Report report = collect_report(resolved, 0);
  std::cout << to_text_table(report, static_cast<std::size_t>(options.most));
  if (!options.csv.empty()) write_file_atomically(options.csv, trials_csv(*report.trials));
  if (!options.json.empty()) write_file_atomically(options.json, trials_json(*report.trials));
  if (options.html.empty()) return;
  write_file_atomically(options.html, to_html(report));
  std::cout << "\nThe same with plots: " << options.html << '\n';
}

}  // namespace

void add_report(Command& program) {
  auto options = std::make_shared<Options>();
  Command command =
      program.command("report", "Table and page of what a run's jobs have come to so far");
  command.option("--config", options->config, "The run's config").required().takes("FILE");
  command.option("--output", options->output, "The run's folder, in place of the config's")
      .takes("DIR");
  command.option("--html", options->html, "Also write the page").takes("FILE");
  command.option("--csv", options->csv, "Also write the table of a sweep's trials").takes("FILE");
  command.option("--json", options->json, "The same as JSON").takes("FILE");
  command.option("--most", options->most, "Trials to show, the best ones")
      .in_range(1, 100000)
      .shows_default();
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
