"""What a channel is: its type by the file, by its name or by its unit. One table for all readers.

Types are decided in this order (`typed`):

1. by the file, where it says more than "EEG" (BIDS' channels.tsv, FIF, EEGLAB, a label's prefix);
2. by the name: 10-20 and 10-5 positions, alone, against a reference, or after "EEG"; the words for
   ECG, EOG, EMG, skin conductance, breathing, pulse, temperature, motion; and those for what is no
   signal of a body: triggers and whatever else tells the class, counters, time, battery, quality;
3. by the file again, where it says "EEG", or gives the channel a place on the scalp;
4. by the unit;
5. a voltage of unknown name is EEG where no channel of the file is known to be.

What is left is "unknown": nothing takes it unless it is asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from clmer.data import units
from clmer.data.recording import KINDS
from clmer.text import closest, folded

#: Types that no modality takes: channels that carry no signal of a body.
SERVICE = ("trigger", "ref", "counter", "time", "battery", "quality", "derived", "meg", "unknown")
#: The quantity of a type's samples; other types may be of any.
QUANTITY = {
    **dict.fromkeys(("eeg", "ieeg", "eog", "emg", "ecg"), "voltage"),
    "gsr": "conductance",
    "temp": "temperature",
}

#: What else a type's sensors may measure, beside numbers without a unit.
_ALSO = {"gsr": ("resistance", "voltage"), "temp": ("voltage", "resistance")}

_FRONT_TO_BACK = (
    "Fp|AFp|AF|AFF|F|FFT|FFC|FT|FC|FTT|FCC|T|TTP|C|CCP|TP|CP|TPP|CPP|P|PPO|PO|POO|O|OI|I|N|Cb|A|M"
)
_POSITION = re.compile(rf"(?:{_FRONT_TO_BACK})(?:z|10|[1-9])h?", re.IGNORECASE)
#: Prefixes of a position: "EEG Fp1", "EEG_Fp1", "POL Fp1", "RAW_TP9".
_PREFIX = re.compile(r"^(?:EEG[ _.:/-]*|(?:POL|RAW)[ _.:/-]+)(?=.)", re.IGNORECASE)
#: Suffixes of a position: a reference or a ground.
_REFERENCE = re.compile(
    r"[ _]*[-/:_][ _]*(?:EEG )?(?:REF\w*|LE|RE|AR|AVG?|AVE|AVERAGE|CAR|LINKED\w*|A1A2|A1\+A2|M1M2|"
    r"M1\+M2|A1|A2|M1|M2|AA|LER|CLE|ORG|G\d+|GND|CMS|VREF|NOSE|Cz)",
    re.IGNORECASE,
)
#: What is no part of it: PhysioNet's dots ("Fc5."), a unit in brackets, the number of a namesake.
_TAIL = re.compile(r"\.+$|\s*[([](?:uV|mV|V|[\u00b5\u03bc]V)[)\]]$", re.IGNORECASE)
_NAMESAKE = re.compile(r"-\d+$")
#: Words whose meaning in a name is another than alone: a skin response is no answer.
_OTHERWISE = re.compile(
    r"(skin ?|galvanic ?|dermal ?|conductance ?|resistance ?|gsr ?|eda ?)response|"
    r"index ?(?=finger|left|right)"
)
_EARS = re.compile(r"[AM][12]", re.IGNORECASE)
_OLD_NAMES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
#: EDF+'s way to name a type in a label; taken off what is shown, as MNE does.
_TYPE_PREFIX = re.compile(r"(EEG|SEEG|ECOG|DBS|ECG|EKG|EOG|EMG|GSR) +(?=\S)", re.IGNORECASE)
#: Electrodes of a BioSemi cap that were not renamed: A1 ... H32. A few alone may be anything.
_BIOSEMI = re.compile(r"[A-H](?:[1-9]|[12]\d|3[0-2])")
_EGI = re.compile(r"E\d{1,3}")
_MANY = 8

#: Types by words in a name, the first that fits; what tells the class comes before everything.
_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "quality",
        (
            r"\b[ce]q\b|imped|quality|rssi|headband|interpolated|raw ?cq|lead ?off|signal str|"
            r"poor ?signal",
        ),
    ),
    (
        "derived",
        (
            r"\b(delta|theta|alpha|beta|gamma)\b|heart ?rate|\b[hp]r\b|\bbpm\b|\bibi\b",
            r"pulse ?rate|\brr ?int|spindle|attention|meditation|concentration|mellow|\bh r\b",
            r"(breath|breathing|resp|respiration|respiratory) ?rate|engagement|excitement",
        ),
    ),
    (
        "trigger",
        (
            r"trig|status|marker|event|\bsti ?\d*\b|stim|\bttl|\bdins? ?\d*\b|photic",
            r"\bdigi?\b|digital|\bgpio|\bbnc|\bbits?\b",
            r"\btrg|\bmarks?\b|\bmark ?\d|\bmrks?|\bmkr?s?\b|\bevts?\b|\bd25[45]\b|\blpt|parallel",
            r"\bsync|annot|\bann\b|comment|button|response|\bdc ?\d+|photo ?(diode|sens|cell)",
            r"\bphoto ?\d*\b|diode|light ?sens|flash|\bopto|\bswitch|\bkeys?\b|key ?(b|pr)",
            r"\bmic\b|microph|audio|sound|label|\bclass|target|condition|trial|epoch|stage|hypno",
            r"valence|arousal|emotion|rating|feedback|\bcode|\btask|\bcue|\bphase\b",
            r"\bscores?\b|slider",
            r"\bvideo|\bmovie|\bfilm\b|\banswer|\bsubj(ect)?\b|\bblock\b|\brun\b|\bcond\b",
        ),
    ),
    ("time", (r"time|\bclock|unix|\bdate\b|\butc\b|elapsed",)),
    (
        "counter",
        (
            r"counter|sample|\bn?seq\b|packet|package|frame ?n|\bframe\b|index|\brow\b",
            r"\bcount\b|\bcnt\b|\bnum(ber)?\b|^no$",
        ),
    ),
    ("battery", (r"batt|\bv ?bat\b|^bat$",)),
    (
        "ref",
        (
            r"\bref ?\d*\b|reference|\bgnd",
            r"ground|\bcms\b|\bdrl\b|\bvref|\bbias\b|^common|\bcomref",
        ),
    ),
    ("eog", (r"eog|\bloc\b|\broc\b|ocul|\be[12] ?(m[12]|a[12])\b",)),
    (
        "emg",
        (
            r"emg|\bchin|submental|corrugator|zygo|trapez|\b[lr]at ?\d?\b|tibial|masseter",
            r"\b[lr]?legs?\b",
        ),
    ),
    ("ecg", (r"ecg|ekg|cardiogr|\bav[rlf]\b|\blead ?(i{1,3}|av[rlf]|v[1-6])\b",)),
    (
        "gsr",
        (r"gsr|\beda|galvan|skin ?(cond|res|imp)|electroderm|conductance|\bsc[lr]\b|\bskc\b",),
    ),
    ("ppg", (r"ppg|bvp|plet|photopl|blood ?vol|\bpulse ?(wave|ox)?\b",)),
    (
        "resp",
        (
            r"\bresp ?\d*\b|respir|\brsp|breath|thorax|\bthor?\b|abdom|\babdo?\b|airflow|\bflow\b",
            r"nasal|\brip\b|pneumo|\bchest|\bbelt|cannula|\beffort|\bptaf|\bair\b",
        ),
    ),
    ("temp", (r"\btemp\b|temperature|\bskt\b|thermi|\btemp ?\d",)),
    ("gyro", (r"gyr",)),
    ("magn", (r"magnet|\bmag ?[xyz]\b|\bmagn",)),
    ("acc", (r"\bacc|accel|\bmotion ?[xyz]\b|\bmot\b",)),
    ("other", (r"spo2|sao2|oxy|\bosat|pupil|gaze",)),
)
_TYPE_OF_WORD = [(kind, re.compile("|".join(patterns))) for kind, patterns in _WORDS]
_TYPE_OF_QUANTITY = {
    "conductance": "gsr",
    "resistance": "gsr",
    "temperature": "temp",
    "acceleration": "acc",
    "rotation": "gyro",
    "field": "magn",
    "rate": "derived",
    "ratio": "other",
}
#: A modality by another of its type's names.
_ALIASES = {
    **{
        "ekg": "ecg",
        "eda": "gsr",
        "scl": "gsr",
        "scr": "gsr",
        "bvp": "ppg",
        "rsp": "resp",
        "respiration": "resp",
    },
    **{"temperature": "temp", "skt": "temp", "accelerometer": "acc", "accel": "acc"},
}


@dataclass(frozen=True)
class Channel:
    """One channel of a file.

    Args:
        name: as in the file, without a type's prefix ("EEG ").
        kind: its type, out of `KINDS` or `SERVICE`.
        unit: as the file spells it; "" where it does not say.
        fs: samples per second.
        bad: whether the file marks it as bad.
        guessed: whether neither name nor file tell its type, so that a stated one counts.
    """

    name: str
    kind: str
    unit: str = ""
    fs: float = 0.0
    bad: bool = False
    guessed: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({'bad' if self.bad else self.kind})"

    def of_kind(self, kind: str) -> Channel:
        """The same as another type."""
        return replace(self, kind=kind, guessed=False)

    def in_unit(self, unit: str) -> Channel:
        """The same in another unit."""
        return replace(self, unit=unit)


def plain_name(label: str) -> tuple[str, str]:
    """A label without the type before it, and that type's own word ("" where there is none)."""
    match = _TYPE_PREFIX.match(label.strip())
    return (label.strip()[match.end() :], match[1].lower()) if match else (label.strip(), "")


