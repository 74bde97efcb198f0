"""The main job: prepare, split, train every split, evaluate, report.

    python -m clmer.train deap --synthetic
    python -m clmer.train eegmat --root /data/eegmat
    torchrun --nproc-per-node 2 -m clmer.train deap --root /data/DEAP

Read `train` first. What one split trains is `clmer.pipeline.fit.fit_split`; what is printed before
and after is in `clmer.train.messages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from clmer.baselines import SVM, logistic, svm
from clmer.baselines.logistic import LinearFloor
from clmer.data import synthetic
from clmer.data.face.windows import IMAGES
from clmer.data.readers import manifest
from clmer.data.registry import DATASETS
from clmer.data.splits import Split, make_splits
from clmer.data.store.dataset import explained, task_of
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.synthetic.images import draw_faces
from clmer.data.tasks import Task
from clmer.errors import DataError
from clmer.evaluation import metrics
from clmer.evaluation import results as reporting
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.probe import linear_probe, mean_probe, settle_batch_norm
from clmer.evaluation.table import table
from clmer.nn.random_state import drawing_from, drawn_from, own_random_state, seed_device
from clmer.pipeline.config import Config, check_modality_names
from clmer.pipeline.fit import all_tokens, fit_control, fit_split, select_tokens
from clmer.pipeline.floor import held_together
from clmer.pipeline.models import FittedModel, build_encoder, check_models
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.reference import Known
from clmer.pipeline.reference_rows import Reference
from clmer.pipeline.split_model import SplitModel
from clmer.pipeline.stages.contrastive import encoder_generator
from clmer.pipeline.stages.loop import seed_of
from clmer.pipeline.tokenizer import WindowArrays
from clmer.text import did_you_mean
from clmer.train import messages
from clmer.train.reference_notes import flat_lines, reference_facts
from clmer.train.training_run import TrainingRun, reference_of


def prepared(config: Config, cache: Path) -> tuple[Path, Store]:
    """The recordings' folder, written first where they are generated, and their prepared store."""
    dataset = DATASETS[config.dataset]
    root = Path(config.root)
    if config.synthetic is not None:
        traits = "-".join(str(value) for _, value in sorted(config.synthetic.items()))
        name = f"{config.dataset}-{traits.replace(':', '-').replace(',', '-')}"
        root = cache / "synthetic" / name
        write, _ = synthetic.WRITERS[config.dataset]
        write(root, **config.synthetic)
        if any(name in IMAGES for name in config.modalities):
            draw_faces(root)
    known = dataset.tasks or manifest.tasks(root)
    if config.task not in known:
        raise DataError(
            root,
            f"`task={config.task}`",
            "no such label",
            f"one of {', '.join(known)}",
            did_you_mean(config.task, known),
        )
    if dataset.rated is None:  # say what is wrong before the data is prepared
        task_of(dataset, root, config.task, scale=config.scale, threshold=config.threshold)
    check_modality_names(config.modalities or dataset.modalities or dataset.found(root))
    return root, prepare(dataset, root, config, cache=cache)


def load(config: Config, cache: Path) -> tuple[Store, Task, np.ndarray, list[Split]]:
    """Files -> prepared store, task, the class [N] of each window, and the protocol's splits."""
    root, store = prepared(config, cache)
    labels = store.windows.labels
    dataset, scale = DATASETS[config.dataset], config.scale
    try:
        task = task_of(dataset, root, config.task, labels, scale=scale, threshold=config.threshold)
        y = task.encode(labels, root / "manifest.csv" if config.dataset == "manifest" else root)
        y = without_reference(reference_of(config, store), y, task, root)
        config.check_pictures(tuple(store.modalities))
        check_models(config, WindowArrays.of(store), len(task.classes))
        splits = make_splits(
            store.windows,
            y,
            config.protocol,
            folds=config.folds,
            repeats=config.repeats or None,
            seed=config.seed,
            source=root,
            shared=shared_recordings(store, root, config.protocol),
            classes=task.classes,
        )
    except DataError as error:
        raise explained(error, store) from error
    return store, task, y, splits


def without_reference(
    reference: Reference | None, y: np.ndarray, task: Task, source: Path
) -> np.ndarray:
    """The classes of windows, -1 where they are a reference or overlap it.

    Raises:
        DataError: a class has no other windows.
    """
    if reference is None:
        return y
    left = np.where(reference.used, y, -1)
    lost = np.setdiff1d(y[y >= 0], left)
    if len(lost):
        raise DataError(
            source,
            f"`reference={reference.kind}`",
            f"all windows of {', '.join(task.classes[k] for k in lost)}",
            "some that are left to train and test on",
            "Name fewer seconds, such as rest:60.",
        )
    return left


