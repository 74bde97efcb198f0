"""What a trained run says of a new recording, window by window.

    clmer predict runs/x recording.edf --face face.csv --out predictions.csv

The recording goes the way of the training data: channels by name, units, filter over the whole of
it, common rate, windows of the run's length and stride (`clmer.data.store.windowing`); then the
split's own statistics. It is in memory as a whole: zero-phase filters run over it forwards and
backwards.
"""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clmer.data.face import read_face
from clmer.data.face.windows import FACE_TOKENS
from clmer.data.manifest import reader as manifest
from clmer.data.manifest import table as manifest_table
from clmer.data.mobilevit import embedder
from clmer.data.recording import Recording, Signal
from clmer.data.registry import DATASETS
from clmer.data.store.consistency import check_consistent
from clmer.data.store.options import PrepareOptions
from clmer.data.store.plan import resolve
from clmer.data.store.store import Modality
from clmer.data.store.summary import OTHER_SCALE, face_lines, signal_lines
from clmer.data.store.windowing import WindowedRecording, make_windows
from clmer.errors import ConfigError, DataError
from clmer.pipeline.reference import LEAST, GivenReference
from clmer.pipeline.reference_rows import ALL, check_given, how_to_record
from clmer.pipeline.run.trained import TrainedRun, load
from clmer.storage import write_file
from clmer.streams import is_nowhere
from clmer.text import cell

#: Digits after the point of times, probabilities and ratings.
DIGITS = 6


def predict(
    run: str,
    recording: Sequence[str],
    face: str | None,
    face_start: float | None,
    face_rate: float | None,
    face_id: str | None,
    rate: float | None,
    unit: str,
    split: str | None,
    reference: Sequence[str],
    out: str,
    device: str,
) -> int:
    """Predict one recording and write the table.

    Raises:
        ConfigError: options that do not fit the run.
        DataError: a run or a file that cannot be used.
    """
    _check_numbers(rate, face_rate, face_start)
    if out != "-" and not Path(out).parent.is_dir():
        raise DataError(Path(out), "`out`", "no such folder", "one that exists", "Make it first.")
    if out == "-" and is_nowhere(sys.stdout):
        found = "a closed standard output"
        raise DataError(Path(out), "`out`", found, "an open one", "Name a file.")
    trained = load(run, split, device)
    check_given(trained.config.reference, (ALL if ALL in reference else {}) if reference else None)
    files = files_of(recording, trained.modalities)
    given = Given(rate, unit, face_start, face_rate, face_id)
    windows = given.windows(trained, files, face)
    known, remarks = given.reference(trained, reference, windows, face)
    ask = trained.predict_proba if trained.classes else trained.predict
    said = ask(windows.arrays, reference=known)
    for line in [*notes(trained, windows), *remarks]:
        print(line, file=sys.stderr)
    table = predictions_csv(windows.start_s, said, trained.classes)
    if out == "-":
        _check_encoding(table)
        sys.stdout.write(table)
    else:
        write_file(Path(out), table.encode())
    return 0


@dataclass(frozen=True)
class Given:
    """What the command says of all its files; `read_recording` and `with_face` know the fields."""

    rate: float | None
    unit: str
    face_start: float | None
    face_rate: float | None
    face_id: str | None

    def windows(
        self, trained: TrainedRun, files: Mapping[str, Path], face: str | None
    ) -> WindowedRecording:
        """The windows of one recording's files; raises as the functions that it calls."""
        whole = read_recording(trained, files, rate=self.rate, unit=self.unit)
        start, fps, face_id = self.face_start, self.face_rate, self.face_id
        whole = with_face(trained, whole, face, start_s=start, fps=fps, face_id=face_id)
        return windows_of(trained, whole)

    def reference(
        self,
        trained: TrainedRun,
        words: Sequence[str],
        predicted: WindowedRecording,
        face: str | None,
    ) -> tuple[GivenReference | None, list[str]]:
        """What this person is known by, and what to say of it.

        Args:
            trained: says whether there is any.
            words: none; "all"; or [NAME=]FILE[:START-STOP] of each modality, face=CSV of the face.
            predicted: the recording that is asked about.
            face: its face, which is the reference's too where that is of the same files.

        Raises:
            ConfigError: words that do not fit the run.
            DataError: a file that cannot be read, or has too few windows.
        """
        if not words:
            return None, []
        if ALL in words:
            return ALL, [f"transductive: read against all of this recording (`reference={ALL}`)"]
        names, spans = zip(*map(_named_span, words), strict=True)
        faces = [name.removeprefix("face=") for name in names if name.startswith("face=")]
        signals = [name for name in names if not name.startswith("face=")]
        files = files_of(signals, trained.modalities)
        recorded = predicted.recording.files
        same = all(path == recorded.get(name) for name, path in files.items())
        own_face = faces[0] if faces else face if files and same else None
        if own_face is None and any(name in FACE_TOKENS for name in trained.modalities):
            raise ConfigError(
                f"`reference`: found {' '.join(words)}, expected face=CSV beside it, its own face"
            )
        found = self.windows(trained, files, own_face)
        same = same and (own_face is None or Path(own_face) == recorded.get("face"))
        start, stop = spans[0]
        if len(set(spans)) > 1:
            raise ConfigError(f"`reference`: found {' '.join(words)}, expected one START-STOP")
        length = trained.config.window_s or 0.0
        inside = (found.start_s >= start - 1e-6) & (found.start_s + length <= stop + 1e-6)
        if inside.sum() < LEAST:
            raise DataError(
                found.recording.source,
                "`reference`",
                f"{inside.sum()} windows of {length:g} s",
                f"at least {LEAST}",
                f"Give a longer stretch: {how_to_record(trained.config.reference)}.",
            )
        lines = [f"read against {inside.sum()} windows of {' '.join(words)}"]
        if same:
            gaps = np.abs(predicted.start_s[:, None] - found.start_s[inside]).min(1)
            count = int((gaps < length - 1e-6).sum())
            lines.append(f"note: {count} windows of the table overlap the reference")
        return {name: array[inside] for name, array in found.arrays.items()}, lines


