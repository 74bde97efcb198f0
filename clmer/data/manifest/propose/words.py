"""The words of file names: people's letters, trials' words, classes and devices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from clmer.data.channels import as_kind
from clmer.text import folded

#: Letters before a person's number, the surest first: "s" may be a session, "part" a part.
PEOPLE = tuple(
    "sub subj subject participant proband person patient user teilnehmer sujet vp vpn pid ppt pp "
    "p id s part".split()
)
#: Words before a trial's number.
TRIALS = frozenset(
    "ses sess session day visit run trial tr t take rep repetition block clip video vid v stim "
    "stimulus movie film seg segment epoch".split()
)
#: Words before a class.
CLASSES = frozenset("task cond condition emo emotion label class state mood".split())
#: What a file holds or what recorded it: neither person nor trial.
_DEVICES = frozenset(
    "eeg ecg ekg gsr eda bvp ppg resp temp acc gyro magn emg eog ieeg hr ibi tags physio "
    "physiology signal signals face faces facial openface pyfeat feat mediapipe video videos "
    "cam camera webcam au aus landmarks emotiv epoc muse openbci shimmer empatica e4 polar h10 "
    "biopac bitalino opensignals data recording recordings rec record export exports csv edf "
    "bdf features output out results openvibe lsl beh phys anat files".split()
)
#: What was done to a file: two of them may be one recording.
VERSIONS = frozenset(
    "raw filtered filt clean cleaned preprocessed preproc processed ica orig original old new copy "
    "backup final".split()
)
#: Parts of a recording by which people are known.
REST = frozenset(
    "rest resting restingstate baseline base bl neutral ruhe eyesopen eyesclosed".split()
)
EMOTIONS = REST | frozenset(
    "happy happiness sad sadness angry anger fear fearful afraid scared disgust disgusted "
    "surprise surprised calm relax relaxed relaxation joy joyful amusement amused funny tender "
    "tenderness contempt bored boredom excited excitement stress stressed positive negative pos "
    "neg content contentment love anxious anxiety pain awe pride excitement frustration "
    "frustrated arithmetic math mental meditation stroop high low hvha hvla lvha lvla freude "
    "trauer wut angst ekel".split()
)
#: Words for groups of people, each of which may number its own.
GROUPS = frozenset(
    "patients patient controls control ctrl healthy hc depressed depression mdd asd autism td adhd "
    "ptsd schizophrenia sz group grp cohort arm site center centre clinic hospital lab labor uni "
    "university country city male males female females men women young old older elderly adults "
    "adult children kids students experts novices treatment placebo gruppe patienten kontrollen "
    "kontrolle gesunde".split()
)
#: Words for times at which the same people come again.
AGAIN = frozenset(
    "pre post before after morning afternoon evening night followup first second third part1 part2 "
    "week month mon tue wed thu fri sat sun left right train test".split()
)
_DATE = re.compile(
    r"(?<!\d)(19|20)\d\d([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
    r"([T _-]?([01]\d|2[0-3])[-_.:h]?[0-5]\d([-_.:m]?[0-5]\d)?)?(?!\d)"
)
#: A person's letters, and their number after a space: "Sub_01".
_APART = re.compile(
    rf"(?<![^\W_])({'|'.join(sorted(PEOPLE, key=len, reverse=True))})[ _]+(\d+)(?![^\W_])",
    re.IGNORECASE,
)
#: A piece of a name in camel case.
_HUMP = re.compile(r"[A-Z]?[^\W\d_A-Z]+\d*|[A-Z]+\d*|\d+")
_RATE = re.compile(r"(?<![A-Za-z\d])(\d+) ?hz(?![A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Word:
    """A word of a name.

    Args:
        text: as written, "P01".
        key: its letters before a number, in lower case, "p"; all of it where it has no number.
        value: the number without leading zeros, "1"; "" where it has none.
    """

    text: str
    key: str
    value: str

    @property
    def id(self) -> str:
        """What two spellings of it share."""
        return self.key + self.value

    @property
    def is_group(self) -> bool:
        """Whether it tells a group of people: "patients", "siteA", "lab_2"."""
        return self.key in GROUPS or bool(re.fullmatch(r"(site|lab|group|center|centre)[a-z]",
                                                       self.key))  # fmt: skip

    @property
    def is_time_or_class(self) -> bool:
        """Whether it tells a session, a date or a class, so that people may have several."""
        return self.key in {"", *TRIALS, *CLASSES, *EMOTIONS, *AGAIN}

    @property
    def parts(self) -> tuple[str, ...]:
        """What tells trials apart: "happy", "2" of "happy2"; "2" of "run-02"."""
        says_nothing = self.value and self.key in {*TRIALS, *CLASSES, *PEOPLE}
        return tuple(filter(None, ("" if says_nothing else self.key, self.value)))


def words(path: PurePath | str, *, dates: bool = False) -> list[Word]:
    """The words of a path without its suffix, folders first; rates are none, dates if asked for."""
    path = PurePath(path)
    found = []
    for part in (*path.parent.parts, path.name.partition(".")[0] or path.name):
        part = _RATE.sub(" ", part if dates else _DATE.sub(" ", part))
        part = _APART.sub(r"\1\2", part)
        for text in re.split(r"[\s_.,;=+&()\[\]#]+", part):
            found += _of_text(text.strip("-"))
    return found


def rate_in(path: PurePath) -> float | None:
    """The rate in Hz that a name states ("p01_128Hz.npy"), or None."""
    found = _RATE.search(path.name)
    return float(found[1]) if found else None


def _of_text(text: str) -> list[Word]:
    if not text:
        return []
    pair = re.fullmatch(r"([^\W\d_]+)-(\w+)", text)
    if pair and (pair[2].isdigit() or folded(pair[1]) in {*PEOPLE, *TRIALS, *CLASSES}):
        value = pair[2].lstrip("0") or "0" if pair[2].isdigit() else folded(pair[2])
        return [Word(text, folded(pair[1]), value)]
    if "-" in text:
        return [word for part in text.split("-") for word in _of_text(part)]
    if folded(text) in _DEVICES:
        return [_word(text)]
    pieces = re.findall(r"[^\W\d_]+\d*|\d+", text)
    if not text.isupper():
        pieces = [part for piece in pieces for part in _HUMP.findall(piece)]
    if len(pieces) > 1 and all(_is_known(piece) for piece in pieces):
        return [word for piece in pieces for word in _split(piece)]
    return _split(text)


def _split(text: str) -> list[Word]:
    """A class and its number as two words: "happy2" is "happy_2"."""
    found = re.fullmatch(r"([^\W\d_]+)(\d+)", text)
    if found and folded(found[1]) in EMOTIONS:
        return [_word(found[1]), _word(found[2])]
    return [_word(text)]


def _word(text: str) -> Word:
    found = re.fullmatch(r"([^\W\d_]*)(\d+)", text)
    if not found:
        return Word(text, folded(text), "")
    return Word(text, folded(found[1]), found[2].lstrip("0") or "0")


def _is_known(piece: str) -> bool:
    letters = folded(piece).rstrip("0123456789")
    known = (PEOPLE, TRIALS, CLASSES, _DEVICES, VERSIONS, EMOTIONS)
    return not letters or any(letters in each for each in known)


def is_device(word: Word) -> bool:
    """Whether a word says what a file holds."""
    return folded(word.text) in _DEVICES


def kind_in(path: PurePath) -> str:
    """The type of signal that a name states ("ECG_p01.npy"), the last such word; "" for none."""
    kinds = [as_kind(word.text) for word in words(path)]
    return next((kind for kind in reversed(kinds) if kind not in ("", "other")), "")
