// Writes event files as a run leaves them that was stopped after step 9 and went on from step 6.
#include "launch/tensorboard.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  using namespace halo::launch;
  const auto write = [&](std::int64_t first, std::int64_t end, double offset) {
    TensorBoardWriter writer(argv[1], first);
    for (std::int64_t step = first; step < end; ++step) {
      StepMetrics metrics;
      metrics.step = step;
      metrics.loss = offset + static_cast<double>(step);
      if (step % 4 == 3) metrics.validation_loss = 2 * metrics.loss;
      writer.add_step(metrics);
    }
    writer.flush();
    return writer.ok();
  };
  return write(0, 10, 100) && write(6, 13, 200) ? 0 : 1;
}
