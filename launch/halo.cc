// The program `halo`: everything that a person does around a run, one subcommand a task.
#include "launch/commands/commands.h"
#include "launch/program.h"

int main(int argc, char** argv) {
  halo::launch::start_logging(argv[0], false);
  halo::launch::Program app(
      "halo",
      "Turns softmax-attention language models into hybrids with linear attention (HALO, "
      "HypeNet).\n"
      "Training runs with halo_train; this program does what comes before and after.",
      "halo " HALO_VERSION);
  app.require_command();
  app.footer("`halo COMMAND --help` tells more. Exit codes: 0 done, 1 failure, 2 bad input.");
  using namespace halo::launch;
#include "launch/command_list.inc"
  return run_program(app, argc, argv);
}
