"""`clmer.Live` in a loop of your own: a device's chunks in, probabilities out.

    python examples/live_loop.py RUN RECORDING.edf

The device is a file here, which MNE reads 16 samples at a time; put what your device's own package
gives in its place. RUN was trained with `--filter causal`, on the signals of such recordings; its
first model is taken, where `clmer live` takes the best that the run kept.
"""

import sys

import mne

import clmer
from clmer.live import StreamFormat


def main() -> None:
    """Read the recording as if it came now."""
    run, recording = sys.argv[1:]
    device = mne.io.read_raw(recording, verbose="error")
    channels, volts = tuple(device.ch_names), ("V",) * len(device.ch_names)
    stream = StreamFormat(channels, device.info["sfreq"], volts)
    live = clmer.Live(clmer.load(run), {"device": stream})
    print("seconds ", *live.classes, sep="\t")
    for first in range(0, device.n_times, 16):
        samples, times = device[:, first : first + 16]  # [channels, 16] and [16] seconds
        for window in live.push(samples, times):
            values = [] if window.values is None else [f"{p:.2f}" for p in window.values]
            print(f"{window.stop_s:8.2f}", *values, window.status, sep="\t")
    print(*live.notes, live.counts["device"], sep="\n")


if __name__ == "__main__":
    main()
