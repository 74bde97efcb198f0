"""The main job: prepare, split, train the two stages, evaluate, report.

    python -m clmer.train deap --synthetic
    python -m clmer.train eegmat --root /data/eegmat
    torchrun --nproc-per-node 2 -m clmer.train deap --root /data/DEAP

Read `train` first: the stages are in `clmer.pipeline.stages`, the loop over epochs is
`clmer.pipeline.loop.fit`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clmer.baselines import SVM, svm
from clmer.data import synthetic
from clmer.data.face.windows import IMAGES
from clmer.data.readers import manifest
from clmer.data.registry import DATASETS
from clmer.data.splits import Split, make_splits
from clmer.data.store.dataset import explained, task_of
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.store.summary import report_lines
from clmer.data.synthetic.images import draw_faces
from clmer.data.synthetic.man2 import man2_bayes_accuracy
from clmer.data.synthetic.model import bayes_accuracy
from clmer.data.tasks import Task
from clmer.errors import DataError
from clmer.evaluation import metrics
from clmer.evaluation import results as reporting
from clmer.evaluation.probe import mean_probe, probe_lines
from clmer.nn import Encoder
from clmer.pipeline.config import Config, check_modality_names
from clmer.pipeline.run_folder import weights_of
from clmer.pipeline.stages import (
    CLIP,
    Job,
    baselines,
    check_models,
    contrastive_losses,
    contrastive_stage,
    encoders_of,
    fusion_losses,
    fusion_stage,
    new_contrastive,
    new_model,
    power_features,
    probe,
    read_by,
    tokens_of,
)
from clmer.pipeline.step import TrainStep
from clmer.pipeline.tokenizer import Inputs
from clmer.text import did_you_mean, score_text

PERMUTED = (
    "permuted labels: one permutation a split (one for all under block), a noisy control where "
    "people have few recordings."
)
THINNED = f"svm: fitted on at most {svm.MOST} training windows, evenly spaced."
TRANSDUCTIVE = (
    "transductive: every person's windows were standardised with that person's own statistics, "
    "test people included (no labels)."
)


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
            f"--task {config.task}",
            "no such label",
            f"one of {', '.join(known)}",
            did_you_mean(config.task, known),
        )
    if dataset.rated is None:  # say what is wrong before the data is prepared
        task_of(dataset, root, config.task, scale=config.scale, threshold=config.threshold)
    check_modality_names(config.modalities or dataset.modalities or dataset.found(root))
    store = prepare(
        dataset,
        root,
        PrepareOptions(
            modalities=config.modalities,
            window_s=config.window,
            stride_s=config.stride,
            filter=config.filter,
            face=config.face,
            labels=config.labels,
            mobilevit=config.mobilevit,
        ),
        cache=cache,
    )
    return root, store


def load(config: Config, cache: Path) -> tuple[Store, Task, np.ndarray, list[Split]]:
    """Files -> prepared store, task, the class [N] of each window, and the protocol's splits."""
    root, store = prepared(config, cache)
    labels = store.windows.labels
    dataset, scale = DATASETS[config.dataset], config.scale
    try:
        task = task_of(dataset, root, config.task, labels, scale=scale, threshold=config.threshold)
        y = task.encode(labels, root / "manifest.csv" if config.dataset == "manifest" else root)
        check_models(config, store, len(task.classes))
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


