"""
A scikit-learn pipeline, searched by person
===========================================

:class:`clmer.CLMERClassifier` is an estimator like any other: it stands in a ``Pipeline``, and
``GridSearchCV`` chooses its arguments and those of the steps before it. With ``groups`` no person
is on both sides of any split, in the search or in the test.
"""

# %%
# Eight generated people, a recording of rest and one of a task each; the scores say that the code
# works, and nothing about people.
import matplotlib.pyplot as plt
import numpy as np
from clmer.data.synthetic.study import CHANNELS, FS, STATES, eeg, windows_of
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import clmer
from clmer.signal import butter_bandpass, sosfiltfilt

parts = [
    (person, state, windows_of(eeg(person, number, strength, seconds=40)))
    for person in range(8)
    for number, (state, strength) in enumerate(STATES.items())
]
counts = [len(windows) for _, _, windows in parts]
X = np.concatenate([windows for _, _, windows in parts])
X = X.reshape(len(X), -1)  # [N, channels * samples], as the classifier takes several modalities
people, y = (np.repeat([part[i] for part in parts], counts) for i in (0, 1))

# %%
# A filter whose band is searched, and the classifier. A step that works row by row learns nothing
# from the data, so it may as well see the test part; whatever is fitted belongs inside the
# pipeline.


def band_pass(X: np.ndarray, low: float, high: float) -> np.ndarray:
    """Windows, flattened, filtered forwards and backwards."""
    windows = X.reshape(len(X), len(CHANNELS), -1)
    return sosfiltfilt(butter_bandpass(low, high, FS), windows).reshape(X.shape)


shape = (len(CHANNELS), X.shape[1] // len(CHANNELS))
model = Pipeline(
    [
        ("filter", FunctionTransformer(band_pass)),
        ("clmer", clmer.CLMERClassifier({"eeg": shape}, contrastive=False, random_state=0)),
    ]
)
bands = [(4, 45), (8, 13), (13, 30)]
grid = {
    "filter__kw_args": [{"low": low, "high": high} for low, high in bands],
    "clmer__classifier": ["linear", "fusion"],
    "clmer__epochs_fusion": [6],
}

# %%
# The search leaves two of six people out at a time; the two people who are tested at the end took
# no part in it.
test = np.isin(people, (6, 7))
search = GridSearchCV(
    model, grid, cv=GroupKFold(3), scoring="balanced_accuracy", error_score="raise"
)
search.fit(X[~test], y[~test], groups=people[~test])
best = search.best_params_
print("chosen:", best["filter__kw_args"], best["clmer__classifier"])
for person in (6, 7):
    own = people == person
    print(f"person {person}, in no part of it: {search.score(X[own], y[own]):.2f}")

# %%
# The picture
# -----------
#
# Every candidate, each tested on people that it was not trained on. Choosing the best of several
# makes its own score somewhat too good; the two people above are the honest ones.
table = search.cv_results_["mean_test_score"].reshape(len(grid["clmer__classifier"]), len(bands))
figure, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
image = axis.imshow(table, vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
axis.set_xticks(range(len(bands)), [f"{low} to {high} Hz" for low, high in bands])
axis.set_yticks(range(len(table)), grid["clmer__classifier"])
for (row, column), value in np.ndenumerate(table):
    axis.text(column, row, f"{value:.2f}", ha="center", color="white" if value < 0.8 else "black")
figure.colorbar(image, label="balanced accuracy")
axis.set_title("six people, tested on two at a time")

# %%
# ``cross_val_score(search, X, y, groups=people, cv=LeaveOneGroupOut())`` would repeat the whole
# search for every person: nested cross-validation, the number to publish. scikit-learn routes
# ``groups`` to the inner search as well after
# ``sklearn.set_config(enable_metadata_routing=True)``.
