"""The main job: prepare, split, train the two stages, evaluate, report.

    python -m clmer.train deap --synthetic
    python -m clmer.train eegmat --root ../shared/data/eegmat

Read it top to bottom; the loop over epochs is `clmer.fit.fit`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from clmer import metrics, report
from clmer.config import Config
from clmer.data import DATASETS, synthetic
from clmer.data.cache import Store
from clmer.data.prepare import prepare
from clmer.data.splits import Split, make_splits
from clmer.data.synthetic_model import bayes_accuracy
from clmer.data.tasks import Task, task_for
from clmer.fit import Schedule, fit, seed_of
from clmer.inputs import contrastive_tokens, raw_tokens, standardise
from clmer.nn import ContrastiveModel, Encoder, Fusion, feature_count
from clmer.nn.baselines import bandpower
from clmer.probe import linear_probe, mean_probe, probe_lines, settle_batch_norm
from clmer.runs import Run

Tokens = dict[str, Tensor]  # modality -> [N, tokens, features]
TRANSDUCTIVE = (
    "transductive: every person's windows were standardised with that person's own statistics, "
    "test people included (no labels)."
)


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


def load(config: Config, cache: Path) -> tuple[Store, Task, np.ndarray, list[Split]]:
    """Files -> prepared store, task, the class [N] of each window, and the protocol's splits."""
    dataset = DATASETS[config.dataset]
    root = Path(config.root)
    if config.synthetic is not None:
        traits = "-".join(str(value) for _, value in sorted(config.synthetic.items()))
        root = cache / "synthetic" / f"deap-{traits.replace(':', '-').replace(',', '-')}"
        synthetic.write_deap(root, **config.synthetic)
    store = prepare(
        dataset,
        root,
        modalities=config.modalities,
        window_s=config.window,
        stride_s=config.stride,
        filter=config.filter,
        cache=cache,
    )
    labels = store.windows.labels
    found = labels[config.task].tolist() if config.task in labels else None
    task = task_for(config.dataset, config.task, found)
    y = task.encode(labels, root)
    splits = make_splits(
        store.windows,
        y,
        config.protocol,
        folds=config.folds,
        repeats=config.repeats or None,
        seed=config.seed,
        source=root,
    )
    return store, task, y, splits


def train(job: Job) -> dict[str, Any]:
    """Every split of the protocol: contrastive stage, fusion stage, baselines; then the report."""
    config, store = job.config, job.store
    describe(job)
    predictions: list[metrics.Predictions] = []
    probes: list[dict[str, Any]] = []
    powers = {name: power_features(job, name) for name in store.modalities}
    for number, split in enumerate(job.splits):
        x = {
            name: standardise(store, name, split.train, config.normalize, job.device)
            for name in store.modalities
        }
        if number == 0:
            announce_time(job, split, x)
        if config.contrastive:
            encoders = contrastive_stage(job, split, number, x)
            probes += probe(job, split, encoders, x)
            tokens = contrastive_tokens(store, x, encoders, config.tokens, split.train)
        else:
            tokens = raw_tokens(store, x)
        if config.fusion:
            predictions += fusion_stage(job, split, number, tokens)
            predictions += baselines(job, split, powers)
    return finish(job, predictions, probes)