def shared_recordings(store: Store, root: Path, protocol: str) -> list[tuple[str, str]]:
    """Pairs of recordings that hold the same samples; none where nothing is kept apart.

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


def train(job: Job) -> dict[str, Any]:
    """Every split of the protocol: contrastive stage, every model, baselines; then the report.

    Of several ranks (torchrun) the first is here, the others in `follow`.
    """
    config, store = job.config, job.store
    describe(job)
    predictions: list[metrics.Predictions] = []
    probes: list[dict[str, Any]] = []
    powers = {name: power_features(job, name) for name in store.modalities}
    constant: dict[str, None] = {}
    for number, split in enumerate(job.splits):
        inputs, x = standardised(job, split)
        constant |= dict.fromkeys(constant_lines(inputs))
        if number == 0:
            announce_time(job, split, inputs, x)
        encoders: dict[str, Encoder] = {}
        if config.contrastive:
            encoders = contrastive_stage(job, split, number, x)
            probes += probe(job, split, encoders, x)
        inputs, tokens = tokens_of(inputs, split.train, x, encoders)
        save_inputs(job, split, number, inputs)
        if config.fusion:
            predictions += fusion_stage(job, split, number, tokens)
            predictions += baselines(job, split, powers)
    return finish(job, predictions, probes, list(constant))


def follow(job: Job) -> None:
    """What the other ranks do: their part of every contrastive stage."""
    for number, split in enumerate(job.splits):
        contrastive_stage(job, split, number, standardised(job, split)[1])


def standardised(job: Job, split: Split) -> tuple[Inputs, dict[str, Tensor]]:
    """The split's inputs, and by them every modality's windows [N, C, T]."""
    store = job.store
    inputs = Inputs.fit(store, split.train, job.config.token_kind, job.config.normalize)
    arrays = {name: store.array(name) for name in store.modalities}
    return inputs, inputs.standardise(arrays, job.device, store.windows.subject)


def constant_lines(inputs: Inputs) -> list[str]:
    """What to say of channels that a model gets as zeros."""
    shown = []
    for name, channels in inputs.constant().items():
        more = f" and {len(channels) - 5} more" if len(channels) > 5 else ""
        shown.append(f"{name} {', '.join(channels[:5])}{more}")
    if not shown:
        return []
    return [f"Constant in a training part, so given as zeros: {'; '.join(shown)}."]


def save_inputs(job: Job, split: Split, number: int, inputs: Inputs) -> None:
    """Put what stands between windows and tokens beside the split's weights."""
    tensors, notes = inputs.state()
    notes |= {"classes": list(job.task.classes), "split": split.name}
    job.run.save_tensors(weights_of(f"split{number + 1}/inputs"), tensors, notes)


def finish(
    job: Job,
    predictions: list[metrics.Predictions],
    probes: list[dict[str, Any]],
    notes: list[str],
) -> dict[str, Any]:
    """Write results.json and what goes with it, further notes included, and print the table."""
    config = job.config
    means, bounds = mean_probe(probes), bayes_bounds(job)
    extra = {"probe": means, "bayes": bounds, "data": job.store.report}
    notes += [TRANSDUCTIVE] if config.normalize == "subject" else []
    notes += probe_lines(means)
    notes += [PERMUTED] if config.permuted and config.fusion and job.models else []
    if SVM in job.main and any(len(split.train) > svm.MOST for split in job.splits):
        notes.append(THINNED)
    if not config.fusion:
        job.run.write(Path("results.json"), reporting.results_json(extra))
        print("\n".join(notes))
        return extra
    parts: dict[str, list[metrics.Predictions]] = {}
    for part in predictions:
        parts.setdefault(part.model, []).append(part)
    models = [metrics.concat(rows) for rows in parts.values()]
    models.sort(key=lambda part: part.model not in job.main)
    results = extra | reporting.build_results(
        models,
        dataset=f"{config.dataset} (synthetic)" if config.synthetic else config.dataset,
        task=config.task,
        protocol=config.protocol,
        classes=job.task.classes,
        splits=job.splits,
        main=job.main,
        notes=notes + bayes_lines(bounds, models, job.classes),
    )
    reporting.write_report(job.run.folder, results, models)
    reporting.print_table(results)
    return results


def bayes_bounds(job: Job) -> dict[str, float]:
    """Accuracy per window of the ideal observer of generated data, by model, where it is known."""
    config = job.config
    if config.synthetic is None:
        return {}
    control, seconds = config.synthetic["control"], int(config.window)
    if (config.window, config.stride) != (seconds, int(config.stride)):
        return {}  # the generator draws anew every second
    known = {*synthetic.MODALITIES, "eeg"} | ({"gaze"} if config.dataset == "man2" else set())
    accuracy = man2_bayes_accuracy if config.dataset == "man2" else bayes_accuracy
    return {
        name: accuracy(config.task, job.modalities(name), control=control, windows=seconds)
        for name in job.main
        if known.issuperset(job.modalities(name))
    }


