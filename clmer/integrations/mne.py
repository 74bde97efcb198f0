"""MNE's objects: `Raw` and `Epochs` to windows, predictions back as `Annotations`.

    trained = clmer.load("runs/x")
    windows = from_raw(raw, trained)
    said = to_annotations(trained.predict(windows.arrays), windows, raw)
    raw.set_annotations(raw.annotations + said)

Windows are made as from a file (`clmer.data.store.windowing`): channels by name and type, in our
units, filtered and resampled. Channels in `info["bads"]` are not used, nor is a window that touches
a `BAD_` annotation; `notes` say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.formats.biosignal import typed_channels
from clmer.data.formats.biosignal_file import BiosignalFile
from clmer.data.formats.mne_files.epochs import EpochsFile, event_names
from clmer.data.formats.mne_files.raw import MneFile
from clmer.data.recording import Recording, Signal
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.plan import resolve
from clmer.data.store.summary import signal_lines
from clmer.data.store.windowing import WindowedRecording, make_windows
from clmer.errors import DataError
from clmer.pipeline.run.trained import TrainedRun
from clmer.predict import windows_of

#: What an annotation begins with that a prediction is made into. MNE takes what begins with "bad"
#: for a bad span, whatever class that may be.
PREFIX = "clmer/"


@dataclass(frozen=True, eq=False)
class MneWindows:
    """Windows of MNE's data.

    Args:
        arrays: [N, C, T] float32 by modality, as `TrainedRun.predict` takes them; one of them is
            an X of `CLMERClassifier`.
        start_s: [N] seconds from the first sample of the Raw, or of the window's epoch.
        window_s: length of each.
        notes: channels, what was left out and why, and what was odd.
        epochs: [N] number of each window's epoch; None of a Raw.
        labels: [N] name of its event; None of a Raw.
    """

    arrays: dict[str, np.ndarray]
    start_s: np.ndarray
    window_s: float
    notes: tuple[str, ...]
    epochs: np.ndarray | None = None
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.start_s)


def from_raw(raw: Any, like: TrainedRun | PrepareOptions) -> MneWindows:
    """The windows of a `Raw`.

    Args:
        raw: `mne.io.Raw` of any kind, in memory or not; it is not changed.
        like: a trained run, for the windows, channels and filters that it was trained with; or
            options, such as `PrepareOptions(modalities=("eeg",), window_s=2.0)`, for those of a
            manifest.

    Returns:
        `MneWindows`, whose `arrays["eeg"]` is [N, channels, samples], at 128 Hz unless the options
        say otherwise, in uV; bad channels and windows in spans marked as bad are left out.

    Raises:
        DataError: a channel is missing, or is marked as bad and the run needs it; there are no
            windows (why).
    """
    path = _path(getattr(raw, "filenames", ()))
    source = MneFile(path, ".fif", raw, raw.annotations)
    file = BiosignalFile(path, source, typed_channels(source.channels, {}), (path,))
    found = _windows(file, like, 0.0, file.duration_s)
    if found.skipped:
        raise DataError(path, "windows", f"none: {found.skipped}", "one at least")
    return MneWindows(found.arrays, found.start_s, _length(like), tuple(_notes([found], file)))


def from_epochs(epochs: Any, like: TrainedRun | PrepareOptions) -> MneWindows:
    """The windows of `Epochs`: each epoch is a recording of its own, filtered by itself.

    Args:
        epochs: `mne.Epochs` of any kind; it is not changed.
        like: as in `from_raw`.

    Returns:
        As `from_raw`, and for each window its epoch and that epoch's label.

    Raises:
        DataError: as `from_raw`.
    """
    epochs = epochs.copy().drop_bad(verbose="ERROR")
    path = _path([getattr(epochs, "filename", None)])
    source = EpochsFile(path, ".fif", epochs, None)
    file = BiosignalFile(path, source, typed_channels(source.channels, {}), (path,))
    made = [_windows(file, like, m.onset_s, m.onset_s + m.duration_s) for m in file.markers]
    kept = [i for i, each in enumerate(made) if not each.skipped]
    if not kept:
        found = made[0].skipped if made else "no epochs"
        raise DataError(path, "windows", f"none: {found}", "epochs of a window or longer")
    counts = [len(made[i].start_s) for i in kept]
    numbers = np.repeat(kept, counts)
    return MneWindows(
        {
            name: np.concatenate([made[i].arrays[name] for i in kept])
            for name in made[kept[0]].arrays
        },
        np.concatenate([made[i].start_s for i in kept]),
        _length(like),
        tuple(_notes(made, file)),
        numbers,
        np.array(event_names(epochs))[numbers],
    )


def to_annotations(
    predictions: Sequence[object] | np.ndarray, windows: MneWindows, raw: Any, prefix: str = PREFIX
) -> Any:
    """Predictions of a Raw's windows as `mne.Annotations`, to be added to the raw's own.

    Args:
        predictions: [N] classes or ratings, as `TrainedRun.predict` or a classifier gives them.
        windows: what was predicted, from `from_raw`.
        raw: the Raw that they are of.
        prefix: what each text begins with.

    Returns:
        One annotation per window; of windows that follow one another with the same text, one.

    Raises:
        ValueError: another number of predictions than of windows; windows of epochs.
    """
    import mne

    if len(predictions) != len(windows):
        raise ValueError(f"predictions: found {len(predictions)}, expected {len(windows)}")
    if windows.epochs is not None:
        raise ValueError("windows: found those of Epochs, expected those of a Raw")
    spans: list[tuple[float, float, str]] = []
    for start_s, said in zip(windows.start_s.tolist(), predictions, strict=True):
        number = isinstance(said, (float, np.floating))
        text, stop_s = (
            f"{prefix}{said:.3g}" if number else f"{prefix}{said}",
            start_s + windows.window_s,
        )
        if spans and spans[-1][2] == text and start_s <= spans[-1][1] + 1e-6:
            spans[-1] = (spans[-1][0], stop_s, text)
        else:
            spans.append((start_s, stop_s, text))
    own = raw.annotations.orig_time
    shift_s = 0.0 if own is None else raw.first_time
    return mne.Annotations(
        [start_s + shift_s for start_s, _, _ in spans],
        [stop_s - start_s for start_s, stop_s, _ in spans],
        [text for _, _, text in spans],
        orig_time=own,
    )


def _path(names: Sequence[Any]) -> Path:
    """The file for messages; "raw" for data that is of none."""
    return next((Path(name) for name in names if name is not None), Path("raw"))


def _length(like: TrainedRun | PrepareOptions) -> float:
    found = like.config.window_s if isinstance(like, TrainedRun) else like.window_s
    return DATASETS["manifest"].window_s if found is None else found


def _windows(
    file: BiosignalFile, like: TrainedRun | PrepareOptions, start_s: float, stop_s: float
) -> WindowedRecording:
    """The windows between two times of an open recording."""
    if isinstance(like, TrainedRun):
        signals = {
            name: _of_run(file, like, name, start_s, stop_s)
            for name in like.modalities
            if name not in FACE_TOKENS
        }
        return windows_of(like, _recording(file.path, signals))
    names = like.modalities or ("eeg",)
    signals = {name: file.signal(file.select(name), start_s, stop_s) for name in names}
    plan = resolve(DATASETS["manifest"], file.path, replace(like, modalities=names))
    return make_windows(plan, _recording(file.path, signals))


def _of_run(
    file: BiosignalFile, trained: TrainedRun, name: str, start_s: float, stop_s: float
) -> Signal:
    """A modality's signal, with the channels of a run's training, in their order.

    Raises:
        DataError: a channel is missing, or marked as bad.
    """
    modality = trained.modalities[name]
    kind = modality.kinds[0] if len(set(modality.kinds)) == 1 else ""
    chosen = file.select(name, modality.channels, kind=kind)
    bad = [channel.name for channel in chosen if channel.bad]
    if bad:
        raise DataError(
            file.path,
            'info["bads"]',
            ", ".join(bad),
            f"none of the channels that the run needs: {' '.join(modality.channels)}",
            "Interpolate them first: raw.load_data().interpolate_bads().",
        )
    signal = file.signal(chosen, start_s, stop_s)
    return replace(signal, channels=modality.channels, kinds=modality.kinds)


def _recording(path: Path, signals: dict[str, Signal]) -> Recording:
    return Recording("raw", "raw", "", "", {}, signals, source=path)


def _notes(made: Sequence[WindowedRecording], file: BiosignalFile) -> list[str]:
    """What to say of windows."""
    lines = signal_lines([("raw", each) for one in made for each in one.signals.values()])
    bad = [channel.name for channel in file.all_channels if channel.bad]
    lines += [f"marked as bad and left out: {', '.join(bad)}"] if bad else []
    lines += dict.fromkeys(note for one in made for note in one.notes)
    dropped: dict[str, int] = {}
    for one in made:
        for reason, count in one.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    lines += [f"left out: {count} windows, {reason}" for reason, count in dropped.items()]
    skipped = [one.skipped for one in made if one.skipped]
    lines += [f"left out: {skipped.count(s)} epochs, {s}" for s in dict.fromkeys(skipped)]
    return lines