@lru_cache(maxsize=4096)  # of a data set's few names, asked for with every recording
def canonical(name: str) -> str:
    """What two names of one electrode share: "EEG Fp1-REF" and "FP1", "T3" and "T7"."""
    bare = _PREFIX.sub("", _TAIL.sub("", plain_name(name)[0]), count=1)
    end = _REFERENCE.search(bare)
    if end and end.end() == len(bare) and not _EARS.fullmatch(bare[: end.start()].strip()):
        bare = bare[: end.start()] or bare
    key = re.sub(r"[\s_.]+", "", bare).lower()
    return _OLD_NAMES.get(key, key)


def kind_of_name(name: str) -> str:
    """The type that a name tells, out of `KINDS` and `SERVICE`; "unknown" where it tells none."""
    bare, said = plain_name(name)
    bare = _TAIL.sub("", bare)
    said = {"ekg": "ecg", "seeg": "ieeg", "ecog": "ieeg", "dbs": "ieeg"}.get(said, said)
    by_place = _by_position(bare) or _by_position(_NAMESAKE.sub("", bare))
    if by_place and said in ("", "eeg"):
        return by_place
    whole, referred = _spaced(bare), _spaced(_without_reference(bare))
    for kind, pattern in _TYPE_OF_WORD:
        if any(pattern.search(words) for words in (referred if kind == "ref" else whole)):
            return kind
    if said:
        return said
    if re.search(r"(?<![a-z])eeg(?![a-z])", bare, re.IGNORECASE):
        return "eeg"
    return "unknown"


