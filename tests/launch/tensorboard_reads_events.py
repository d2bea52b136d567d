"""Reads event files with the tensorboard package: python3 tensorboard_reads_events.py WRITE_EVENTS_PROGRAM."""

import subprocess
import sys
import tempfile
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        events = EventAccumulator(folder, size_guidance={"scalars": 0})
        events.Reload()
        tags = set(events.Tags()["scalars"])
        expected = {
            "train/loss", "train/grad_norm", "train/lr", "validation/loss",
            "speed/step_ms", "speed/tokens_per_s", "speed/mfu", "speed/memory_gib",
        }
        assert tags == expected, tags
        losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
        # Steps 6 to 9 of the first run are forgotten, none is there twice.
        assert losses == [(s, 100.0 + s if s < 6 else 200.0 + s) for s in range(13)], losses
        validation = [(event.step, event.value) for event in events.Scalars("validation/loss")]
        assert validation == [(3, 206.0), (7, 414.0), (11, 422.0)], validation
        first = events.Scalars("train/loss")[0]
        assert abs(first.wall_time - time.time()) < 3600, first.wall_time


if __name__ == "__main__":
    main()
    print("tensorboard reads every scalar")