def finish(
    job: Job,
    predictions: list[metrics.Predictions],
    probes: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write results.json and what goes with it, and print the table."""
    config = job.config
    means, bounds = mean_probe(probes), bayes_bounds(job)
    extra = {"probe": means, "bayes": bounds, "data": job.store.report}
    notes = [TRANSDUCTIVE] if config.normalize == "subject" else []
    notes += probe_lines(means)
    if not config.fusion:
        report.write_file(job.run.folder / "results.json", report.results_json(extra))
        print("\n".join(notes))
        return extra
    parts: dict[str, list[metrics.Predictions]] = {}
    for part in predictions:
        parts.setdefault(part.model, []).append(part)
    models = [metrics.concat(rows) for rows in parts.values()]
    results = extra | report.build_results(
        models,
        dataset=f"{config.dataset} (synthetic)" if config.synthetic else config.dataset,
        task=config.task,
        protocol=config.protocol,
        classes=job.task.classes,
        splits=job.splits,
        main=list(job.models),
        seed=config.seed,
        notes=notes + bayes_lines(bounds, models, job.classes),
    )
    report.write_report(job.run.folder, results, models)
    report.print_table(results)
    return results


def bayes_bounds(job: Job) -> dict[str, float]:
    """Accuracy per 1-s window of the ideal observer of generated data, by model; else empty."""
    config = job.config
    if config.synthetic is None:
        return {}
    control = config.synthetic["control"]
    return {
        name: bayes_accuracy(config.task, modalities, control=control)
        for name, modalities in job.models.items()
    }


def bayes_lines(
    bounds: Mapping[str, float], models: Sequence[metrics.Predictions], classes: int
) -> list[str]:
    """How much of what can be known of generated labels each model reached."""
    lines = []
    for part in models:
        if part.model in bounds:
            best, reached = bounds[part.model], float((part.predicted == part.y).mean())
            above = best - 1 / classes
            share = f", {100 * (reached - 1 / classes) / above:.0f} % of it above chance"
            lines.append(
                f"Bayes accuracy per window of {part.model}: {best:.3f} (the generator's own; an "
                f"upper bound); reached {reached:.3f}{share if above > 0 else ''}."
            )
    return lines


# --- stage 1: one encoder a modality, no labels -------------------------------------------------
def new_encoder(job: Job, name: str, x: Tensor) -> Encoder:
    """The encoder of a modality; its weights follow from the seed and the name."""
    torch.manual_seed(seed_of(job.config.seed, "encoder", name))
    width = job.config.width
    features = feature_count(job.store.modalities[name].tokens, width)
    return Encoder(x.shape[1], x.shape[2], width=width, features=features).to(job.device)


def contrastive_losses(model: nn.ModuleDict, x: Mapping[str, Tensor]) -> Any:
    """Eq. 4 summed over modalities, which share nothing but the step."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        parts = {name: model[name](part[rows], generator) for name, part in x.items()}
        line = {
            f"{name}_{key}": parts[name][key] for name in parts for key in ("sample", "temporal")
        }
        return {"loss": torch.stack([part["loss"] for part in parts.values()]).sum(), **line}

    return losses


def contrastive_stage(
    job: Job, split: Split, number: int, x: Mapping[str, Tensor]
) -> dict[str, Encoder]:
    """Train the encoders on the windows of the training part."""
    model, optimizer = new_contrastive(job, x)
    rows = torch.from_numpy(split.train).to(job.device)
    schedule = Schedule(job.config.epochs_contrastive, job.config.batch)
    stage = f"split{number + 1}/contrastive"
    fit(job.run, stage, model, optimizer, contrastive_losses(model, x), rows, schedule,
        job.config.seed)  # fmt: skip
    return encoders_of(model)


def encoders_of(model: nn.ModuleDict) -> dict[str, Encoder]:
    """The encoders inside contrastive models."""
    return {name: cast(ContrastiveModel, part).encoder for name, part in model.items()}


def new_contrastive(
    job: Job, x: Mapping[str, Tensor]
) -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
    """Contrastive models of all modalities and TS-TCC's optimiser over them."""
    form: Any = job.config.temporal
    model = nn.ModuleDict(
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
    ).to(job.device)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3)


