"""
SimCLR on a tiny data set
=========================

Contrastive learning without labels: two random views of a picture should be close, views of
different pictures far apart. The loss is :func:`clmer.nt_xent`, on the 1797 handwritten digits of
8 x 8 pixels that come with scikit-learn.
"""

# %%
# Pictures, and two views of them: shifted by up to a pixel, turned and scaled a little.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale
from torch import nn
from torch.nn import functional as F

from clmer import nt_xent

torch.manual_seed(0)
digits = load_digits()
pictures = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
seen, new = train_test_split(np.arange(len(pictures)), test_size=0.5, random_state=0)


def view(batch: torch.Tensor) -> torch.Tensor:
    """A random view of each picture."""
    angle = torch.empty(len(batch)).uniform_(-0.25, 0.25)
    size = torch.empty(len(batch)).uniform_(0.8, 1.2)
    matrix = torch.zeros(len(batch), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = size * angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -size * angle.sin(), size * angle.sin()
    matrix[:, :, 2].uniform_(-0.25, 0.25)
    grid = F.affine_grid(matrix, batch.shape, align_corners=False)
    return F.grid_sample(batch, grid, align_corners=False)


# %%
# Training without a label
# ------------------------
#
# ``accuracy=True`` also returns how often a view's nearest neighbour in the batch is its other
# view; it comes out of what the loss computes anyway.
encoder = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 128)),
)
head = nn.Sequential(nn.ReLU(), nn.Linear(128, 32))
optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=2e-3)
losses = []
for epoch in range(80):
    for rows in torch.from_numpy(np.random.default_rng(epoch).permutation(seen)).split(256)[:3]:
        batch = pictures[rows]
        z_a, z_b = head(encoder(view(batch))), head(encoder(view(batch)))
        loss, top_1 = nt_xent(z_a, z_b, temperature=0.2, accuracy=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}; the other view is nearest in {top_1:.0%}")

# %%
# What it is worth
# ----------------
#
# Logistic regression with two labels per digit, tested on pictures that nothing was trained on:
# from the pixels and from the encoder's output, each scaled to unit variance (without labels).
with torch.no_grad():
    features = scale(encoder(pictures).numpy())
pixels = scale(pictures.flatten(1).numpy())
scores = {"pixels": [], "encoder": []}
for seed in range(5):
    few, _ = train_test_split(seen, train_size=20, stratify=digits.target[seen], random_state=seed)
    for name, X in (("pixels", pixels), ("encoder", features)):
        probe = LogisticRegression(max_iter=2000).fit(X[few], digits.target[few])
        scores[name].append(probe.score(X[new], digits.target[new]))
for name, values in scores.items():
    print(f"20 labels, {name}: {np.mean(values):.3f} of the unseen pictures right")

# %%
# The picture
# -----------
#
# The loss, and the unseen pictures by the encoder's output in two dimensions (t-SNE). Colours are
# the digits, which the training never had.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(losses)
left.set(xlabel="step", ylabel="NT-Xent", title="loss of two views")
placed = TSNE(init="pca", perplexity=30, random_state=0, max_iter=500).fit_transform(features[new])
right.scatter(*placed.T, c=digits.target[new], cmap="tab10", s=8)
right.set(xticks=[], yticks=[], title="unseen pictures, coloured by digit")
for digit in range(10):
    middle = np.median(placed[digits.target[new] == digit], axis=0)
    right.text(*middle, str(digit), weight="bold", ha="center", va="center")

# %%
# With ``labels=`` the same call is the loss of SupCon, with ``[B, n_views, D]`` it takes SupCon's
# features: :doc:`/ntxent`.
