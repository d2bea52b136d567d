#include <iostream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launch/commands/commands.h"
#include "launch/jobs/collect_report.h"

namespace halo::launch {
namespace {

struct Options {
  std::string config;
  std::string output;
  std::string html;
};

void run(const Options& options) {
  Config config = read_config(options.config);
  std::vector<std::filesystem::path> inputs{options.config};
  for (const proto::Job& job : config.job()) {
    inputs.emplace_back(job.report().gzip_text());
    inputs.insert(inputs.end(), job.train().data().tokens().begin(),
                  job.train().data().tokens().end());
  }
  require_no_input(options.html, inputs);
  if (!options.output.empty()) config.set_output(options.output);
  const Config resolved = resolve(config, options.config);
  HALO_REQUIRE_INPUT(std::filesystem::is_directory(resolved.output()),
                     str(resolved.output(), ": no such folder: nothing has run there"));
  const Report report = collect_report(resolved, 0);
  std::cout << to_text_table(report);
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
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
