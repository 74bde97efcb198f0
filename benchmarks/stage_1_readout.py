"""What a linear model reads from encoders, with all labels and with few: is stage 1 worth its time?

    python benchmarks/stage_1_readout.py manifest --root $CLMER_DATA/hapt --window 2.56
    python benchmarks/stage_1_readout.py phase
    python benchmarks/stage_1_readout.py order --objective paper --view-pieces 1

A manifest's people are split by name: the first two thirds train (encoders without labels, then
logistic regression on mean and sd over time of each feature), the others test. "order" and "phase"
are `clmer.data.synthetic.temporal`: 3000 windows, 30 labels, 2000 more to test on; all steps are
read, too, and an encoder trained on the 30 labels from a random start stands beside.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from clmer.cli.arguments import add_fields
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.data.synthetic.temporal import KINDS, draw_temporal
from clmer.nn import Encoder
from clmer.nn.contrastive import pooled
from clmer.nn.encoder import encode
from clmer.nn.random_state import own_random_state
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.presets import configure
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.stages.contrastive import fit_encoders, random_encoders
from clmer.pipeline.stages.loop import Unrecorded
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays
from clmer.train.job import prepared

CPU = torch.device("cpu")
SHARES = (1.0, 0.1, 0.01)


def encoders(
    config: ModelConfig, windows: WindowArrays, train: np.ndarray, trained: bool
) -> tuple[dict[str, Encoder], dict[str, Tensor]]:
    """Encoders of the training rows, trained or random, and the standardised windows."""
    with own_random_state(CPU):
        tokenizer = Tokenizer.fit(windows, train, "channel")
        x = tokenizer.standardise(windows.arrays, CPU)
        if not trained:
            return random_encoders(config, windows.modalities, x, train), x
        split = Split("readout", train, train[:0], train[:0], 0, "")
        args = (config, windows, x, split, Unrecorded(), Ranks(), "split1")
        return fit_encoders(*args), x


def read(z: Mapping[str, Tensor]) -> np.ndarray:
    """Mean and sd over time of every modality's features, [N, F]."""
    return torch.cat([pooled(part) for part in z.values()], dim=1).numpy()


def score(features: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Balanced accuracy in percent of logistic regression on features."""
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=300)
    fitted = make_pipeline(StandardScaler(), model).fit(features[train], y[train])
    return 100 * float(balanced_accuracy_score(y[test], fitted.predict(features[test])))


def on_people(config: ModelConfig, given: argparse.Namespace) -> None:
    """One line per seed: all labels, a tenth, a hundredth; trained against random encoders."""
    asked = {"root": given.root, "window_s": given.window, "stride_s": given.window}
    _, store = prepared(configure("manifest", "cpu", **asked), Path(given.cache))
    names, y = np.unique(store.windows.labels[given.task], return_inverse=True)
    people = np.unique(store.windows.subject)
    own = np.isin(store.windows.subject, people[: round(len(people) * 2 / 3)])
    train, test = np.flatnonzero(own), np.flatnonzero(~own)
    print(f"{len(names)} classes, {len(train)} windows to train, {len(test)} of other people")
    for trained in (True, False):
        z, x = encoders(config, WindowArrays.of(store), train, trained)
        features = read({name: encode(each, x[name]) for name, each in z.items()})
        found = []
        for share in SHARES:
            drawn = [train]
            if share < 1:
                size = max(round(share * len(train)), 2 * len(names))
                options: dict[str, Any] = {"train_size": size, "stratify": y[train]}
                drawn = [train_test_split(train, random_state=d, **options)[0] for d in range(3)]
            found.append(np.mean([score(features, y, rows, test) for rows in drawn]))
        line = "  ".join(f"{value:5.1f}" for value in found)
        print(f"seed {config.seed} {'trained' if trained else 'random '}  100/10/1 %: {line}")


def on_control(kind: str, config: ModelConfig) -> None:
    """One line: pooled and all steps, trained and random; an encoder trained on 30 labels."""
    x, y = draw_temporal(kind, 5000, config.seed)
    modalities = {"x": Modality("x", 2, 128.0, ("a", "b"), ("other", "other"))}
    windows, rows = WindowArrays(modalities, {"x": x}), np.arange(5000)
    few, test = rows[:30], rows[3000:]
    for trained in (True, False):
        made, standard = encoders(config, windows, rows[:3000], trained)
        z = {"x": encode(made["x"], standard["x"])}
        flat = z["x"].flatten(1).numpy()
        found = score(read(z), y, few, test), score(flat, y, few, test)
        print(
            f"{kind} seed {config.seed} {'trained' if trained else 'random '}  "
            f"mean and sd {found[0]:.1f}  all steps {found[1]:.1f}"
        )
    print(f"{kind} seed {config.seed} scratch  {scratch(config, standard['x'], y, few, test):.1f}")


def scratch(
    config: ModelConfig, x: Tensor, y: np.ndarray, few: np.ndarray, test: np.ndarray
) -> float:
    """Accuracy in percent of an encoder and a linear layer trained together on few labels."""
    torch.manual_seed(config.seed)
    encoder = Encoder(x.shape[1], x.shape[2], width=config.width)
    model = nn.Sequential(encoder, nn.Flatten(), nn.Linear(encoder.features * encoder.steps, 2))
    optimizer, known = torch.optim.Adam(model.parameters(), 1e-3), torch.from_numpy(y)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[few]), known[few]).backward()
        optimizer.step()
    with torch.no_grad():
        return 100 * float((model.eval()(x[test]).argmax(1) == known[test]).float().mean())


def main() -> None:
    """Print a line per seed and kind of encoder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", choices=("manifest", *KINDS))
    parser.add_argument("--root")
    parser.add_argument("--task", default="label")
    parser.add_argument("--window", type=float, default=2.56)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--seeds", type=int, default=5)
    add_fields(parser, ModelConfig, only={"objective", "width", "epochs_contrastive", "view_scale",
                                          "view_both", "view_jitter", "view_pieces",
                                          "view_rotation"})  # fmt: skip
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    own = {name: each for name, each in vars(given).items() if name in _FIELDS and each is not None}
    for seed in range(given.seeds):
        config = ModelConfig(**{"width": 16, "epochs_contrastive": 15, "seed": seed, **own})
        if given.data == "manifest":
            on_people(config, given)
        else:
            on_control(given.data, config)


_FIELDS = set(ModelConfig.__dataclass_fields__)

if __name__ == "__main__":
    main()