def _named_span(word: str) -> tuple[str, tuple[float, float]]:
    """[NAME=]FILE of [NAME=]FILE[:START-STOP], and the seconds; all there are without."""
    found = re.fullmatch(r"(.+):(\d+(?:\.\d*)?)-(\d+(?:\.\d*)?)", word)
    if not found:
        return word, (-math.inf, math.inf)
    start, stop = float(found[2]), float(found[3])
    if start >= stop:
        raise ConfigError(f"`reference`: found {word}, expected START before STOP, in seconds")
    return found[1], (start, stop)


def _check_encoding(table: str) -> None:
    """A table keeps every letter: where standard output has no room for one, nothing is written."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        table.encode(encoding)
    except UnicodeEncodeError as error:
        letters = ascii(error.object[error.start : error.end])
        hint = "Name a file, which is UTF-8, or set PYTHONIOENCODING=utf-8."
        found = f"a standard output of {encoding}, which lacks {letters}"
        raise DataError(Path("-"), "`out`", found, "one that takes the names", hint) from error


def _check_numbers(rate: float | None, face_rate: float | None, face_start: float | None) -> None:
    least = manifest_table.LEAST_RATE
    for name, value, low in (
        ("`rate`", rate, least),
        ("`face_rate`", face_rate, least),
        ("`face_start`", face_start, -math.inf),
    ):
        if value is not None and not (math.isfinite(value) and value >= low):
            expected = f"at least {low:g} Hz" if math.isfinite(low) else "seconds"
            raise ConfigError(f"{name}: found {value}, expected {expected}")


def files_of(recording: Sequence[str], modalities: Mapping[str, Modality]) -> dict[str, Path]:
    """The file of each of a run's signals, out of FILE or NAME=FILE ...

    Raises:
        ConfigError: a modality without a file, or a file without a modality.
    """
    signals = [name for name in modalities if name not in FACE_TOKENS]
    named = [text.partition("=") for text in recording]
    if signals and len(recording) == 1 and named[0][0] not in signals:
        return dict.fromkeys(signals, Path(recording[0]))
    files = {name: Path(path) for name, _, path in named}
    if sorted(files) != sorted(signals) or len(files) < len(named):
        wanted = " ".join(f"{name}=FILE" for name in signals)
        raise ConfigError(
            f"recording: found {' '.join(recording) or 'none'}, expected "
            + (f"one file with all channels, or {wanted}" if signals else "none: only `face`")
        )
    return files


def read_recording(
    trained: TrainedRun, files: Mapping[str, Path], *, rate: float | None = None, unit: str = ""
) -> Recording:
    """A recording's signals, channels as in training.

    Args:
        trained: says which channels, and of which type each is.
        files: by modality, from `files_of`.
        rate: samples a second, where a file does not say.
        unit: of the samples, which counts more than the files'.

    Raises:
        ConfigError: an .npy without a rate.
        DataError: a file that cannot be read, or lacks a channel (which).
    """
    open_file = DATASETS[trained.config.dataset].open_file
    signals = {}
    for name, path in files.items():
        modality = trained.modalities[name]
        if open_file is None:
            if path.suffix.lower() == ".npy" and rate is None:
                raise ConfigError(f"`rate`: found none, expected the samples a second of {path}")
            signal = manifest.read_file(
                path,
                name,
                channels=modality.channels,
                rate=rate,
                unit=unit,
                kind=modality.kinds[0] if len(set(modality.kinds)) == 1 else "",
            )
            signal = replace(signal, channels=modality.channels)
        else:
            signal = _picked(open_file(path), modality)
        signals[name] = replace(signal, kinds=modality.kinds)
    source = next(iter(files.values()), Path())
    return Recording(
        subject="recording",
        trial="recording",
        stimulus="",
        group="",
        labels={},
        signals=signals,
        source=source,
        files=dict(files),
    )


def _picked(signal: Signal, modality: Modality) -> Signal:
    rows = [signal.channels.index(name) for name in modality.channels]
    return Signal(signal.data[rows], signal.fs, modality.channels, modality.kinds, signal.unit)


def with_face(
    trained: TrainedRun,
    recording: Recording,
    face: str | None,
    *,
    start_s: float | None = None,
    fps: float | None = None,
    face_id: str | None = None,
) -> Recording:
    """The recording with its face, where the run uses one.

    Args:
        trained: says whether it does.
        recording: its signals.
        face: a face tracker's CSV.
        start_s: second of the recording at which the video begins; None for 0.
        fps: frames a second of a CSV without times.
        face_id: the number of the face in a CSV with several people's.

    Raises:
        ConfigError: the face is missing, or not used.
        DataError: the CSV cannot be read.
    """
    used = [name for name in trained.modalities if name in FACE_TOKENS]
    if used and face is None:
        names = ", ".join(used)
        raise ConfigError(f"`face`: found none, expected a face's CSV: the run uses {names}")
    if not used and (face, start_s, fps, face_id) != (None, None, None, None):
        names = ", ".join(trained.modalities)
        raise ConfigError(f"`face`: found {face}, expected none: the run uses {names} alone")
    if face is None:
        return recording
    path = Path(face)
    return replace(
        recording,
        face=read_face(path, fps=fps, face_id=face_id),
        face_start_s=start_s or 0.0,
        source=path if not recording.signals else recording.source,
        files={**recording.files, "face": path},
    )


def windows_of(trained: TrainedRun, recording: Recording) -> WindowedRecording:
    """The recording's windows, prepared as in training.

    Raises:
        DataError: there are none (why), or the face's unit is another one than in training.
    """
    config = trained.config
    faces = (m for name, m in trained.modalities.items() if name in FACE_TOKENS)
    fps = next((modality.fs for modality in faces), 1.0)  # without a face it plays no part
    options = PrepareOptions(
        modalities=tuple(trained.modalities),
        window_s=config.window_s,
        stride_s=config.stride_s,
        filter=config.filter,
        fps=fps,
        face=config.face,
    )
    plan = resolve(DATASETS[config.dataset], recording.source, options)
    weights = Path(config.mobilevit) if config.mobilevit else None
    embed = embedder(weights) if "mobilevit" in trained.modalities else None
    found = make_windows(plan, recording, embed)
    check_consistent(found, trained.modalities, "in training")
    check_scale(found, trained.modalities)
    if found.skipped:
        expected = f"windows of {config.window_s:g} s with {', '.join(trained.modalities)}"
        raise DataError(recording.source, "recording", found.skipped, expected)
    return found


def check_scale(found: WindowedRecording, known: Mapping[str, Modality]) -> None:
    """Refuse numbers of another size than the training's.

    Raises:
        DataError: they differ by a factor that only a unit makes.
    """
    for name, signal in found.signals.items():
        for kind, usual in known[name].levels:
            level = signal.levels.get(kind, 0.0)
            ratio = level / usual if usual > 0 else 0.0
            if ratio > OTHER_SCALE or 0 < ratio < 1 / OTHER_SCALE:
                factor = max(ratio, 1 / ratio)
                raise DataError(
                    found.recording.files.get(name, found.recording.source),
                    f"amplitude of {name} ({kind})",
                    f"{level:.3g} {signal.unit}, {factor:.2g} times too "
                    f"{'large' if ratio > 1 else 'small'}",
                    f"about {usual:.3g} {known[name].unit} as in training",
                    "Was it stored in another unit? State the true one with `unit`.",
                )


def notes(trained: TrainedRun, windows: WindowedRecording) -> list[str]:
    """What a reader of the predictions should know."""
    lines = signal_lines([("recording", each) for each in windows.signals.values()])
    faces = [name for name in trained.modalities if name in FACE_TOKENS]
    lines += face_lines(faces, [windows.face] if windows.face else [])
    lines += [f"note: {note}" for note in windows.notes]
    for name, signal in windows.signals.items():
        usual = trained.modalities[name].native_fs
        if usual and signal.fs != usual:
            lines.append(f"note: {name} was recorded at {signal.fs:g} Hz, in training at {usual:g}")
    lines += [f"left out: {count} windows, {reason}" for reason, count in windows.dropped.items()]
    if len(trained.splits) > 1:
        lines.append(
            f"mean of {len(trained.splits)} splits' models, which together saw every person of the "
            "training data: for new people and recordings only; a single split can be asked for"
        )
    return lines


def predictions_csv(start_s: np.ndarray, said: np.ndarray, classes: Sequence[str]) -> str:
    """One row per window: its start, and its probabilities [N, classes] or rating [N]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["class", *(f"p_{name}" for name in classes)] if classes else ["value"]
    writer.writerow(["time_s", *head])
    for start, row in zip(start_s.tolist(), said, strict=True):
        values = [f"{value:.{DIGITS}f}" for value in np.atleast_1d(row)]
        best = [cell(classes[int(row.argmax())])] if classes else []
        writer.writerow([round(start, DIGITS), *best, *values])
    return text.getvalue()