def fusion_losses(model: Fusion, tokens: Tokens, y: Tensor, weight: Tensor) -> Any:
    """Cross-entropy, classes weighted."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in tokens.items()})
        return {"loss": nn.functional.cross_entropy(logits, y[rows], weight)}

    return losses


def fit_fusion(job: Job, split: Split, stage: str, tokens: Tokens, y: np.ndarray) -> np.ndarray:
    """Train one model on labels y; log-probabilities of the test part at its best epoch."""
    config = job.config
    model, optimizer = new_fusion(job, tokens, seed_of(config.seed, stage))
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
        logp = fit_fusion(job, split, f"split{number + 1}/{name}", part, y)
        rows.append(metrics.Predictions.of_split(name, split, windows, y, logp))
    if job.config.permuted:
        shuffled = metrics.permute_labels(
            y, windows.recording, windows.subject, seed_of(job.config.seed, "permuted", number)
        )
        logp = fit_fusion(job, split, f"split{number + 1}/permuted", tokens, shuffled)
        rows.append(metrics.Predictions.of_split("permuted labels", split, windows, shuffled, logp))
    return rows


# --- baselines ----------------------------------------------------------------------------------
def power_features(job: Job, name: str) -> np.ndarray:
    """Hand-made features [N, features] of a modality, within the EEG band that was kept."""
    dataset, modality = DATASETS[job.config.dataset], job.store.modalities[name]
    low, high = dataset.band.get("eeg") or dataset.paper_band
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


# --- what is said before training ---------------------------------------------------------------
def describe(job: Job) -> None:
    """Data, model and protocol, in a few lines."""
    windows, config = job.store.windows, job.config
    counts = np.bincount(job.y, minlength=job.classes)
    classes = ", ".join(f"{name} {n}" for name, n in zip(job.task.classes, counts, strict=True))
    people = len(np.unique(windows.subject))
    print(
        f"{config.dataset}{' (synthetic)' if config.synthetic else ''}: {len(windows)} windows of "
        f"{config.window:g} s, {people} people; {job.task.name}: {classes}"
    )
    print(
        f"preset {config.preset} on {config.device}, {torch.get_num_threads()} threads; protocol "
        f"{config.protocol}, {len(job.splits)} split(s); run folder {job.run.folder}"
    )
    if job.splits[0].note:
        print(f"note: {job.splits[0].note}")


def announce_time(job: Job, split: Split, x: Mapping[str, Tensor]) -> None:
    """Time three steps of each stage on throw-away models, and say what the whole will take."""
    config = job.config
    rows = torch.from_numpy(split.train[: config.batch]).to(job.device)
    steps = -(-len(split.train) // config.batch)
    seconds = 0.0
    tokens = raw_tokens(job.store, x)
    if config.contrastive:
        model, optimizer = new_contrastive(job, x)
        step = time_step(model, optimizer, contrastive_losses(model, x), rows)
        seconds += step * steps * config.epochs_contrastive
        encoders = encoders_of(model)
        few = {name: part[rows] for name, part in x.items()}
        tokens = contrastive_tokens(
            job.store,
            few,
            encoders,
            config.tokens,
            np.arange(len(rows)),
        )
        rows = torch.arange(len(rows), device=job.device)
    if config.fusion:
        labels = torch.zeros(len(job.y), dtype=torch.int64, device=job.device)
        trained = [*job.models.values()] + [tuple(tokens)] * config.permuted
        for modalities in trained:
            part = {name: tokens[name] for name in modalities}
            fusion, optimizer = new_fusion(job, part, 0)
            weight = torch.ones(job.classes, device=job.device)
            losses = fusion_losses(fusion, part, labels, weight)
            seconds += time_step(fusion, optimizer, losses, rows) * steps * config.epochs_fusion
    early = ", less where validation stops a model early" if config.patience else ""
    print(f"expected training time: {spell_time(seconds * len(job.splits))} at most{early}")
    sys.stdout.flush()


def time_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, losses: Any, rows: Tensor
) -> float:
    """Seconds of a training step: the fastest of three after one to warm up."""
    generator = torch.Generator(rows.device).manual_seed(0)
    model.train()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        optimizer.zero_grad()
        losses(rows, generator)["loss"].backward()
        optimizer.step()
        if rows.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def spell_time(seconds: float) -> str:
    """Seconds as a person says them: "40 s", "12 min", "7.5 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 129600 else f"{seconds / 86400:.1f} days"


def settings(config: Config) -> dict[str, Any]:
    """The configuration as config.json holds it."""
    return {**asdict(config), "modalities": list(config.modalities)}


if __name__ == "__main__":
    from clmer.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
