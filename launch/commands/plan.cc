#include <fstream>
#include <iostream>
#include <thread>

#include "core/base/file.h"
#include "launch/commands/commands.h"
#include "launch/config.h"
#include "launch/jobs/dry_run.h"
#include "launch/plan/layout_plan.h"
#include "launch/plan/measure_machine.h"
#include "launch/sweep/expand_sweep.h"

namespace halo::launch {
namespace {

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  std::string job;
  std::string machine = "h100";
  std::string measure;
  int ranks = 8;
  int threads = 0;
  int most = 12;
};

void measure(const Options& options) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const proto::Machine machine = measure_machine(options.threads > 0 ? options.threads : cores);
  const std::string text = machine.Utf8DebugString();
  write_file_atomically(options.measure, text);
  std::cout << text;
}

void run(const Options& options) {
  if (!options.measure.empty()) return measure(options);
  HALO_REQUIRE_INPUT(!options.config.empty(), "give --config FILE, or --measure FILE");
  Config config = read_config(options.config);
  for (const std::string& assignment : options.overrides) apply_override(config, assignment);
  config = resolve_run(config, options.config);
  const proto::Machine machine = read_machine(options.machine);
  bool found = false;
  for (const int i : job_order(config)) {
    const proto::Job& job = config.job(i);
    if (!job.has_train() || !is_asked(config, i, options.job)) continue;
    found = true;
    const std::vector<LayoutPlan> plans =
        plan_layouts(config, job, options.ranks, machine, static_cast<std::size_t>(options.most));
    std::cout << "job " << job.name() << " on " << options.ranks << " ranks of " << machine.name()
              << ":\n"
              << to_table(plans, machine) << '\n';
  }
  HALO_REQUIRE_INPUT(found, str(options.config, ": ",
                                options.job.empty() ? "has no training job"
                                                    : "has no training job " + options.job));
}

}  // namespace

void add_plan(Command& program) {
  Command command = program.command(
      "plan", "Rank the layouts of a run's training jobs by the time of a step, with memory");
  const auto options = std::make_shared<Options>();
  command.option("--config", options->config, "The run's config").takes("FILE");
  command.option("--set", options->overrides, "Assign a config field, as halo_train's --set")
      .takes("PATH=VALUE")
      .one_at_a_time();
  command.option("--job", options->job, "This training job alone").takes("NAME");
  command.option("--ranks", options->ranks, "Ranks in all").in_range(1, 1 << 20).shows_default();
  command
      .option("--machine", options->machine,
              "h100, h200 or a file as --measure writes it (machine.proto)")
      .shows_default();
  command
      .option("--measure", options->measure,
              "Measure this machine, one rank with all cores, and write it to FILE")
      .takes("FILE");
  command.option("--threads", options->threads, "Threads to measure with; 0: all cores")
      .in_range(0, 4096);
  command.option("--most", options->most, "Layouts to show").in_range(1, 10000).shows_default();
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
