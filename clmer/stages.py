"""The stages of a split: contrastive encoders, fusion, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clmer import metrics
from clmer.config import Config
from clmer.data import DATASETS
from clmer.data.cache import Store
from clmer.data.splits import Split
from clmer.data.tasks import Task
from clmer.fit import Schedule, fit, seed_of
from clmer.nn import ContrastiveModel, Encoder, Fusion, feature_count
from clmer.nn.baselines import bandpower
from clmer.nn.shard import Shard, averaged_later
from clmer.probe import linear_probe, settle_batch_norm
from clmer.ranks import Ranks
from clmer.runs import Run

Tokens = dict[str, Tensor]  # modality -> [N, tokens, features]


@dataclass(frozen=True, eq=False)
class Job:
    """What every split of a run shares."""

    config: Config
    run: Run
    store: Store
    task: Task
    y: np.ndarray
    splits: list[Split]
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.task.classes)

    @property
    def models(self) -> dict[str, tuple[str, ...]]:
        """Name and modalities of each model to train; the whole comes first."""
        names = tuple(self.store.modalities)
        models = {"+".join(names): names}
        if self.config.ablation == "single":
            models |= {name: (name,) for name in names}
        return models


# --- stage 1: one encoder a modality, no labels -------------------------------------------------
def new_encoder(job: Job, name: str, x: Tensor) -> Encoder:
    """The encoder of a modality; its weights follow from the seed and the name."""
    torch.manual_seed(seed_of(job.config.seed, "encoder", name))
    width = job.config.width
    features = feature_count(job.store.modalities[name].tokens, width)
    return Encoder(x.shape[1], x.shape[2], width=width, features=features).to(job.device)


class ContrastiveModels(nn.ModuleDict):
    """A contrastive model each modality; they share nothing but the step."""

    def forward(
        self, x: Mapping[str, Tensor], generator: torch.Generator, shard: Shard | None
    ) -> dict[str, Tensor]:
        """Eq. 4 summed over modalities, and its parts."""
        parts = {name: self[name](part, generator, shard=shard) for name, part in x.items()}
        line = {
            f"{name}_{key}": parts[name][key] for name in parts for key in ("sample", "temporal")
        }
        return {"loss": torch.stack([part["loss"] for part in parts.values()]).sum(), **line}


def contrastive_losses(
    model: ContrastiveModels, x: Mapping[str, Tensor], ranks: Ranks | None = None
) -> Any:
    """The losses of a step, whose batch is spread over the ranks where there are several."""
    ranks = ranks or Ranks()
    call: nn.Module = model
    if ranks.group is not None:
        call = DistributedDataParallel(model, process_group=ranks.group)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        shard = ranks.shard(len(rows))
        found = call({name: part[rows] for name, part in x.items()}, generator, shard)
        return {**found, "loss": averaged_later(found["loss"], ranks.count)}

    return losses


def contrastive_stage(
    job: Job, split: Split, number: int, x: Mapping[str, Tensor]
) -> dict[str, Encoder]:
    """Train the encoders on the windows of the training part: all ranks together."""
    model, optimizer = new_contrastive(job, x)
    rows = torch.from_numpy(split.train).to(job.device)
    schedule = Schedule(job.config.epochs_contrastive, job.config.batch)
    stage = f"split{number + 1}/contrastive"
    losses = contrastive_losses(model, x, job.ranks)
    fit(job.run, stage, model, optimizer, losses, rows, schedule, job.config.seed)
    return encoders_of(model)


def encoders_of(model: nn.ModuleDict) -> dict[str, Encoder]:
    """The encoders inside contrastive models."""
    return {name: cast(ContrastiveModel, part).encoder for name, part in model.items()}


def new_contrastive(
    job: Job, x: Mapping[str, Tensor]
) -> tuple[ContrastiveModels, torch.optim.Optimizer]:
    """Contrastive models of all modalities and TS-TCC's optimiser over them."""
    form: Any = job.config.temporal
    model = ContrastiveModels(
        {name: ContrastiveModel(new_encoder(job, name, t), form=form) for name, t in x.items()}
    ).to(job.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, betas=(0.9, 0.99), weight_decay=3e-4)
    return model, optimizer


def probe(
    job: Job, split: Split, encoders: Mapping[str, Encoder], x: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """Linear probe at 10 % of the labels: the trained encoder against a random one."""
    rows = []
    for name, part in x.items():
        random = settle_batch_norm(new_encoder(job, name, part), part[split.train])
        scores = [
            linear_probe(encoder, part, job.y, split, job.config.seed)
            for encoder in (encoders[name], random)
        ]
        rows.append({"split": split.name, "modality": name, "trained": scores[0],
                     "random": scores[1]})  # fmt: skip
    return rows


# --- stage 2: fusion, on tokens -----------------------------------------------------------------
def new_fusion(
    job: Job, tokens: Mapping[str, Tensor], seed: int
) -> tuple[Fusion, torch.optim.Optimizer]:
    """A fusion model for these modalities and the paper's optimiser."""
    config = job.config
    torch.manual_seed(seed)
    model = Fusion(
        {name: (part.shape[1], part.shape[2]) for name, part in tokens.items()},
        job.classes,
        token_length=config.token_length,
        dim=config.dim,
        heads=config.heads,
        cross_layers=config.cross_layers,
        memory_layers=config.memory_layers,
        single_layers=config.single_layers,
        embedding_dropout=config.embedding_dropout,
    ).to(job.device)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3)