def _by_position(name: str) -> str:
    """The type "eeg" for a 10-5 position or the difference of two; "ref" for that of two ears."""
    bare = _PREFIX.sub("", name, count=1)
    parts = [part.strip() for part in re.split(r"[-/:]| (?=[AM][12]$)", bare)]
    if len(parts) == 1 or not all(_POSITION.fullmatch(part) for part in parts):
        parts = [_without_reference(bare)]
    if len(parts) > 2 or not all(_POSITION.fullmatch(part) for part in parts):
        return ""
    return "ref" if len(parts) == 2 and all(_EARS.fullmatch(part) for part in parts) else "eeg"


def _without_reference(name: str) -> str:
    """A name without the reference behind it, unless nothing but "EEG" stands before that."""
    found = re.fullmatch(rf"(.*?){_REFERENCE.pattern}", name, re.IGNORECASE)
    rest = found[1].strip() if found else ""
    return name if rest.lower() in ("", "eeg") else rest


def _spaced(name: str) -> tuple[str, str]:
    """A name in lower case, as it is and with spaces where words meet ("SampleIndex", "AccX")."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", name)
    plain, apart = (re.sub(r"[^a-z0-9]+", " ", text.lower()).strip() for text in (name, apart))
    return _OTHERWISE.sub(_plainly, plain), _OTHERWISE.sub(_plainly, apart)


def _plainly(found: re.Match[str]) -> str:
    return f"{found[1]}conductance" if found[1] else ""


def typed(
    labels: Sequence[str],
    *,
    told: Sequence[str] | None = None,
    spelt_units: Sequence[str] | None = None,
    placed: Sequence[bool] | None = None,
    sure: Sequence[bool] | None = None,
) -> tuple[list[str], list[bool]]:
    """The type of each of a file's channels, out of `KINDS` and `SERVICE`, and which are guessed.

    Args:
        labels: as in the file.
        told: what the file says of each; "" where it says nothing, "unknown" where a name of which
            nothing is known is no EEG. "eeg" is what most writers put where they do not know, so
            that a name that tells otherwise counts more.
        spelt_units: the unit of each; "" where the file does not say.
        placed: whether the file gives each a place on the scalp.
        sure: whether somebody wrote the type by hand, so that it counts more than the name.
    """
    count = len(labels)
    told = told or [""] * count
    quantities = [unit and unit.quantity for unit in map(units.parse, spelt_units or [""] * count)]
    placed, sure = placed or [False] * count, sure or [False] * count
    names = [plain_name(label)[0] for label in labels]
    caps = [p for p in (_BIOSEMI, _EGI) if sum(bool(p.fullmatch(n)) for n in names) >= _MANY]
    kinds, guessed = [], []
    for i, label in enumerate(labels):
        kind = kind_of_name(label)
        if kind in ("unknown", "eog") and any(p.fullmatch(names[i]) for p in caps):
            kind = "eeg"
        if told[i] and (sure[i] or told[i] != "eeg"):
            kind = told[i]
        elif kind == "unknown" and (told[i] == "eeg" or placed[i]):
            kind = "eeg"
        guessed.append(kind == "unknown")
        if kind == "unknown":
            kind = _TYPE_OF_QUANTITY.get(quantities[i] or "", "unknown")
        if QUANTITY.get(kind) == "voltage" and not (told[i] and sure[i]):
            # "T1" in degC is no electrode.
            kind = _TYPE_OF_QUANTITY.get(quantities[i] or "", kind)
        kinds.append(kind)
    # "CP5" in "BS" beside thirty channels in uV: whatever it is, it is no EEG in a known unit. If
    # no voltage has a known unit, reading one is an error.
    if any(q == "voltage" for q in quantities):
        spelt = spelt_units or [""] * count
        odd = [bool(unit.strip()) and q is None for unit, q in zip(spelt, quantities, strict=True)]
        kinds = [
            "unknown" if strange and QUANTITY.get(kind) == "voltage" else kind
            for kind, strange in zip(kinds, odd, strict=True)
        ]
    if "eeg" not in kinds and "ieeg" not in kinds:
        # EDF, BDF and BrainVision without a unit are in uV more often than not; what reads the
        # samples asks for the unit itself.
        kinds = [
            "eeg"
            if k == "unknown" and q in ("voltage", None) and _may_be_eeg(name) and not t
            else k
            for k, q, name, t in zip(kinds, quantities, names, told, strict=True)
        ]
    return kinds, guessed


def _may_be_eeg(name: str) -> bool:
    return (
        re.fullmatch(r"[\W\d_]*(aux|user|unused|n/?c|none|null|empty|off)[\W\d_]*", name, re.I)
        is None
    )


def as_kind(name: str) -> str:
    """The type that a modality's name means ("EEG", "EDA" -> "eeg", "gsr"); "" for a free name."""
    key = folded(name)
    key = _ALIASES.get(key, key)
    return key if key in KINDS else ""


