"""
A live stream
=============

:class:`clmer.Live` takes samples as they come and says of each window what a trained run says of
it: filters with state, windows on the stream's clock, lost samples noticed. Here the stream is an
array, given in chunks of 16 samples; put a headset's own package in its place.
"""

# %%
# Train first, with filters that know nothing of what comes later (``--filter causal``), as a live
# stream has no later. Seven generated people, a recording of rest and one of a task each, in files
# of MNE's format; an eighth is for the stream. The probabilities say that the code works, and
# nothing about people.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from clmer.data.synthetic.study import CHANNELS, FS, STATES, eeg, study

import clmer
from clmer.cli import main as command
from clmer.live import StreamFormat

folder = Path(tempfile.mkdtemp()) / "study"
folder.mkdir()
for person, state, raw in study(people=7, seconds=30):
    raw.save(folder / f"{person}_{state}_eeg.fif", verbose="error")
command(["manifest", str(folder)])

# %%
# The options after ``--filter`` make an answer in seconds, of a linear model.
run = folder.parent / "run"
train = f"train manifest --root {folder} --task label --filter causal --out {run}"
quick = "--classifier linear --no-contrastive --no-permuted --folds 3 --threads 1"
assert command([*train.split(), *quick.split()]) == 0

# %%
# The stream
# ----------
#
# Person 8 rests for 20 s, works for 20 s and rests again; after 50 s the headset loses two
# seconds. ``push`` returns the windows that became complete, and no thread is started.
rest, task = STATES.values()
parts = [(0, rest), (1, task), (2, rest)]
samples = np.hstack([eeg(7, number, strength, seconds=20) for number, strength in parts])
times = np.arange(samples.shape[1]) / FS

live = clmer.Live(clmer.load(run), {"headset": StreamFormat(CHANNELS, FS, ("uV",) * 8)})
windows = []
for first in range(0, samples.shape[1], 16):
    if not 50 <= times[first] < 52:
        windows += live.push(samples[:, first : first + 16], times[first : first + 16])
answered = [window for window in windows if window.values is not None]
latency = np.median([window.latency_s for window in answered])
print(f"{len(windows)} windows, {len(answered)} with an answer")
print(live.counts["headset"])

# %%
# The picture
# -----------
#
# The probability of "task", window by window, and its mean over five windows, as a display would
# show it. Grey is when the person worked. Where samples are lost there is no answer, instead of an
# old one.
column = live.classes.index("task")
ends = np.array([window.stop_s for window in answered])
p = np.array([window.values[column] for window in answered])
smooth = np.array([p[max(0, i - 4) : i + 1].mean() for i in range(len(p))])
gaps = np.flatnonzero(np.diff(ends) > 1.5) + 1
figure, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
axis.axvspan(20, 40, color="0.85", label="task")
axis.axvspan(50, 52, color="C3", alpha=0.3, label="samples lost")
axis.plot(ends, p, ".", color="C0", alpha=0.6, label="window")
line = np.insert(ends, gaps, np.nan), np.insert(smooth, gaps, np.nan)
axis.plot(*line, color="C0", label="mean of five")
axis.axhline(0.5, color="0.4", linestyle="--")
axis.set(xlabel="time (s)", ylabel='probability of "task"', ylim=(-0.03, 1.03), xlim=(0, 60))
axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.17), frameon=False)

# %%
# ``clmer live`` does this with streams of LabStreamingLayer, prints it, writes it and shows it on
# a page: :doc:`/live`.
