"""What a trained run says of new recordings, window by window, and of each as a whole.

    clmer predict runs/x recording.edf --face face.csv --out said.csv

The recording goes the way of the training data: channels by name, units, filter over the whole of
it, common rate, windows of the run's length and stride (`clmer.data.store.windowing`); then the
split's own statistics. It is in memory as a whole: zero-phase filters run over it forwards and
backwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.manifest import reader as manifest
from clmer.data.mobilevit import embedder
from clmer.data.recording import Recording, Signal
from clmer.data.registry import DATASETS
from clmer.data.store.consistency import check_consistent
from clmer.data.store.options import PrepareOptions
from clmer.data.store.plan import WindowPlan, resolve
from clmer.data.store.store import Modality
from clmer.data.store.summary import OTHER_SCALE, face_lines, signal_lines
from clmer.data.store.windowing import WindowedRecording, make_windows
from clmer.data.video.series import open_face
from clmer.errors import ConfigError, DataError
from clmer.pipeline.run.trained import TrainedRun


def recordings_of(
    words: Sequence[str], modalities: Mapping[str, Modality], face: str | None
) -> list[dict[str, Path]]:
    """The files of each recording: of one as `files_of`, or FILE FILE ..., a recording each.

    Raises:
        ConfigError: as `files_of`; several recordings with a face, which is of one.
    """
    signals = [name for name in modalities if name not in FACE_TOKENS]
    plain = [text for text in words if text.partition("=")[0] not in signals]
    if len(words) < 2 or len(plain) < len(words) or not signals:
        return [files_of(words, modalities)]
    if face is not None or len(signals) < len(modalities):
        raise ConfigError(
            f"recording: found {len(words)} files with a face, expected one recording at a time, "
            "whose face it is"
        )
    if len(set(words)) < len(words):
        raise ConfigError(f"recording: found {' '.join(words)}, expected each file once")
    return [files_of([text], modalities) for text in words]


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
    signals = {
        name: replace(
            _signal(trained, name, path, rate, unit, _several(files)),
            kinds=trained.modalities[name].kinds,
        )
        for name, path in files.items()
    }
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


def _signal(
    trained: TrainedRun, name: str, path: Path, rate: float | None, unit: str, several: str
) -> Signal:
    """One modality out of a file; `several` ends the error where that has no such channel."""
    modality, open_file = trained.modalities[name], DATASETS[trained.config.dataset].open_file
    if open_file is not None:
        return _picked(open_file(path), modality)
    if path.suffix.lower() == ".npy" and rate is None:
        raise ConfigError(f"`rate`: found none, expected the samples a second of {path}")
    kind = modality.kinds[0] if len(set(modality.kinds)) == 1 else ""
    try:
        signal = manifest.read_file(
            path, name, channels=modality.channels, rate=rate, unit=unit, kind=kind
        )
    except DataError as error:
        if not several or error.field != "channels":
            raise
        hint = f"{error.hint} {several}".strip()
        raise DataError(error.path, error.field, error.found, error.expected, hint) from error
    return replace(signal, channels=modality.channels)


def _several(files: Mapping[str, Path]) -> str:
    """How signals in files of their own are given, where all are looked for in one."""
    if len(files) < 2 or len(set(files.values())) > 1:
        return ""
    return f"Signals in several files: {' '.join(f'{name}=FILE' for name in files)}."


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
        face: a face tracker's CSV, or a video.
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
        face=open_face(path, fps=fps, face_id=face_id),
        face_start_s=start_s or 0.0,
        source=path if not recording.signals else recording.source,
        files={**recording.files, "face": path},
    )


def plan_of(trained: TrainedRun, source: Path) -> WindowPlan:
    """A run's windows; `source` is named in errors."""
    config = trained.config
    faces = (m for name, m in trained.modalities.items() if name in FACE_TOKENS)
    fps = next((modality.fs for modality in faces), 1.0)  # without a face it plays no part
    options = PrepareOptions(
        modalities=tuple(trained.modalities),
        window_s=config.window_s,
        stride_s=config.stride_s,
        filter=config.filter,
        bridge_s=config.bridge_s,
        fps=fps,
        face=config.face,
    )
    return resolve(DATASETS[config.dataset], source, options)


def windows_of(trained: TrainedRun, recording: Recording) -> WindowedRecording:
    """The recording's windows, prepared as in training.

    Raises:
        DataError: there are none (why), or the face's unit is another one than in training.
    """
    config, plan = trained.config, plan_of(trained, recording.source)
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
        for kind, said, usual in other_scales(signal.levels, known[name]):
            raise DataError(
                found.recording.files.get(name, found.recording.source),
                f"amplitude of {name} ({kind})",
                said,
                usual,
                "Was it stored in another unit? State the true one with `unit`.",
            )


def other_scales(levels: Mapping[str, float], modality: Modality) -> Iterator[tuple[str, str, str]]:
    """Types whose amplitude differs from the training's by a factor that only a unit makes.

    Args:
        levels: amplitude by type, in our units.
        modality: as in training.

    Yields:
        The type, what was found, and what is expected.
    """
    for kind, usual in modality.levels:
        level = levels.get(kind, 0.0)
        ratio = level / usual if usual > 0 else 0.0
        if ratio > OTHER_SCALE or 0 < ratio < 1 / OTHER_SCALE:
            way = "large" if ratio > 1 else "small"
            said = f"{level:.3g} {modality.unit}, {max(ratio, 1 / ratio):.2g} times too {way}"
            yield kind, said, f"about {usual:.3g} {modality.unit} as in training"


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
    return lines + split_notes(trained)


def split_notes(trained: TrainedRun) -> list[str]:
    """What to say where several splits' models answer together."""
    if len(trained.splits) == 1:
        return []
    return [
        f"mean of {len(trained.splits)} splits' models, which together saw every person of the "
        "training data: for new people and recordings only; a single split can be asked for"
    ]
