"""EEG During Mental Arithmetic Tasks 1.0.0 (PhysioNet, Zyma et al. 2019): rest against arithmetic.

    <root>/Subject00_1.edf      rest, about three minutes, always recorded first
    <root>/Subject00_2.edf      mental arithmetic, one minute

Two modalities at 500 Hz in uV: "eeg", 19 channels of the 10-20 system, and "ecg". The task is
workload, not emotion, and each person has one recording per class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.biosignal_file import BiosignalFile
from clmer.data.recording import Recording
from clmer.errors import DataError

EEG_CHANNELS = tuple("Fp1 Fp2 F3 F4 F7 F8 T3 T4 C3 C4 T5 T6 P3 P4 O1 O2 Fz Cz Pz".split())
ECG_CHANNELS = ("ECG",)
STATES = {"1": "rest", "2": "arithmetic"}

#: Pass bands in Hz by signal type.
BAND: dict[str, tuple[float | None, float | None] | None] = {"eeg": (1.0, 45.0), "ecg": (0.5, 40.0)}

NOTES = ("The channel A2-A1, the difference of the two ear references, is not used.",)

OBTAIN = """\
EEG During Mental Arithmetic Tasks is open (ODC-By 1.0): https://physionet.org/content/eegmat/1.0.0/.
Download the .edf files into one folder:
  wget -r -N -c -np -nd -A edf https://physionet.org/files/eegmat/1.0.0/"""
TITLE = (
    "EEG During Mental Arithmetic Tasks 1.0.0, PhysioNet, "
    "https://physionet.org/content/eegmat/1.0.0/"
)
TERMS = (
    "Open Data Commons Attribution License 1.0 (ODC-By 1.0): free to use and to pass on where the "
    "source is named."
)

_NAME = re.compile(r"Subject(\d+)_([12])\.edf")


def sources(root: Path) -> list[Path]:
    """The EDF files, sorted.

    Raises:
        DataError: `root` holds none, or a person lacks one of the two recordings.
    """
    names = [p.name for p in root.iterdir()] if root.is_dir() else []
    files = sorted(name for name in names if _NAME.fullmatch(name))
    if not files:
        raise DataError(
            root,
            "SubjectNN_1.edf, SubjectNN_2.edf",
            "none" if root.is_dir() else "no such folder",
            "the recordings of EEG During Mental Arithmetic Tasks",
            "Give the folder that holds them with `root`.",
        )
    for name in files:
        other = re.sub(r"_[12]\.", "_2." if "_1." in name else "_1.", name)
        if other not in files:
            raise DataError(
                root / other,
                "file",
                f"nothing, beside {name}",
                "both recordings of every person",
                f"Add it, or move {name} away.",
            )
    return [root / name for name in files]


def read(root: Path, *, face: bool = True) -> Iterator[Recording]:
    """Recordings person by person, rest first; one recording in memory.

    Args:
        root: the folder laid out as above.
        face: accepted as by every reader; this data set has no faces.

    Raises:
        DataError: an EDF lacks a channel, is truncated, or has another sampling rate than the rest.
    """
    first: BiosignalFile | None = None
    for path in sources(root):
        file = open_biosignal(path)
        first = first or file
        _check(file, first)
        subject, trial = path.stem.split("_")
        yield Recording(
            subject=subject,
            trial=trial,
            stimulus=STATES[trial],
            group=subject,
            labels={"label": STATES[trial]},
            signals={"eeg": file.signal(EEG_CHANNELS), "ecg": file.signal(ECG_CHANNELS)},
            source=path,
        )


def _check(file: BiosignalFile, first: BiosignalFile) -> None:
    missing = [name for name in (*EEG_CHANNELS, *ECG_CHANNELS) if name not in file.channels]
    if missing:
        raise DataError(
            file.path,
            "channels",
            f"no {', '.join(missing)}",
            f"the {len(EEG_CHANNELS)} EEG channels {' '.join(EEG_CHANNELS)} and ECG",
            "Download the file again.",
        )
    rates = {rate for name, rate in zip(file.channels, file.rates, strict=True) if name != "A2-A1"}
    if rates != {first.fs}:
        raise DataError(
            file.path,
            "sampling rate",
            f"{' and '.join(f'{rate:g}' for rate in sorted(rates))} Hz",
            f"{first.fs:g} Hz as in {first.path.name}",
            "Download the file again.",
        )