def bayes_lines(
    bounds: Mapping[str, float], models: Sequence[metrics.Predictions], classes: int
) -> list[str]:
    """How much of what can be known of generated labels each model reached."""
    lines = []
    for part in models:
        if part.model in bounds:
            best, reached = bounds[part.model], float((part.predicted == part.y).mean())
            above, share = best - 1 / classes, ""
            if above > 0.01:
                share = f", {100 * (reached - 1 / classes) / above:.0f} % of it above chance"
            lines.append(
                f"Bayes accuracy per window of {part.model}: {score_text(best)} (the generator's "
                f"own; an upper bound); reached {score_text(reached)}{share}."
            )
    return lines


# --- what is said before training ---------------------------------------------------------------
def describe(job: Job) -> None:
    """Data, model and protocol, in a few lines."""
    windows, config = job.store.windows, job.config
    known = job.y >= 0
    counts = np.bincount(job.y[known], minlength=job.classes)
    classes = ", ".join(f"{name} {n}" for name, n in zip(job.task.classes, counts, strict=True))
    people = len(np.unique(windows.subject[known]))
    split = job.task.describe()
    print(
        f"{config.dataset}{' (synthetic)' if config.synthetic else ''}: {known.sum()} windows of "
        f"{config.window:g} s, {people} people; {job.task.name}: {classes}"
        + (f" ({split})" if split else "")
    )
    ranks = f"{job.ranks.count} ranks, " if job.ranks.count > 1 else ""
    print(
        f"preset {config.preset} on {config.device}, {ranks}{torch.get_num_threads()} threads; "
        f"protocol {config.protocol}, {len(job.splits)} split(s); run folder {job.run.folder}"
    )
    for line in report_lines(job.store.report):
        print(line)
    if not known.all():
        trials = len(np.unique(windows.recording[~known]))
        print(
            f"left out: {(~known).sum()} windows of {trials} recordings, no value in "
            f"{' or '.join(job.task.columns)}"
        )
    if config.models != ("clmer",):
        print(f"models: {', '.join(config.models)}")
    if job.splits[0].note:
        print(f"note: {job.splits[0].note}")


def announce_time(job: Job, split: Split, inputs: Inputs, x: Mapping[str, Tensor]) -> None:
    """Time three steps of each stage on throw-away models, and say what the whole will take."""
    config, amp = job.config, job.config.amp == "bf16"
    rows = torch.from_numpy(split.train[: config.batch]).to(job.device)
    steps = -(-len(split.train) // config.batch)
    few = {name: part[rows] for name, part in x.items()}
    rows, known = torch.arange(len(rows), device=job.device), np.arange(len(rows))
    seconds = 0.0
    encoders: dict[str, Encoder] = {}
    if config.contrastive:
        model, optimizer = new_contrastive(job, few)
        losses = contrastive_losses(model, few)
        step = time_step(TrainStep(model, optimizer, losses, amp=amp), rows)
        seconds += step * steps * config.epochs_contrastive / job.ranks.count
        encoders = encoders_of(model)
    if config.fusion:
        _, tokens = tokens_of(inputs, known, few, encoders)
        labels = torch.zeros(len(rows), dtype=torch.int64, device=job.device)
        weight = torch.ones(job.classes, device=job.device)
        trained = [*job.models.values()]
        for chosen in trained + trained[:1] * config.permuted:
            part = read_by(chosen, tokens)
            classifier, optimizer = new_model(job, chosen.spec, part, 0)
            losses = fusion_losses(classifier, part, labels, weight)
            step = time_step(TrainStep(classifier, optimizer, losses, CLIP, amp), rows)
            seconds += step * steps * config.epochs_fusion * config.members
    early = ", less where validation stops a model early" if config.patience else ""
    print(f"expected training time: {spell_time(seconds * len(job.splits))} at most{early}")
    sys.stdout.flush()


def time_step(step: TrainStep, rows: Tensor) -> float:
    """Seconds of a training step, not captured: the fastest of three after one to warm up."""
    generator = torch.Generator(rows.device).manual_seed(0)
    step.model.train()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        step(rows, generator)
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
    return {
        **asdict(config),
        "modalities": list(config.modalities),
        "models": list(config.models),
        "scale": config.scale and list(config.scale),
    }