def shared_recordings(store: Store, root: Path, protocol: str) -> list[tuple[str, str]]:
    """Pairs of recordings that hold the same samples; none where the protocol keeps no group.

    Raises:
        DataError: they are of two people, one of whom did not give them; or one file has separate
            parts for two people who are not in one group.
    """
    if protocol == "shuffled":
        return []
    windows = store.windows
    pairs = [(pair["one"], pair["other"]) for pair in store.report["shared_samples"]]
    people = dict(zip(windows.recording.tolist(), windows.subject.tolist(), strict=True))
    groups = dict(zip(windows.recording.tolist(), windows.group.tolist(), strict=True))
    for pair in store.report["shared_samples"]:
        one, other = pair["one"], pair["other"]
        if one in people and other in people and people[one] != people[other]:
            raise DataError(
                root,
                "recordings",
                f"the same samples in {one} and {other} ({pair['modality']})",
                "recordings of their own for two people",
                "One file stands under two people, or was copied: correct the table. Otherwise a "
                "model would be tested on what it was trained on.",
            )
    for pair in store.report["shared_files"]:
        one, other = pair["one"], pair["other"]
        if one in groups and other in groups and groups[one] != groups[other]:
            raise DataError(
                root,
                "path",
                f"{pair['file']} in {one} and {other} ({pair['modality']})",
                "files of their own for two people",
                "Is it one person under two names, or a path that was not changed? Where one file "
                "holds two people after each other, give both the same name in the column group.",
            )
    return pairs


@dataclass(frozen=True)
class SplitResult:
    """What a split leaves for the report.

    Args:
        predictions: of every model and baseline on the split's test windows.
        probes: rows of `clmer.evaluation.probe.mean_probe`.
        constant: lines about channels that do not vary in training.
    """

    predictions: list[Predictions]
    probes: list[dict[str, Any]]
    constant: list[str]


def train(job: TrainingRun) -> dict[str, Any]:
    """Every split of the protocol: both stages, baselines; then the report.

    Of several ranks (torchrun) each trains splits of its own, where there are enough; where there
    are fewer, all share stage 1 of each split, and the first does the rest. This is the first
    rank's part, `train_as_worker` the others'.
    """
    messages.describe(job)
    messages.announce_time(job)
    if apart(job):
        own = {n: train_split(job, n) for n in own_splits(job)}
        found = {n: result for part in job.ranks.gather(own) for n, result in part.items()}
    else:
        found = {n: train_split(job, n) for n in range(len(job.splits))}
    job.run.tidy([split_name(n) for n in range(len(job.splits))])
    return finish(job, [found[n] for n in sorted(found)])


def train_as_worker(job: TrainingRun) -> None:
    """What the other ranks do: splits of their own, or their share of every stage 1."""
    if apart(job):
        job.ranks.gather({n: train_split(job, n) for n in own_splits(job)})
        return
    for number, split in enumerate(job.splits):
        fit_one(job, split, number)


def apart(job: TrainingRun) -> bool:
    """Whether ranks train different splits at once: bit for bit what one process would."""
    return 1 < job.ranks.count <= len(job.splits)


def own_splits(job: TrainingRun) -> range:
    """The numbers of the splits that this rank trains, where ranks train different ones."""
    return range(job.ranks.rank, len(job.splits), job.ranks.count)


def split_name(number: int) -> str:
    """How stages and files of a split are named."""
    return f"split{number + 1}"


def fit_one(job: TrainingRun, split: Split, number: int) -> SplitModel:
    """Train a split; alone, or its stage 1 together with the other ranks."""
    return fit_split(
        job.config,
        job.windows,
        job.y,
        split,
        classes=tuple(job.task.classes),
        device=job.device,
        recorder=job.run,
        ranks=Ranks() if apart(job) else job.ranks,
        name=split_name(number),
    )


def train_split(job: TrainingRun, number: int) -> SplitResult:
    """Train a split, and let every model and baseline predict its test windows."""
    config, split = job.config, job.splits[number]
    model = fit_one(job, split, number)
    constant = messages.constant_lines(model.tokenizer)
    windows = job.windows
    x = model.tokenizer.standardise(windows.arrays, job.device, windows.people, windows.reference)
    probes = probe(job, split, model, x) if config.contrastive else []
    if not config.fusion:
        return SplitResult([], probes, constant)
    tokens = all_tokens(model, Known(x, windows.people, windows.reference))
    predictions = []
    for name, fitted in model.models.items():
        part = select_tokens(fitted.chosen, tokens)
        predictions.append(_predictions(job, name, split, fitted, part, job.y))
    if config.permuted and model.models:
        # Under `block` the splits test parts of one recording, which have one label.
        draw = 0 if config.protocol == "block" else number
        y = permuted(job, seed_of(config.seed, "permuted", draw))
        name = f"{split_name(number)}/permuted"
        control = fit_control(model, job.windows, tokens, y, split, job.run, name)
        part = select_tokens(control.chosen, tokens)
        predictions.append(_predictions(job, "permuted labels", split, control, part, y))
    return SplitResult([*predictions, *baselines(job, split, model)], probes, constant)


