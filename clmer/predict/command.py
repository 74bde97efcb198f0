"""`clmer predict`: recordings in, tables and a picture out."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.manifest import table as manifest_table
from clmer.data.store.windowing import WindowedRecording
from clmer.errors import ConfigError, DataError
from clmer.options import in_flags
from clmer.pipeline.options.reference import ALL
from clmer.pipeline.reference import LEAST, GivenReference
from clmer.pipeline.reference_rows import check_given, how_to_record
from clmer.pipeline.run.load import load
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.share.hub import local_folder
from clmer.predict import (
    files_of,
    notes,
    read_recording,
    recordings_of,
    windows_of,
    with_face,
)
from clmer.predict.known import training_notes
from clmer.predict.model import choose_model
from clmer.predict.said import Said, in_a_line, recordings_csv, windows_csv
from clmer.storage import write_file
from clmer.streams import is_nowhere
from clmer.text import wrapped


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
    model: str | None,
    reference: Sequence[str],
    out: str,
    device: str,
    flags: Mapping[str, str],
) -> int:
    """Predict recordings, write the tables and the picture, and say what each comes to.

    `flags` are the options' names on the command line, for what is printed.

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
    folder = local_folder(run)
    name, lines = choose_model(folder, model)
    trained = load(folder, split, device, name)
    check_given(trained.config.reference, (ALL if ALL in reference else {}) if reference else None)
    given = Given(rate, unit, face_start, face_rate, face_id)
    said = []
    for files in recordings_of(recording, trained.modalities, face):
        windows = given.windows(trained, files, face)
        known, remarks = given.reference(trained, reference, windows, face)
        ask = trained.predict_proba if trained.classes else trained.predict
        values = ask(windows.arrays, reference=known)
        title = str(windows.recording.source)
        config = trained.config
        step_s = min(config.window_s or math.inf, config.stride_s or math.inf)
        said.append(Said(title, windows.start_s, step_s, values, trained.classes))
        lines += [*notes(trained, windows), *remarks]
        lines += training_notes(trained, windows.recording.files.values())
    _say(dict.fromkeys(lines), flags)
    written = _write(out, said)
    _say([*map(in_a_line, said), *written], flags)
    return 0


def _say(lines: Iterable[str], flags: Mapping[str, str]) -> None:
    """Print lines for a person, beside the table on standard output."""
    for line in lines:
        print(wrapped(in_flags(line, flags), rest="  "), file=sys.stderr)


def _write(out: str, said: Sequence[Said]) -> list[str]:
    """The windows' table, and beside a .csv the recordings' table and the picture; what is where.

    Raises:
        DataError: a file cannot be written, or standard output takes no such names.
    """
    table = windows_csv(said)
    if out == "-":
        _check_encoding(table)
        sys.stdout.write(table)
        return []
    path = Path(out)
    write_file(path, table.encode())
    if path.suffix.lower() != ".csv":
        return []
    from clmer.predict.picture import timeline_png  # matplotlib, which no other output needs

    recordings, picture = path.with_name(f"{path.stem}-recordings.csv"), path.with_suffix(".png")
    write_file(recordings, recordings_csv(said).encode())
    write_file(picture, timeline_png(said))
    return [
        f"{path}: a row per window",
        f"{recordings}: a row per recording, its class by mean probability",
        f"{picture}: what was said over time",
    ]


class KnownStretch(NamedTuple):
    """A known stretch of a person's recording.

    Args:
        windows: [N, C, T] by modality.
        start_s: [N] seconds of the recording.
        is_of_these_files: whether it is of the files that are asked about.
        said: what to say of it.
    """

    windows: dict[str, np.ndarray]
    start_s: np.ndarray
    is_of_these_files: bool
    said: str


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
        stretch = self.stretch(trained, words, predicted.recording.files, face)
        lines = [stretch.said]
        if stretch.is_of_these_files:
            length = trained.config.window_s or 0.0
            gaps = np.abs(predicted.start_s[:, None] - stretch.start_s).min(1)
            count = int((gaps < length - 1e-6).sum())
            lines.append(f"note: {count} windows of the table overlap the reference")
        return stretch.windows, lines

    def stretch(
        self,
        trained: TrainedRun,
        words: Sequence[str],
        recorded: Mapping[str, Path],
        face: str | None,
    ) -> KnownStretch:
        """The windows of a known stretch.

        Args:
            trained: the run.
            words: [NAME=]FILE[:START-STOP] of each modality, face=CSV of the face.
            recorded: the files that are asked about, none in a session.
            face: their face, which is the stretch's too where that is of the same files.

        Raises:
            ConfigError: words that do not fit the run.
            DataError: a file that cannot be read, or has too few windows.
        """
        names, spans = zip(*map(_named_span, words), strict=True)
        faces = [name.removeprefix("face=") for name in names if name.startswith("face=")]
        signals = [name for name in names if not name.startswith("face=")]
        files = files_of(signals, trained.modalities)
        same = bool(recorded) and all(path == recorded.get(name) for name, path in files.items())
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
        windows = {name: array[inside] for name, array in found.arrays.items()}
        said = f"read against {inside.sum()} windows of {' '.join(words)}"
        return KnownStretch(windows, found.start_s[inside], same, said)


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