def find(wanted: str, names: Sequence[str]) -> int | None:
    """The place of a channel by name: as written, else whatever its case, prefix, or reference.

    T3 and T7 (T4, T8; T5, P7; T6, P8) are one electrode.

    Raises:
        LookupError: several channels fit equally well.
    """
    for key in (str, str.lower, canonical):
        found = [i for i, name in enumerate(names) if key(name) == key(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise LookupError(f"{wanted} fits {' and '.join(names[i] for i in found)}")
    return None


def near(wanted: str, names: Sequence[str]) -> str:
    """A question such as "Did you mean Fp1?" for a name that is not there; "" if none is near."""
    keys = {canonical(name): name for name in reversed(names)}
    found = closest(canonical(wanted), keys)
    return f"Did you mean {keys[found]}?" if found else ""


def fits(kind: str, quantity: str) -> bool:
    """Whether samples of a type can be of a quantity."""
    need = QUANTITY.get(kind)
    return need in (None, quantity) or quantity in _ALSO.get(kind, ())


def unique(names: Sequence[str]) -> list[str]:
    """Names with running numbers behind those that occur more than once, as MNE numbers them."""
    counts = {name: 0 for name in names}
    out = []
    for name in names:
        several = list(names).count(name) > 1
        out.append(f"{name}-{counts[name]}" if several else name)
        counts[name] += 1
    return out


def listed(channels: Sequence[Channel], most: int = 12) -> str:
    """Channels with their types, for a message: "Fp1, Fp2 (eeg); ECG (ecg)"."""
    by_kind: dict[str, list[str]] = {}
    for channel in channels:
        by_kind.setdefault(channel.kind, []).append(channel.name)
    parts = []
    for kind, names in by_kind.items():
        more = f" and {len(names) - most} more" if len(names) > most else ""
        parts.append(f"{', '.join(names[:most])}{more} ({kind})")
    return "; ".join(parts)


def renamed(channels: Sequence[Channel]) -> list[Channel]:
    """Channels under unique names."""
    names = unique([channel.name for channel in channels])
    return [replace(c, name=name) for c, name in zip(channels, names, strict=True)]