def permuted(job: TrainingRun, seed: int) -> np.ndarray:
    """The labels permuted within each person; windows that have none, of a reference too, stay."""
    windows, y, used = job.store.windows, job.y.copy(), job.y >= 0
    recording, subject = windows.recording[used], windows.subject[used]
    y[used] = metrics.permute_labels(y[used], recording, subject, seed)
    return y


def _predictions(
    job: TrainingRun,
    name: str,
    split: Split,
    model: FittedModel,
    tokens: dict[str, Tensor],
    y: np.ndarray,
) -> Predictions:
    features = job.windows.features_of(model.chosen.modalities) if model.floor else {}
    logp = model.log_probabilities(tokens, features, split.test)
    return Predictions.of_split(name, split, job.store.windows, y, logp)


def probe(
    job: TrainingRun, split: Split, model: SplitModel, x: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """Linear probe at 10 % of the labels: the trained encoder against a random one."""
    rows = []
    for name, part in x.items():
        generator = encoder_generator(job.config, name)
        with drawn_from(generator):
            random = build_encoder(job.config, job.store.modalities[name], part.shape[2])
        with drawing_from(generator), own_random_state(job.device):
            seed_device(job.config.seed, job.device)
            settle_batch_norm(random.to(job.device), part[split.train])
        scores = [
            linear_probe(encoder, part, job.y, split, job.config.seed)
            for encoder in (model.encoders[name], random)
        ]
        rows.append({"split": split.name, "modality": name, "trained": scores[0],
                     "random": scores[1]})  # fmt: skip
    return rows


# --- baselines ----------------------------------------------------------------------------------
def baselines(job: TrainingRun, split: Split, model: SplitModel) -> list[Predictions]:
    """Majority class, logistic regression on the powers of what each model reads, and the SVM."""
    windows, y = job.store.windows, job.y
    guess = metrics.majority(y[split.train], len(split.test), job.task.classes)
    rows = [Predictions.of_split("majority", split, windows, y, guess)]
    fitted = {each.chosen.modalities: each.floor for each in model.models.values()}
    for modalities in dict.fromkeys(job.modalities(name) for name in job.main):
        powers = {"powers": np.hstack([job.powers[name] for name in modalities])}
        features = job.windows.features_of(modalities)
        floor = fitted.get(modalities) or linear(job, split, features)
        both = (
            ("band power + LR", linear(job, split, powers), powers),
            ("features + LR", floor, features),
        )
        for kind, each, known in both:
            logp = each.log_odds({block: part[split.test] for block, part in known.items()})
            title = f"{kind}: {'+'.join(modalities)}"
            rows.append(Predictions.of_split(title, split, windows, y, logp))
    if SVM in job.main:
        logp = svm.fit_predict(job.powers, y, split, job.config.seed, classes=job.classes)
        rows.append(Predictions.of_split(SVM, split, windows, y, logp))
    return rows


def linear(job: TrainingRun, split: Split, features: Mapping[str, np.ndarray]) -> LinearFloor:
    """A linear model that no network corrects, fitted as a floor is."""
    rows = np.sort(np.concatenate([split.train, split.val]))
    own = {block: part[rows] for block, part in features.items()}
    groups = held_together(job.windows, split)
    return logistic.fit(own, job.y[rows], groups, job.classes, job.config.seed).floor


# --- the report ---------------------------------------------------------------------------------
def finish(job: TrainingRun, splits: Sequence[SplitResult]) -> dict[str, Any]:
    """Write results.json and what goes with it, and print the table."""
    config = job.config
    means = mean_probe([row for split in splits for row in split.probes])
    bounds = messages.bayes_bounds(job)
    extra = {"probe": means, "bayes": bounds, "data": job.store.report}
    notes = list(dict.fromkeys(line for split in splits for line in split.constant))
    notes += [*flat_lines(job.windows), *messages.notes(job, means)]
    if not config.fusion:
        job.run.write(Path("results.json"), reporting.results_json(extra))
        print("\n".join(notes))
        return extra
    by_model: dict[str, list[Predictions]] = {}
    for part in (part for split in splits for part in split.predictions):
        by_model.setdefault(part.model, []).append(part)
    models = [metrics.concat(rows) for rows in by_model.values()]
    models.sort(key=lambda part: part.model not in job.main)
    results = extra | reporting.build_results(
        models,
        dataset=f"{config.dataset} (synthetic)" if config.synthetic else config.dataset,
        task=config.task,
        protocol=config.protocol,
        reference=reference_facts(job),
        classes=job.task.classes,
        splits=job.splits,
        main=job.main,
        notes=notes + messages.bayes_lines(bounds, models, job.classes),
    )
    reporting.write_results(job.run.folder, results, models)
    print(table(results))
    return results


def settings(config: Config) -> dict[str, Any]:
    """The configuration as config.json holds it."""
    return {
        **asdict(config),
        "modalities": list(config.modalities),
        "models": list(config.models),
        "scale": config.scale and list(config.scale),
    }
