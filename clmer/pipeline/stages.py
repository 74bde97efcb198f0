"""The stages of a split: contrastive encoders, fusion, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clmer.baselines import MODELS, SVM, ModelSpec, bandpower, svm
from clmer.data.registry import DATASETS
from clmer.data.splits import Split
from clmer.data.store.store import Modality, Store
from clmer.data.tasks import Task
from clmer.errors import ConfigError
from clmer.evaluation import metrics
from clmer.evaluation.probe import linear_probe, settle_batch_norm
from clmer.nn import ContrastiveModel, Encoder, feature_count
from clmer.nn.shard import Shard, averaged_later
from clmer.pipeline.config import Config
from clmer.pipeline.loop import Schedule, fit, seed_of
from clmer.pipeline.random_state import seed_generators
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.run_folder import Run
from clmer.pipeline.tokenizer import Inputs, raw_tokens

#: Norm that the fusion stage's gradients are clipped to.
CLIP = 0.8
Tokens = dict[str, Tensor]  # modality -> [N, tokens, features]


class Model(NamedTuple):
    """A model to train, and the modalities that it reads."""

    spec: ModelSpec
    modalities: tuple[str, ...]


def chosen_models(config: Config, present: Sequence[str]) -> dict[str, Model]:
    """The models that `--model` and `--ablation` name, in that order, but the SVM.

    CLMER is called by its modalities (its single ones stand behind the whole), all others by their
    own name.

    Raises:
        ConfigError: a model cannot do with these modalities.
    """
    models = {}
    for name in config.models:
        if name == SVM:
            continue
        spec = MODELS[name]
        try:
            modalities = spec.takes(present)
        except ValueError as error:
            raise ConfigError(f"--model {name}, --modalities: {error}") from error
        if name != "clmer":
            models[name] = Model(spec, modalities)
            continue
        models["+".join(modalities)] = Model(spec, modalities)
        if config.ablation == "single":
            models |= {single: Model(spec, (single,)) for single in modalities}
    return models


def build_model(
    spec: ModelSpec, inputs: Mapping[str, tuple[int, int]], classes: int, config: Config
) -> nn.Module:
    """The model for these (tokens, features) by modality.

    Raises:
        ConfigError: it cannot be built for them.
    """
    try:
        return spec.build(inputs, classes, config)
    except ValueError as error:
        hint = "Choose another model, or other --modalities or --window."
        raise ConfigError(f"--model {spec.name}: {error}. {hint}") from error


def check_models(config: Config, store: Store, classes: int) -> None:
    """Refuse early what cannot be trained on the windows of a store.

    Raises:
        ConfigError: a model cannot do with the modalities, or with the length of a window.
    """
    for spec, modalities in chosen_models(config, tuple(store.modalities)).values():
        if spec.tokens != "raw":
            continue  # known when the encoders are
        inputs = {}
        for name in modalities:
            _, channels, samples = store.array(name).shape
            tokens = store.modalities[name].tokens
            inputs[name] = (tokens, channels * samples // tokens)
        build_model(spec, inputs, classes, config)


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
    def models(self) -> dict[str, Model]:
        """Each model that the loop trains, by its name in stages and results."""
        return chosen_models(self.config, tuple(self.store.modalities))

    @property
    def main(self) -> list[str]:
        """The models under study, the SVM included."""
        return [*self.models, *([SVM] if SVM in self.config.models else [])]

    def modalities(self, name: str) -> tuple[str, ...]:
        """What a model under study reads; the SVM reads all."""
        return tuple(self.store.modalities) if name == SVM else self.models[name].modalities


# --- stage 1: one encoder a modality, no labels -------------------------------------------------
def new_encoder(job: Job, name: str, x: Tensor) -> Encoder:
    """The encoder of a modality; its weights follow from the seed and the name."""
    seed_generators(seed_of(job.config.seed, "encoder", name), job.device)
    return build_encoder(job.config, job.store.modalities[name], x.shape[2]).to(job.device)


def build_encoder(config: Config, modality: Modality, length: int) -> Encoder:
    """An encoder of a run's size for a modality's windows of `length` samples."""
    features = feature_count(modality.tokens, config.width)
    return Encoder(len(modality.channels), length, width=config.width, features=features)


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


def adam(model: nn.Module, *, lr: float, graph: bool = False, **options: Any) -> torch.optim.Adam:
    """Adam in one kernel; where a CUDA graph will hold it, its rate is a tensor on the device."""
    rate: Any = lr
    if graph:
        rate = torch.tensor(lr, device=next(model.parameters()).device)
    return torch.optim.Adam(model.parameters(), rate, fused=True, capturable=graph, **options)


def contrastive_stage(
    job: Job, split: Split, number: int, x: Mapping[str, Tensor]
) -> dict[str, Encoder]:
    """Train the encoders on the windows of the training part: all ranks together."""
    model, optimizer = new_contrastive(job, x)
    rows = torch.from_numpy(split.train).to(job.device)
    config = job.config
    schedule = Schedule(config.epochs_contrastive, config.batch, amp=config.amp == "bf16")
    stage = f"split{number + 1}/contrastive"
    losses = contrastive_losses(model, x, job.ranks)
    fit(job.run, stage, model, optimizer, losses, rows, schedule, config.seed)
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
    return model, adam(model, lr=3e-4, betas=(0.9, 0.99), weight_decay=3e-4)


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


# --- stage 2: a classifier, on tokens -----------------------------------------------------------
def tokens_of(
    inputs: Inputs, train: np.ndarray, x: Mapping[str, Tensor], encoders: Mapping[str, Encoder]
) -> tuple[Inputs, dict[str, Tokens]]:
    """The tokens of every kind that a `ModelSpec` names, and the inputs that make them.

    Args:
        inputs: the split's.
        train: rows of x whose statistics count.
        x: [N, C, T] standardised windows by modality.
        encoders: of the contrastive stage, where the run has one.
    """
    inputs, stage = inputs.fit_tokens(x, encoders, train)
    return inputs, {"stage": stage, "raw": raw_tokens(inputs, x)}


def read_by(model: Model, tokens: Mapping[str, Tokens]) -> Tokens:
    """A model's own part of `tokens_of`."""
    return {name: tokens[model.spec.tokens][name] for name in model.modalities}


