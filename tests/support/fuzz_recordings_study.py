"""What a drawn study is made of: files with their channels, faces, and a manifest's rows.

`fuzz_recordings_drawn.py` draws them, `fuzz_recordings_written.py` writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

#: Formats by suffix; in the first two, each channel has its own rate.
FORMATS = ("edf", "bdf", "vhdr", "set", "fif")
ELECTRODES = (
    *(
        "Fp1",
        "Fp2",
        "AF3",
        "F7",
        "F3",
        "Fz",
        "F4",
        "F8",
        "FC5",
        "T7",
        "C3",
        "Cz",
        "C4",
        "T8",
        "CP6",
    ),
    *("P7", "P3", "Pz", "P4", "P8", "PO4", "O1", "Oz", "O2", "TP9", "FT10", "AFF5h", "Fp1-F3"),
)
OLD = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
#: Names that tell no type.
NAMELESS = ("foo", "bar", "Ch 1", "Ch 2", "X3", "chan7", "S4", "elec 9", "22", "probe")
#: What no modality takes, whatever its unit is.
SERVICE = (
    *("Status", "Trigger", "TRIG", "STI 014", "Marker", "Event", "Sample Index", "COUNTER", "TTL"),
    *("TIMESTAMP", "Time", "Battery", "REF", "A1-A2", "GND", "Quality", "Photic", "DC01", "A2-A1"),
)
#: Names of each type; one is drawn for a study.
NAMES = {
    "ecg": ("ECG", "EKG", "ECG1", "Lead II"),
    "eog": ("EOG", "HEOG", "VEOG", "EOG left"),
    "emg": ("EMG", "EMG chin", "zygomaticus"),
    "gsr": ("GSR", "EDA", "Skin conductance"),
    "resp": ("Resp", "Respiration", "RSP", "Thorax"),
    "temp": ("Temp", "Temperature", "SKT"),
    "ppg": ("PPG", "BVP", "Pleth"),
    "acc": ("AccX", "Accel Z", "ACC_Y"),
}
VOLTAGES = ("eeg", "ecg", "eog", "emg")
MICROVOLT = {"uV": 1.0, "\u00b5V": 1.0, "\u03bcV": 1.0, "mV": 1e3, "V": 1e6, "nV": 1e-3}
#: Spellings -> our unit, and how many of ours one of theirs is.
UNITS: dict[str, dict[str, tuple[str, float]]] = {
    **{kind: {spelt: ("uV", by) for spelt, by in MICROVOLT.items()} for kind in VOLTAGES},
    "gsr": {"uS": ("uS", 1.0), "\u00b5S": ("uS", 1.0), "nS": ("uS", 1e-3), "mS": ("uS", 1e3)},
    "resp": {"": ("", 1.0), "mV": ("uV", 1e3), "%": ("%", 1.0)},
    "temp": {"degC": ("degC", 1.0), "C": ("degC", 1.0), "Celsius": ("degC", 1.0)},
    "ppg": {"": ("", 1.0), "a.u.": ("", 1.0)},
    "acc": {"g": ("g", 1.0), "mg": ("g", 1e-3), "m/s^2": ("g", 1 / 9.80665)},
}
ALIASES = {"gsr": "EDA", "ppg": "BVP", "ecg": "EKG", "resp": "respiration", "eeg": "EEG"}
RATES = tuple(map(Fraction, (32, 50, 64, 100, 125, 128, 129, 200, 250, 256, 300, 500, 512)))
ODD_RATES = (Fraction(256, 5), Fraction(1024, 5), Fraction(32002, 125))
RECORDS = {"0.1": Fraction(1, 10), "0.5": Fraction(1, 2), "1": Fraction(1), "2": Fraction(2)}
RECORDS |= {"0.333333": Fraction(1, 3), "0.25": Fraction(1, 4)}


@dataclass(frozen=True)
class Line:
    """A channel of a file.

    Args:
        who: what it is, by whatever name: recordings of a modality have the same ones.
        kind: its true type; "none" for what no modality takes.
        label: its name in the file.
        unit: as spelt there.
        ours: the unit that it comes in.
        factor: how many of ours one of the file's is.
        rate: samples per second.
        told: the type that the file states; "" where it states none, "?" where it must not.
        bad: whether the file marks it as bad.
    """

    who: str
    kind: str
    label: str
    unit: str
    ours: str
    factor: float
    rate: Fraction
    told: str = ""
    bad: bool = False


@dataclass(frozen=True)
class File:
    """A recording.

    Args:
        format: one of `FORMATS`.
        lines: its channels.
        seconds: of samples, without pauses.
        pauses: (seconds of samples before it, its length in s), in order. EDF+D, BDF+D and EEGLAB
            know the length; where it is 0, the clock counts samples.
        bad: (start, stop, text) in s on the file's clock.
        record: length of an EDF's record as its header spells it.
        table: whether BIDS' channels.tsv lies beside it.
        option: a number from which the writer takes further choices.
        seed: of the samples.
    """

    format: str
    lines: tuple[Line, ...]
    seconds: Fraction
    pauses: tuple[tuple[Fraction, Fraction], ...]
    bad: tuple[tuple[Fraction, Fraction, str], ...]
    record: str
    table: bool
    option: int
    seed: int

    @property
    def duration(self) -> Fraction:
        """Pauses included."""
        return self.seconds + sum(gap for _, gap in self.pauses)


@dataclass(frozen=True)
class Face:
    """A face tracker's table: frames per second, seconds, uneven times or not, lost frames."""

    fps: int
    seconds: int
    uneven: bool
    lost: tuple[tuple[int, int], ...]  # first frame, count
    seed: int


@dataclass(frozen=True)
class Row:
    """A row of the manifest; `file` is a key of the study's files or faces."""

    subject: str
    trial: str
    modality: str
    file: str
    start: str = ""
    stop: str = ""
    channels: tuple[str, ...] = ()
    kind: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Study:
    """A folder with a manifest, and how it is prepared."""

    files: dict[str, File]
    faces: dict[str, Face]
    rows: tuple[Row, ...]
    labels: dict[tuple[str, str], tuple[str, str]]
    window_s: float
    stride_s: float
    filter: str
    gaze: bool
