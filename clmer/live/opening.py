"""A run's streams, opened: which modality comes from which, or why they do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.registry import DATASETS
from clmer.data.store.filtering import filter_of
from clmer.data.store.plan import WindowPlan
from clmer.errors import ConfigError, DataError
from clmer.live.channels import find_channels
from clmer.live.faces import FaceStream
from clmer.live.formats import StreamFormat
from clmer.live.signals import Channels, SignalStream
from clmer.pipeline.run.trained import TrainedRun
from clmer.predict import plan_of

#: Modalities that a stream of a face's columns has.
_FACES = ("landmarks", "au", "gaze")


@dataclass(frozen=True, eq=False)
class OpenedStreams:
    """What a run takes of streams.

    Args:
        signals, faces: by the stream's name, those of signals first.
        homes: the stream of each modality.
        notes: what a user should know.
    """

    signals: dict[str, SignalStream] = field(default_factory=dict)
    faces: dict[str, FaceStream] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def all(self) -> dict[str, SignalStream | FaceStream]:
        """Every stream by name."""
        return {**self.signals, **self.faces}


def open_streams(
    trained: TrainedRun,
    plan: WindowPlan,
    streams: Mapping[str, StreamFormat],
    names: Mapping[str, str],
    keep_s: float,
) -> OpenedStreams:
    """The streams of a run.

    Args:
        trained: the run.
        plan: its windows.
        streams: what comes, by name.
        names: the stream's name of a channel, by the run's, where they differ.
        keep_s: seconds that stay.

    Raises:
        ConfigError: modalities that do not come as streams, a stream too few or too many, names of
            no channel.
        DataError: a stream's channels, units or rate are not those of the run.
    """
    _check_modalities(trained)
    opened = OpenedStreams()
    face = next((name for name, each in streams.items() if each.is_face), None)
    signals = {name: each for name, each in streams.items() if name != face}
    used = [name for name in trained.modalities if name not in FACE_TOKENS]
    if used and not signals:
        raise ConfigError(f"`streams`: found no signals, expected {', '.join(used)}")
    _check_names(trained, used, names)
    parts: dict[str, list[Channels]] = {}
    for name in used:
        home, channels = find_channels(trained.modalities[name], signals, names)
        opened.homes[name] = home
        parts.setdefault(home, []).append(channels)
        opened.notes.extend(_notes(trained, home, streams[home], channels))
    for home, each in parts.items():
        opened.signals[home] = _signal_stream(plan, home, streams[home], each, keep_s)
    faces = [name for name in trained.modalities if name in FACE_TOKENS]
    if faces:
        if face is None:
            raise ConfigError(
                f"`streams`: found {' '.join(streams)}, expected a face's too: the run uses "
                f"{', '.join(faces)}"
            )
        landmarks = trained.modalities.get("landmarks")
        unit = landmarks.unit if landmarks else ""
        opened.faces[face] = FaceStream(plan, face, streams[face], unit, keep_s)
        opened.homes.update(dict.fromkeys(faces, face))
    unused = [name for name in streams if name not in opened.homes.values()]
    if unused:
        raise ConfigError(
            f"`streams`: found {' '.join(streams)}, expected no {' '.join(unused)}, of which the "
            "run uses nothing"
        )
    return opened


def own_stream(trained: TrainedRun) -> dict[str, StreamFormat]:
    """One stream of all signals of a run, at their own rate and in their unit.

    Raises:
        ConfigError: the run uses a face, several rates, or two channels of one name.
    """
    modalities = [each for name, each in trained.modalities.items() if name not in FACE_TOKENS]
    rates = {each.native_fs or each.fs for each in modalities}
    channels = tuple(channel for each in modalities for channel in each.channels)
    has_face = len(modalities) < len(trained.modalities)
    if has_face or len(rates) > 1 or len({*channels}) < len(channels):
        raise ConfigError(
            f"`streams`: found none, expected what is pushed: the run uses "
            f"{', '.join(trained.modalities)}"
        )
    return {"signals": StreamFormat(channels, rates.pop())}


def check_usable(trained: TrainedRun, *, face: bool, accept: bool) -> None:
    """Refuse what can be told before any stream is there.

    Args:
        trained: the run.
        face: whether a face's stream is named.
        accept: as in `check_filter`.

    Raises:
        ConfigError: modalities that do not come as streams; a face that the run does not use;
            signals that were filtered with what came later.
    """
    _check_modalities(trained)
    if face and not any(name in FACE_TOKENS for name in trained.modalities):
        names = ", ".join(trained.modalities)
        raise ConfigError(f"`face_stream`: found one, expected none: the run uses {names} alone")
    check_filter(trained, plan_of(trained, trained.folder), {}, accept=accept)


def check_filter(
    trained: TrainedRun, plan: WindowPlan, rates: Mapping[str, float], *, accept: bool
) -> list[str]:
    """Refuse a run whose signals were filtered with what came later, or say that they were.

    Args:
        trained: the run.
        plan: its windows.
        rates: of what comes, Hz, by modality; training's where one is not known.
        accept: say so, and go on.

    Raises:
        ConfigError: they were, and it is not accepted.
    """
    changed = [
        name
        for name, each in trained.modalities.items()
        if name not in FACE_TOKENS
        and _is_changed(plan, trained, name, rates.get(name) or each.native_fs or each.fs)
    ]
    if plan.filter == "causal" or not changed:
        return []
    found = (
        f"`filter={plan.filter}`: {', '.join(changed)} of the training data were filtered forwards "
        "and backwards, which needs what comes later"
    )
    if not accept:
        raise ConfigError(
            f"{found}. Train with `filter=causal`, or accept that live signals differ: "
            "`accept_mismatch`"
        )
    return [f"accepted: {found}; live signals differ from them"]


def _is_changed(plan: WindowPlan, trained: TrainedRun, name: str, fs: float) -> bool:
    """Whether a signal is filtered or resampled."""
    kinds = trained.modalities[name].kinds
    filtered = any(filter_of(plan.band(kind), fs)[0] is not None for kind in kinds)
    return fs != plan.dataset.fs or filtered


def _notes(trained: TrainedRun, home: str, stream: StreamFormat, channels: Channels) -> list[str]:
    modality, lines = trained.modalities[channels.name], []
    if modality.native_fs and stream.fs != modality.native_fs:
        usual = f"in training at {modality.native_fs:g}"
        lines.append(f"{modality.name} comes at {stream.fs:g} Hz, {usual}")
    if stream.units and not all(stream.units[row] for row in channels.rows):
        unit = modality.unit or "the unit of training"
        lines.append(f"{home} does not state all units of {modality.name}: taken as {unit}")
    return lines


def _signal_stream(
    plan: WindowPlan,
    home: str,
    stream: StreamFormat,
    modalities: Sequence[Channels],
    keep_s: float,
) -> SignalStream:
    try:
        return SignalStream(plan, stream, modalities, keep_s)
    except ValueError as error:
        expected = "one that holds the filter's bands and can be resampled"
        raise DataError(Path(home), "rate", f"{stream.fs:g} Hz", expected, str(error)) from error


def _check_names(trained: TrainedRun, used: Sequence[str], names: Mapping[str, str]) -> None:
    known = {channel for name in used for channel in trained.modalities[name].channels}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"`map`: found {' '.join(unknown)}, expected channels of the run: "
            f"{' '.join(sorted(known))}"
        )


def _check_modalities(trained: TrainedRun) -> None:
    """Refuse a run of modalities that no stream brings."""
    config = trained.config
    absent = [name for name in trained.modalities if name in FACE_TOKENS and name not in _FACES]
    if absent:
        raise ConfigError(
            f"`modalities`: found {', '.join(absent)}, expected of a face only "
            f"{', '.join(_FACES)}: pictures and texture do not come as a stream"
        )
    if "landmarks" in trained.modalities and config.face == "aligned":
        raise ConfigError(
            "`face=aligned`: the head's motion is taken out by the shape over a whole recording, "
            "which is not known live. Train with `face=raw`"
        )
    if DATASETS[config.dataset].open_file is not None:
        raise ConfigError(
            f"`dataset={config.dataset}`: its channels are derived from its own files "
            "(references), which no stream has"
        )
