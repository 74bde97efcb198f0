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

from clmer.baselines import FITTED
from clmer.baselines.logistic import Features
from clmer.data import synthetic
from clmer.data.choices import IMAGES
from clmer.data.manifest import reader as manifest
from clmer.data.ratings import AnyTask
from clmer.data.registry import DATASETS
from clmer.data.splits import Split, make_splits, splits_of_file
from clmer.data.splits.own import digest
from clmer.data.store.dataset import explained, task_of
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.synthetic.images import draw_faces
from clmer.data.tasks import is_known
from clmer.errors import DataError
from clmer.evaluation import metrics
from clmer.evaluation import results as reporting
from clmer.evaluation.rows import Rows, concat
from clmer.pipeline import run_files
from clmer.pipeline.config import Config
from clmer.pipeline.fit import all_tokens, fit_ablation, fit_control, fit_split, select_tokens
from clmer.pipeline.floor import encoder_blocks, floor_features
from clmer.pipeline.models import FittedModel, check_models
from clmer.pipeline.options.names import check_modality_names
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.reference import Known
from clmer.pipeline.reference_rows import Reference
from clmer.pipeline.run.folder import INIT_DIGEST, SPLITS_DIGEST
from clmer.pipeline.run.start import read_start
from clmer.pipeline.split.baselines import BASELINES, baseline_file
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.stages.loop import seed_of
from clmer.pipeline.stages.select import Selection
from clmer.pipeline.targets import fit_target
from clmer.pipeline.tokenizer import WindowArrays
from clmer.text import did_you_mean
from clmer.train import messages
from clmer.train.baselines import baselines
from clmer.train.copies import shared_recordings
from clmer.train.reference_notes import flat_lines, reference_facts
from clmer.train.steps import Progress, Step, seconds_at_most, spell_time, steps_of
from clmer.train.training_run import TrainingPlan, TrainingRun, reference_of
from clmer.train.understood import understood

#: From this many seconds on a run says what would give a first answer sooner.
LONG_S = 600.0


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
        chosen_task(config, root)
    check_modality_names(config.modalities or dataset.modalities or dataset.found(root))
    return root, prepare(dataset, root, config, cache=cache)


def chosen_task(
    config: Config, root: Path, labels: Mapping[str, np.ndarray] | None = None
) -> AnyTask:
    """What a run predicts; `labels` are those of the prepared windows, where they are.

    Raises:
        DataError: the labels cannot carry it.
    """
    return task_of(
        DATASETS[config.dataset],
        root,
        config.task,
        labels,
        scale=config.scale,
        threshold=config.threshold,
        levels=config.levels,
        target=config.target,
    )


def load(config: Config, cache: Path) -> tuple[Store, AnyTask, np.ndarray, list[Split]]:
    """Files -> prepared store, task, the label [N] of each window, and the splits."""
    root, store = prepared(config, cache)
    labels = store.windows.labels
    try:
        task = chosen_task(config, root, labels)
        source = root / "manifest.csv" if config.dataset == "manifest" else root
        y = task.encode(labels, source, store.windows.subject)
        y = without_reference(reference_of(config, store), y, task, root)
        config.check_pictures(tuple(store.modalities))
        check_models(config, WindowArrays.of(store), len(task.classes) or 1)
        splits = splits_of(config, store, root, *task.strata(y))
    except DataError as error:
        raise explained(error, store) from error
    return store, task, y, splits


def splits_of(
    config: Config, store: Store, root: Path, y: np.ndarray, classes: Sequence[str]
) -> list[Split]:
    """The user's own splits, or the protocol's.

    Raises:
        DataError: the data, or the user's table, cannot carry them.
    """
    shared = shared_recordings(store, root, config.protocol)
    if config.splits:
        return splits_of_file(
            store.windows,
            y,
            Path(config.splits),
            config.protocol,
            folds=config.folds,
            seed=config.seed,
            shared=shared,
            classes=classes,
        )
    return make_splits(
        store.windows,
        y,
        config.protocol,
        folds=config.folds,
        repeats=config.repeats or None,
        seed=config.seed,
        source=root,
        shared=shared,
        classes=classes,
    )


