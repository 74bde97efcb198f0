"""
Ratings as numbers
==================

People rate how calm or how pleased they were from 1 to 9. Cut into "low" and "high", a rating of
4.9 and one of 5.1 are opposites. :class:`clmer.CLMERRegressor` predicts the number itself.
"""

# %%
# Eight generated people rate twelve recordings of 20 s each. The larger a rating, the larger is
# the rhythm in the EEG; every person has a gain of their own, which makes it hard to compare
# people. The scores say that the code works, and nothing about people.
import matplotlib.pyplot as plt
import numpy as np
from clmer.data.synthetic.study import rated_study
from sklearn.model_selection import GroupKFold, cross_val_predict

import clmer
from clmer.data.store.options import PrepareOptions
from clmer.evaluation.ratings import concordance
from clmer.integrations.mne import from_raw

recordings = rated_study(people=8, trials=12, seconds=20)
options = PrepareOptions(modalities=("eeg",), window_s=4.0)
windows = [from_raw(raw, options).arrays["eeg"] for _, _, raw in recordings]
counts = [len(each) for each in windows]
X = np.concatenate(windows)
people, ratings = (np.repeat([row[i] for row in recordings], counts) for i in (0, 1))
number = np.repeat(np.arange(len(recordings)), counts)
print(f"{len(X)} windows, ratings from {ratings.min()} to {ratings.max()}")

# %%
# People in the test part are new to the model. The prediction for a recording is the mean over its
# windows. The concordance (CCC) asks for the numbers themselves, not only for their order: 1 is
# perfect, 0 is what the mean rating alone would get.
model = clmer.CLMERRegressor({"eeg": X.shape[1:]}, classifier="linear", contrastive=False)
flat = X.reshape(len(X), -1)
said = cross_val_predict(model, flat, ratings, groups=people, cv=GroupKFold(8))
mean = np.array([said[number == i].mean() for i in range(len(recordings))])
truth = np.array([rating for _, rating, _ in recordings])

# %%
# The picture
# -----------
#
# One dot per recording, one colour per person. Lines of dots that lie above or below the diagonal
# are people whose gain the model cannot know. Some known windows of each person help against that,
# see ``reference`` in :class:`clmer.CLMERRegressor` and :doc:`/protocols`.
names = np.array([person for person, _, _ in recordings])
figure, axis = plt.subplots(figsize=(5.5, 5))
for person in np.unique(names):
    axis.plot(truth[names == person], mean[names == person], "o", alpha=0.8, label=person)
axis.plot([1, 9], [1, 9], color="0.4", linestyle="--")
axis.set(xlabel="rating", ylabel="predicted, person unseen in training", xlim=(0.5, 9.5))
axis.set_title(f"CCC {concordance(truth, mean):.2f} over {len(truth)} recordings")
axis.legend(fontsize="small", ncols=2)
