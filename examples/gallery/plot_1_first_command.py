"""
From the first command to a report
==================================

``clmer train deap --synthetic`` writes a small DEAP in DEAP's own files, reads it as it would the
real one, trains and reports, in some minutes. This page does the same with a smaller one and a
linear model, in seconds. The data are generated: that a score is high says that the code finds
what the generator put in, and nothing about people.
"""

# %%
# Generated recordings
# --------------------
#
# Four people watch 16 videos and rate them; their EEG, other physiology and faces depend on the
# rating.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from clmer.cli import main as clmer
from clmer.data.synthetic import bayes_accuracy, write_deap

folder = Path(tempfile.mkdtemp())
write_deap(folder / "deap", people=4, trials=16, fps=5)
files = [p.name for p in (folder / "deap").rglob("*") if p.is_file()]
print(f"{len(files)} files:", *sorted(files)[:2], "...", *sorted(files)[-3:])

# %%
# Train
# -----
#
# The command as on the command line: ``clmer train deap --root DIR ...``. It says what it
# understood before it trains, and what the score is worth after. The options after ``--out`` are
# for speed.
run = folder / "run"
options = "--classifier linear --no-contrastive --repeats 4 --threads 1"
assert clmer(f"train deap --root {folder / 'deap'} --out {run} {options}".split()) == 0

# %%
# Report
# ------
#
# One HTML page that needs nothing else, and the run's folder with what it is made from.
page = folder / "report.html"
assert clmer(["report", str(run), "--out", str(page)]) == 0
print(f"{page.name}: {page.stat().st_size / 1024:.0f} KiB;", *sorted(p.name for p in run.iterdir()))

# %%
# The picture
# -----------
#
# From ``predictions.csv``, a row per tested window: accuracy of each model, beside the best that
# any model could reach on these data, which the generator knows.
table = np.genfromtxt(run / "predictions.csv", delimiter=",", names=True, dtype=None)
right = table["true"] == table["predicted"]
scores = {name: right[table["model"] == name].mean() for name in sorted(set(table["model"]))}
labels = [name.replace("physio+landmarks+au", "all") for name in scores]
best = bayes_accuracy("valence", ["physio", "landmarks", "au"])
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
axis.bar_label(axis.barh(labels, scores.values(), color="C0"), fmt="%.2f", padding=3)
axis.axvline(best, color="C2", label=f"the best there can be: {best:.2f}")
axis.axvline(0.5, color="0.4", linestyle="--", label="chance")
axis.set(xlim=(0, 1.1), xlabel="accuracy per window, new recordings of the same people")
axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2, frameon=False)

# %%
# Your own recordings in a folder: :doc:`/use`. What ``trial`` tests and what to use instead for
# new people: :doc:`/protocols`. The generator: :doc:`/synthetic`.