def without_reference(
    reference: Reference | None, y: np.ndarray, task: AnyTask, source: Path
) -> np.ndarray:
    """The labels of windows, none where they are a reference or overlap it.

    Raises:
        DataError: a class, or every rating, has no other windows.
    """
    if reference is None:
        return y
    left = np.where(reference.used, y, np.nan if y.dtype.kind == "f" else -1)
    strata, names = task.strata(y)
    lost = [name for k, name in enumerate(names) if not is_known(left[strata == k]).any()]
    if lost and (task.classes or len(lost) == len(names)):
        raise DataError(
            source,
            f"`reference={reference.kind}`",
            f"all windows of {', '.join(lost)}",
            "some that are left to train and test on",
            "Name fewer seconds, such as rest:60.",
        )
    return left


@dataclass(frozen=True)
class SplitResult:
    """What a split leaves for the report.

    Args:
        predictions: of every model and baseline on the split's test windows, of the run's kind.
        constant: lines about channels that do not vary in training.
        selection: how its configuration was chosen (`select`); None where it was given.
    """

    predictions: list[Rows]
    constant: list[str]
    selection: Selection | None = None


def train(job: TrainingRun) -> dict[str, Any]:
    """Every split of the protocol: both stages, baselines; then the report.

    Of several ranks (torchrun) each trains splits of its own, where there are enough; where there
    are fewer, all share stage 1 of each split, and the first does the rest. This is the first
    rank's part, `train_as_worker` the others'.
    """
    steps = announce(job, job.run.folder)
    progress = Progress(job, steps)
    job.run.watch = progress.show
    own = {}
    try:
        for number in job.split_numbers():
            own[number] = train_split(job, number)
            progress.end_split(number)
    finally:
        progress.clear()
    parts = job.ranks.gather(own) if job.trains_apart else [own]
    found = {number: result for part in parts for number, result in part.items()}
    job.run.tidy([split_name(n) for n in range(len(job.splits))])
    return finish(job, [found[n] for n in sorted(found)])


def train_as_worker(job: TrainingRun) -> None:
    """What the other ranks do: splits of their own, or their share of every stage 1."""
    if job.trains_apart:
        job.ranks.gather({n: train_split(job, n) for n in job.split_numbers()})
        return
    for number, split in enumerate(job.splits):
        fit_one(job, split, number)


def announce(plan: TrainingPlan, folder: Path) -> list[Step]:
    """Print what was understood and what it will take; the steps of each split."""
    print(understood(plan, folder))
    for line in messages.start_notes(plan):
        messages.say(line)
    steps = steps_of(plan, plan.config)
    early = ", less where validation stops early" if plan.config.patience else ""
    most_s = seconds_at_most(plan, steps)
    if steps:
        print(f"expected training time: {spell_time(most_s)} at most{early}", flush=True)
    else:
        messages.say("expected training time: minutes at most, since no network is trained")
    if most_s > LONG_S and plan.config.classifier == "corrected":
        messages.say(
            "a first answer in minutes: `classifier=linear` `contrastive=False` trains no network; "
            "the row 'features + LR', which every run has, is that model"
        )
    return steps


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
        ranks=Ranks() if job.trains_apart else job.ranks,
        name=split_name(number),
        start=job.start,
    )


def train_split(job: TrainingRun, number: int) -> SplitResult:
    """Train a split, and let every model and baseline predict its test windows."""
    config, split = job.config, job.splits[number]
    model = fit_one(job, split, number)
    constant = messages.constant_lines(model.tokenizer)
    windows = job.windows
    x = model.tokenizer.standardise(windows.arrays, job.device, windows.read_against)
    if not config.fusion:
        return SplitResult([], constant)
    known = Known(x, windows.read_against)
    tokens = all_tokens(model, known)
    encoded = encoder_blocks(model.encoders if model.floors else {}, known)
    predictions = []
    for name, fitted in model.models.items():
        part = select_tokens(fitted.chosen, tokens)
        predictions.append(_predictions(job, name, split, fitted, part, encoded, job.y))
    if config.permuted and model.models:
        # Under `block` the splits test parts of one recording, which have one label.
        draw = 0 if config.protocol == "block" else number
        y = permuted(job, seed_of(config.seed, "permuted", draw))
        name = f"{split_name(number)}/permuted"
        control = fit_control(model, job.windows, tokens, encoded, y, split, job.run, name)
        part = select_tokens(control.chosen, tokens)
        predictions.append(_predictions(job, "permuted labels", split, control, part, encoded, y))
    if config.ablation == "stages":
        for name, (fitted, part, seen) in fit_ablation(
            model, job.windows, x, job.y, split, job.run, split_name(number)
        ).items():
            predictions.append(_predictions(job, name, split, fitted, part, seen, job.y))
    compared, kept = baselines(job, split, model)
    job.run.save_tensors(f"{split_name(number)}/{BASELINES}", *baseline_file(kept))
    return SplitResult([*predictions, *compared], constant, model.selection)