def new_model(
    job: Job, spec: ModelSpec, tokens: Tokens, seed: int
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model for these tokens and its optimiser; its weights follow from the seed."""
    seed_generators(seed, job.device)
    inputs = {name: (part.shape[1], part.shape[2]) for name, part in tokens.items()}
    model = build_model(spec, inputs, job.classes, job.config).to(job.device)
    return model, adam(model, graph=job.config.graph, **spec.adam)


def fusion_losses(model: nn.Module, tokens: Tokens, y: Tensor, weight: Tensor) -> Any:
    """Cross-entropy, classes weighted."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in tokens.items()})
        return {"loss": nn.functional.cross_entropy(logits, y[rows], weight)}

    return losses


def fit_members(
    job: Job, split: Split, stage: str, spec: ModelSpec, tokens: Tokens, y: np.ndarray
) -> np.ndarray:
    """Train every member on labels y; log of their mean probability on the test part."""
    stages = member_stages(stage, job.config.members)
    models = (fit_fusion(job, split, member, spec, tokens, y) for member in stages)
    return mean_probability([log_probabilities(model, tokens, split.test) for model in models])


def member_stages(stage: str, members: int) -> list[str]:
    """The stage's name and those of its further members."""
    return [stage, *(f"{stage}-{number + 1}" for number in range(1, members))]


def mean_probability(logp: Sequence[np.ndarray]) -> np.ndarray:
    """Log of the mean probability [N, classes] of several models."""
    return np.asarray(np.logaddexp.reduce(logp) - np.log(len(logp)))


def fit_fusion(
    job: Job, split: Split, stage: str, spec: ModelSpec, tokens: Tokens, y: np.ndarray
) -> nn.Module:
    """Train one model on labels y; it ends at its best epoch (the last, with nothing in `val`)."""
    config = job.config
    # The paper's five orders share one model seed (IV-C); elsewhere a split draws its own start.
    start = stage.split("/", 1)[1] if config.protocol == "shuffled" else stage
    model, optimizer = new_model(job, spec, tokens, seed_of(config.seed, start))
    labels = torch.from_numpy(y).to(job.device)
    counts = torch.bincount(labels[split.train], minlength=job.classes).clamp(min=1)
    weight = (len(split.train) / (job.classes * counts)).float()

    def validate() -> tuple[float, float]:
        logp = torch.from_numpy(log_probabilities(model, tokens, split.val))
        score = balanced_accuracy_score(y[split.val], logp.argmax(1).numpy())
        loss = nn.functional.nll_loss(logp, torch.from_numpy(y[split.val]), weight.cpu().double())
        return float(score), float(loss)

    rows = torch.from_numpy(split.train).to(job.device)
    schedule = Schedule(
        config.epochs_fusion,
        config.batch,
        clip=CLIP,
        patience=config.patience,
        amp=config.amp == "bf16",
        graph=config.graph,
    )
    losses = fusion_losses(model, tokens, labels, weight)
    checked = validate if len(split.val) else None
    fit(job.run, stage, model, optimizer, losses, rows, schedule, config.seed, checked)
    return model


@torch.no_grad()
def log_probabilities(model: nn.Module, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
    """[len(rows), classes], float64."""
    model.eval()
    parts = torch.from_numpy(rows).split(512)
    logits = [model({name: t[part] for name, t in tokens.items()}) for part in parts]
    return torch.cat(logits).double().log_softmax(1).cpu().numpy()


def fusion_stage(
    job: Job, split: Split, number: int, tokens: Mapping[str, Tokens]
) -> list[metrics.Predictions]:
    """Every model of the run, and the control: the first of them on permuted labels."""
    windows, y = job.store.windows, job.y
    rows = []
    for name, model in job.models.items():
        part = read_by(model, tokens)
        logp = fit_members(job, split, f"split{number + 1}/{name}", model.spec, part, y)
        rows.append(metrics.Predictions.of_split(name, split, windows, y, logp))
    if job.config.permuted and job.models:
        first = next(iter(job.models.values()))
        # Under `block` the splits test parts of one recording, which have one label.
        draw = 0 if job.config.protocol == "block" else number
        shuffled = metrics.permute_labels(
            y, windows.recording, windows.subject, seed_of(job.config.seed, "permuted", draw)
        )
        stage, part = f"split{number + 1}/permuted", read_by(first, tokens)
        logp = fit_members(job, split, stage, first.spec, part, shuffled)
        rows.append(metrics.Predictions.of_split("permuted labels", split, windows, shuffled, logp))
    return rows


# --- baselines ----------------------------------------------------------------------------------
def power_features(job: Job, name: str) -> np.ndarray:
    """Hand-made features [N, features] of a modality, within the EEG band that was kept."""
    dataset, modality = DATASETS[job.config.dataset], job.store.modalities[name]
    kept = dataset.band.get("eeg") if job.config.filter == "type" else None
    low, high = kept or dataset.paper_band
    band = (low or 0.0, high or dataset.fs / 2)
    array, kind, kinds = job.store.array(name), name, None
    if name != "physio" and modality.kinds:  # a manifest names its modalities as it likes
        kind, kinds = "physio", modality.kinds
    return bandpower.features(array, modality.fs, kind, band=band, kinds=kinds)


def baselines(
    job: Job, split: Split, powers: Mapping[str, np.ndarray]
) -> list[metrics.Predictions]:
    """Majority class, logistic regression on the powers of what each model reads, and the SVM."""
    windows, y = job.store.windows, job.y
    guess = metrics.majority(y[split.train], len(split.test), job.task.classes)
    rows = [metrics.Predictions.of_split("majority", split, windows, y, guess)]
    for modalities in dict.fromkeys(job.modalities(name) for name in job.main):
        part = {modality: powers[modality] for modality in modalities}
        logp = bandpower.fit_predict(part, y, split, job.config.seed, classes=job.classes)
        title = f"band power + LR: {'+'.join(modalities)}"
        rows.append(metrics.Predictions.of_split(title, split, windows, y, logp))
    if SVM in job.main:
        logp = svm.fit_predict(powers, y, split, job.config.seed, classes=job.classes)
        rows.append(metrics.Predictions.of_split(SVM, split, windows, y, logp))
    return rows
