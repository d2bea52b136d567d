// The program `halo`: everything that a person does around a run, one subcommand a task.
#include <CLI/CLI.hpp>

#include "launch/commands/commands.h"
#include "launch/program.h"

int main(int argc, char** argv) {
  halo::launch::start_logging(argv[0], false);
  CLI::App app(
      "Turns softmax-attention language models into hybrids with linear attention (HALO, "
      "HypeNet).\n"
      "Training runs with halo_train; this program does what comes before and after.",
      "halo");
  app.set_version_flag("--version", "halo " HALO_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer("`halo COMMAND --help` tells more. Exit codes: 0 done, 1 failure, 2 bad input.");
  using namespace halo::launch;
#include "launch/command_list.inc"
  return run_app(app, argc, argv);
}