def permuted(job: TrainingRun, seed: int) -> np.ndarray:
    """The labels permuted within each person; windows that have none, of a reference too, stay."""
    windows, y, used = job.store.windows, job.y.copy(), is_known(job.y)
    recording, subject = windows.recording[used], windows.subject[used]
    y[used] = metrics.permute_labels(y[used], recording, subject, seed)
    return y


def _predictions(
    job: TrainingRun,
    name: str,
    split: Split,
    model: FittedModel,
    tokens: dict[str, Tensor],
    encoded: Features,
    y: np.ndarray,
) -> Rows:
    target = fit_target(job.config.target, job.task.classes, job.y, split.train)
    names = model.chosen.modalities
    features = floor_features(job.windows, names, encoded) if model.floor else {}
    said = model.predict(target, tokens, features, split.test)
    return job.kind.of_split(name, split, job.store.windows, y, said)


# --- the report ---------------------------------------------------------------------------------
def finish(job: TrainingRun, splits: Sequence[SplitResult]) -> dict[str, Any]:
    """Write results.json and what goes with it, and print the table."""
    config = job.config
    bounds = messages.bayes_bounds(job)
    extra: dict[str, Any] = {
        "bayes": bounds,
        "data": job.store.report,
        "classifier": config.classifier,
    }
    extra["stimuli"] = job.stimuli
    if job.start is not None:
        copied = {name: each._asdict() for name, each in job.copied.items()}
        extra["init"] = {"sha256": job.start.digest, "copied": copied}
    extra["not_kept"] = [name for name in job.main if name in FITTED]
    notes = list(dict.fromkeys(line for split in splits for line in split.constant))
    notes += [*flat_lines(job.windows), *messages.notes(job), *messages.start_notes(job)]
    selections = {f"split{n + 1}": s.selection for n, s in enumerate(splits) if s.selection}
    if selections:
        extra["selection"] = {name: asdict(each) for name, each in selections.items()}
        notes.append(messages.selection_line(selections))
    if not config.fusion:
        job.run.write(Path("results.json"), reporting.results_json(extra))
        messages.say_results(job, extra | {"notes": notes})
        return extra
    by_model: dict[str, list[Rows]] = {}
    for part in (part for split in splits for part in split.predictions):
        by_model.setdefault(part.model, []).append(part)
    models = [concat(rows) for rows in by_model.values()]
    models.sort(key=lambda part: part.model not in job.main)
    results = extra | reporting.build_results(
        models,
        dataset=f"{config.dataset} (synthetic)" if config.synthetic else config.dataset,
        task=config.task,
        protocol=config.protocol_name,
        reference=reference_facts(job),
        classes=job.task.classes,
        splits=job.splits,
        main=job.main,
        notes=notes + messages.bayes_lines(bounds, models, job.classes),
        target=config.target,
    )
    reporting.write_results(job.run.folder, results, models)
    messages.say_results(job, results)
    return results


def settings(config: Config) -> dict[str, Any]:
    """The configuration as config.json holds it, with digests of own splits and of `init`.

    Raises:
        DataError: one of them cannot be read.
    """
    own = {SPLITS_DIGEST: digest(Path(config.splits))} if config.splits else {}
    if config.init:
        own[INIT_DIGEST] = read_start(config.init).digest
    return own | run_files.settings(config)
