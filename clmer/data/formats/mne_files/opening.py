"""Opens what MNE reads, with its warnings turned into notes, and its errors into their causes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clmer.data.formats.mne_files.brainvision import read_header
from clmer.data.formats.mne_files.epochs import EpochsFile, overlap_note
from clmer.data.formats.mne_files.gdf import read_gdf_header
from clmer.data.formats.mne_files.raw import ERRORS, HANDLED, MneFile, unreadable
from clmer.data.formats.mne_files.readers import READERS, reader_of, suffix_of
from clmer.errors import DataError


def open_mne(path: Path) -> MneFile:
    """Open a recording by its suffix (`READERS`).

    Raises:
        DataError: a damaged file, an epoched one, or one of another kind.
    """
    import mne  # its import takes about a second, which `clmer --help` need not wait for

    suffix = suffix_of(path)
    header = read_header(path) if READERS[suffix] == "read_raw_brainvision" else None
    name, options = reader_of(path)
    read: Callable[..., Any] = getattr(mne.io, name)
    with warnings.catch_warnings(record=True) as caught, mne.use_log_level("WARNING"):
        warnings.simplefilter("always")
        try:
            raw = read(path, **{"preload": False, "verbose": "WARNING", **options})
        except ERRORS as error:
            epochs = _epochs(path, str(error))
            if epochs is None:
                raise _refused(path, suffix, error) from error
            return EpochsFile(path, suffix, epochs, None, notes=overlap_note(path, epochs))
    if suffix == ".set":
        _check_fdt(path, raw)
    notes = []
    for warning in caught:
        text = str(warning.message)
        # A BrainVision header does not state the length: markers past the end tell a cut file.
        if "outside data range" in text and "Omitted" in text:
            raise DataError(
                path,
                "samples",
                f"{raw.n_times}, which end before the last markers",
                "samples up to the last marker",
                "The data file may be truncated: copy it again.",
            )
        if not HANDLED.search(text) and issubclass(warning.category, RuntimeWarning):
            notes.append(f"MNE warns: {' '.join(text.split()):.200}")
    gdf = read_gdf_header(path) if suffix == ".gdf" else None
    annotations = raw.annotations
    if suffix == ".set" and "boundary" in annotations.description:
        # What was cut out may be longer than what is left, where a recording's own marks end.
        annotations = mne.read_annotations(path)
    return MneFile(path, suffix, raw, annotations, header, gdf, tuple(dict.fromkeys(notes)))


def _epochs(path: Path, said: str) -> Any:
    """MNE's epochs, where that is why it refused a file as a recording; None otherwise.

    Raises:
        DataError: they are epochs, and cannot be read.
    """
    import mne

    trials = re.search(r"number of trials is (\d+)", said)
    try:
        if trials:
            return mne.read_epochs_eeglab(path, verbose="WARNING")
        if "No raw data" in said:
            return mne.read_epochs(path, proj=False, preload=False, verbose="WARNING")
    except ERRORS as error:
        if trials:
            raise DataError(
                path,
                "EEG.trials",
                f"{trials[1]} epochs, on which MNE gives up ({error})",
                "epochs, each with its event in EEG.epoch and EEG.event",
                "Give the data set from before the epochs were cut; start_s and stop_s, or "
                "`window_s`, cut it here.",
            ) from error
        if not str(error).startswith("Could not find e"):  # epochs, events: an average, an ICA
            raise unreadable(path, error) from error
    return None


def _check_fdt(path: Path, raw: Any) -> None:
    """Refuse an EEGLAB data file of another length than its header says."""
    count = len(raw.ch_names) * int(raw.n_times)
    for data in (Path(name) for name in raw.filenames if str(name).endswith(".fdt")):
        size = data.stat().st_size
        if size != 4 * count:
            raise DataError(
                data,
                "length",
                f"{size} bytes",
                f"{4 * count}: {len(raw.ch_names)} channels of {raw.n_times} samples, as in "
                f"{path.name}",
                f"It is truncated, or belongs to another .set: copy it again, with {path.name}.",
            )


def _refused(path: Path, suffix: str, error: Exception) -> DataError:
    """The real cause, where it is known."""
    text = str(error)
    if suffix == ".set" and isinstance(error, AttributeError) and "'get'" in text:
        return DataError(
            path,
            "EEG.chaninfo",
            "an empty one, which MNE cannot read",
            "a structure",
            "In EEGLAB: EEG.chaninfo = struct('nosedir', '+X'); then save the data set again.",
        )
    if suffix == ".lay" and re.search("NoneType|'(sex|hand)'|birth", text):
        return DataError(
            path,
            "[Patient]",
            f"nothing where MNE wants something ({text})",
            "the lines BirthDate=//, Sex= and Hand=, with what is known",
            "Add them: the .lay is a text file.",
        )
    if "No raw data" in text:
        return DataError(
            path,
            "file",
            "no recording in it, but an average, an ICA or the like",
            "raw data or epochs",
            "Give the file that it was made of (MNE: raw.save, epochs.save).",
        )
    if "Split raw file" in text:
        hint = "Copy all parts beside it, under the names that they had."
        return DataError(path, "split file", f"{text:.200}", "all its parts", hint)
    if ".fdt" in text and isinstance(error, OSError):
        return DataError(
            path, "EEG.data", text[:200], "the .fdt file beside it", "Copy both, under one name."
        )
    package = re.search(r"the module (\w+) is needed", text)
    if package:
        name = package[1]
        return DataError(path, "package", f"no {name}", name, f"pip install {name}")
    return unreadable(path, error)
