// The program `halo_launch`: starts a training run, watches its ranks, and starts it again after a failure or a hang.
#include <algorithm>
#include <iostream>

#include "launch/health/heartbeat_server.h"
#include "launch/program.h"
#include "launch/supervisor/supervisor.h"

namespace {

using namespace halo;
using launch::SupervisionLimits;

void add_options(launch::Command& app, SupervisionLimits& limits) {
  constexpr double kYear = 366.0 * 24 * 3600;
  app.option("--max_restarts", limits.max_restarts, "Restarts in a row without a new checkpoint")
      .in_range(0, 1000000)
      .shows_default();
  app.option("--hang_timeout", limits.hang_timeout,
             "Seconds without a heartbeat of a rank, after which the run is ended")
      .in_range(2.0, kYear)
      .shows_default();
  app.option("--step_timeout", limits.step_timeout,
             "Seconds without progress within a step; 0: ten times the slowest step, at least 60")
      .in_range(0.0, kYear)
      .shows_default();
  app.option("--start_timeout", limits.start_timeout,
             "Seconds until every rank has sent its first heartbeat")
      .in_range(1.0, kYear)
      .shows_default();
  app.option("--phase_timeout", limits.phase_timeout,
             "Seconds without progress while a rank starts, loads, saves or validates")
      .in_range(1.0, kYear)
      .shows_default();
  app.option("--backoff", limits.backoff,
             "Seconds before the first restart; twice as many before each further one in a row")
      .in_range(0.0, 3600.0)
      .shows_default();
}

}  // namespace

int main(int argc, char** argv) {
  launch::start_logging(argv[0], false);
  launch::Program app(
      "halo_launch",
      "Runs halo_train under supervision: it is started again after a failure or a hang, without\n"
      "hosts that are gone, and goes on from its last checkpoint.\n"
      "halo_launch [OPTIONS] -- mpirun -np N halo_train --config FILE",
      "halo_launch " HALO_VERSION);
  SupervisionLimits limits;
  add_options(app, limits);
  // What follows "--" is the command's own.
  const auto separator = std::find(argv + 1, argv + argc, std::string_view("--"));
  const std::vector<std::string> command(std::min(separator + 1, argv + argc), argv + argc);
  int code = 0;
  app.does([&] {
    launch::allow_many_connections();
    code = launch::supervise(command, limits, std::cerr);
  });
  const int parsed = launch::run_program(app, static_cast<int>(separator - argv), argv);
  return parsed != 0 ? parsed : code;
}