def fusion_losses(model: Fusion, tokens: Tokens, y: Tensor, weight: Tensor) -> Any:
    """Cross-entropy, classes weighted."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in tokens.items()})
        return {"loss": nn.functional.cross_entropy(logits, y[rows], weight)}

    return losses


def fit_members(job: Job, split: Split, stage: str, tokens: Tokens, y: np.ndarray) -> np.ndarray:
    """Train every member on labels y; log of their mean probability on the test part."""
    suffixes = ["", *(f"-{number + 1}" for number in range(1, job.config.members))]
    logp = [fit_fusion(job, split, stage + suffix, tokens, y) for suffix in suffixes]
    return np.asarray(np.logaddexp.reduce(logp) - np.log(len(logp)))


def fit_fusion(job: Job, split: Split, stage: str, tokens: Tokens, y: np.ndarray) -> np.ndarray:
    """Train one model on labels y; log-probabilities of the test part at its best epoch."""
    config = job.config
    # The paper's five orders share one model seed (IV-C); elsewhere a split draws its own start.
    start = stage.split("/", 1)[1] if config.protocol == "shuffled" else stage
    model, optimizer = new_fusion(job, tokens, seed_of(config.seed, start))
    labels = torch.from_numpy(y).to(job.device)
    counts = torch.bincount(labels[split.train], minlength=job.classes).clamp(min=1)
    weight = (len(split.train) / (job.classes * counts)).float()

    def validate() -> tuple[float, float]:
        logp = torch.from_numpy(log_probabilities(model, tokens, split.val))
        score = balanced_accuracy_score(y[split.val], logp.argmax(1).numpy())
        loss = nn.functional.nll_loss(logp, torch.from_numpy(y[split.val]), weight.cpu().double())
        return float(score), float(loss)

    rows = torch.from_numpy(split.train).to(job.device)
    schedule = Schedule(config.epochs_fusion, config.batch, clip=0.8, patience=config.patience)
    losses = fusion_losses(model, tokens, labels, weight)
    fit(job.run, stage, model, optimizer, losses, rows, schedule, config.seed, validate)
    return log_probabilities(model, tokens, split.test)


@torch.no_grad()
def log_probabilities(model: Fusion, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
    """[len(rows), classes], float64."""
    model.eval()
    parts = torch.from_numpy(rows).split(512)
    logits = [model({name: t[part] for name, t in tokens.items()}) for part in parts]
    return torch.cat(logits).double().log_softmax(1).cpu().numpy()


def fusion_stage(job: Job, split: Split, number: int, tokens: Tokens) -> list[metrics.Predictions]:
    """The whole, its single modalities where asked for, and the control on permuted labels."""
    windows, y = job.store.windows, job.y
    rows = []
    for name, modalities in job.models.items():
        part = {modality: tokens[modality] for modality in modalities}
        logp = fit_members(job, split, f"split{number + 1}/{name}", part, y)
        rows.append(metrics.Predictions.of_split(name, split, windows, y, logp))
    if job.config.permuted:
        shuffled = metrics.permute_labels(
            y, windows.recording, windows.subject, seed_of(job.config.seed, "permuted", number)
        )
        logp = fit_members(job, split, f"split{number + 1}/permuted", tokens, shuffled)
        rows.append(metrics.Predictions.of_split("permuted labels", split, windows, shuffled, logp))
    return rows


# --- baselines ----------------------------------------------------------------------------------
def power_features(job: Job, name: str) -> np.ndarray:
    """Hand-made features [N, features] of a modality, within the EEG band that was kept."""
    dataset, modality = DATASETS[job.config.dataset], job.store.modalities[name]
    kept = dataset.band.get("eeg") if job.config.filter == "type" else None
    low, high = kept or dataset.paper_band
    band = (low or 0.0, high or dataset.fs / 2)
    return bandpower.features(job.store.array(name), modality.fs, name, band=band)


def baselines(
    job: Job, split: Split, powers: Mapping[str, np.ndarray]
) -> list[metrics.Predictions]:
    """Majority class, and logistic regression on band powers (or moments) of each model's input."""
    windows, y = job.store.windows, job.y
    guess = metrics.majority(y[split.train], len(split.test), job.task.classes)
    rows = [metrics.Predictions.of_split("majority", split, windows, y, guess)]
    for name, modalities in job.models.items():
        part = {modality: powers[modality] for modality in modalities}
        logp = bandpower.fit_predict(part, y, split, job.config.seed, classes=job.classes)
        title = f"band power + LR: {name}"
        rows.append(metrics.Predictions.of_split(title, split, windows, y, logp))
    return rows
