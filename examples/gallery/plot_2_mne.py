"""
Own recordings from MNE
=======================

You have ``mne.io.Raw`` objects, and know whose each is and what the person did. This page goes
from ``import clmer`` to a score on people whom the model never saw, and a picture of it, in 18
lines.
"""

# %%
# The recordings
# --------------
#
# Put your own here, as ``[(person, state, Raw), ...]``::
#
#     recordings = [
#         (person, state, mne.io.read_raw(f"{person}_{state}.edf"))
#         for person in ("P01", "P02", "P03")
#         for state in ("rest", "task")
#     ]
#
# These are generated, ten people with a minute of rest and a minute of a task, so the score says
# that the code works and nothing about people.
from clmer.data.synthetic.study import study

recordings = study(people=10, seconds=60)  # (person, state, Raw) of each
print(f"{len(recordings)} recordings, the first:", *recordings[0][:2])
print(recordings[0][2])

# %%
# From windows to a score
# -----------------------
#
# ``from_raw`` filters (4 to 45 Hz), resamples to 128 Hz and cuts windows, [N, channels, samples]
# of ``"eeg"``. Spans that MNE marks as bad are left out, and so are bad channels: interpolate them
# first (``raw.interpolate_bads()``), so that all recordings have the same. ``LeaveOneGroupOut`` by
# person trains on nine people and tests on the tenth, in turn. Windows of one recording are nearly
# copies of each other: a split that ignores whose they are shows a better score that is not true,
# see :doc:`plot_3_leakage`.
import clmer
import matplotlib.pyplot as plt
import numpy as np
from clmer.data.store.options import PrepareOptions
from clmer.integrations.mne import from_raw
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

options = PrepareOptions(modalities=("eeg",), window_s=2.0)
windows = [from_raw(raw, options).arrays["eeg"] for _, _, raw in recordings]  # each [N, C, T]
X, counts = np.concatenate(windows), [len(each) for each in windows]
people, y = (np.repeat([row[i] for row in recordings], counts) for i in (0, 1))
model = clmer.CLMERClassifier({"eeg": X.shape[1:]}, classifier="linear", contrastive=False)
said = cross_val_predict(model, X.reshape(len(X), -1), y, groups=people, cv=LeaveOneGroupOut())
scores = {p: balanced_accuracy_score(y[people == p], said[people == p]) for p in np.unique(people)}
plt.bar(scores.keys(), scores.values())
plt.axhline(0.5, color="0.4", linestyle="--")
plt.ylabel("balanced accuracy of a person's windows")
plt.title(f"Each person left out in turn: mean {np.mean([*scores.values()]):.2f}")

# %%
# ``classifier="linear"`` is logistic regression on hand-made features, the baseline that any
# network has to beat; it answers in seconds. The default, ``"corrected"``, lets CLMER's network
# correct it where validation is better for it, which takes minutes. Several modalities go in side
# by side, ``{"eeg": (32, 256), "ecg": (1, 256)}``: see :class:`clmer.CLMERClassifier`. From files
# instead of ``Raw`` objects, ``clmer manifest`` and ``clmer train`` do all of this, and add
# intervals and tests: :doc:`/use`.
