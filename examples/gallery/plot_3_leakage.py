"""
How leakage inflates scores
===========================

Windows of one recording are nearly copies of each other: the same electrodes, the same person, the
same minute. If some of them are trained on and others tested on, a model can recognise the
recording instead of the state. Here the same windows are split in three ways, with labels that are
true, and with labels that are drawn at random for each recording, of which nothing can be learned.
"""

# %%
# Ten generated people, each with six recordings of 40 s: three at rest and three at a task. Every
# recording has electrodes that sit a little differently, as real ones do. A window's features are
# the powers of four bands in eight channels; the model is a support vector machine, as in much of
# the literature. That no network is needed for it is the point: any model that is flexible enough
# leaks.
import matplotlib.pyplot as plt
import numpy as np
from clmer.data.synthetic.study import FS, STATES, eeg, windows_of
from scipy.signal import welch
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

windows, truth, people, recordings = [], [], [], []
for person in range(10):
    for number, state in enumerate([*STATES] * 3):
        windows.append(windows_of(eeg(person, number, STATES[state], seconds=40)))
        truth += [state] * len(windows[-1])
        people += [person] * len(windows[-1])
        recordings += [10 * person + number] * len(windows[-1])
hertz, power = welch(np.concatenate(windows), FS, nperseg=128)  # [N, 8, 65]
bands = [(hertz >= low) & (hertz < high) for low, high in ((4, 8), (8, 13), (13, 30), (30, 45))]
X = np.log(np.concatenate([power[..., band].mean(-1) for band in bands], axis=1))
truth, people, recordings = map(np.array, (truth, people, recordings))
print(f"{len(X)} windows of {len(set(recordings))} recordings of {len(set(people))} people")

# %%
# Three splits of the same windows. The last two keep in one part what belongs together.
splits = {
    "by window": (KFold(5, shuffle=True, random_state=0), None),
    "by recording": (GroupKFold(5, shuffle=True, random_state=0), recordings),
    "by person": (GroupKFold(5, shuffle=True, random_state=0), people),
}
model = make_pipeline(StandardScaler(), SVC(C=10))


def score(labels: np.ndarray, name: str) -> float:
    """Balanced accuracy of labels under a split."""
    splitter, groups = splits[name]
    said = cross_val_predict(model, X, labels, groups=groups, cv=splitter)
    return balanced_accuracy_score(labels, said)


def random_labels(seed: int) -> np.ndarray:
    """One label for all windows of a recording; half of the recordings are "task"."""
    shuffled = np.random.default_rng(seed).permutation(np.unique(recordings))
    return np.where(np.isin(recordings, shuffled[::2]), "task", "rest")


true = [score(truth, name) for name in splits]
random = [np.mean([score(random_labels(seed), name) for seed in range(5)]) for name in splits]

# %%
# The picture
# -----------
#
# With random labels there is nothing to learn, and a sound test shows chance. The split by window
# does not: it finds the recordings, and would do so on any data set. Its score for the true labels
# is made of the same stuff. Only the split by person says what to expect of somebody new.
at = np.arange(len(splits))
figure, axis = plt.subplots(figsize=(7, 4))
for shift, values, label in ((-0.2, true, "true labels"), (0.2, random, "random labels")):
    axis.bar_label(axis.bar(at + shift, values, 0.38, label=label), fmt="%.2f")
axis.axhline(0.5, color="0.4", linestyle="--")
axis.set_xticks(at, [f"split {name}" for name in splits])
axis.set_ylim(0, 1.1)
axis.set_ylabel("balanced accuracy")
axis.legend(loc="upper right")
axis.set_title("The same windows and model, split in three ways (dashed: chance)")

# %%
# ``clmer train`` tests on people it never saw by default, keeps recordings whole under every
# protocol but ``shuffled``, and trains on permuted labels beside the true ones: :doc:`/protocols`.
# The same picture of real recordings is made by ``clmer experiments leakage``:
# :doc:`/experiments`.
