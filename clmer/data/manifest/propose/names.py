"""People and trials from the names of files and folders.

    sub-01/eeg/sub-01_task-rest_eeg.edf      sub-01, rest
    P01_ses2_happy.edf, faces/p1/ses2/happy.csv      P01, ses2_happy, twice

A name is cut into words (`words`). Words that say what a file holds (eeg, face, raw) and those that
are the same in all files of a kind are passed by; what is left tells the person and the trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from clmer.data.manifest.propose.words import (
    CLASSES,
    EMOTIONS,
    PEOPLE,
    VERSIONS,
    Word,
    is_device,
    words,
)
from clmer.text import folded


@dataclass(frozen=True)
class Named:
    """Who and what a file's name says.

    Args:
        person: as written; "" where no word tells.
        person_id: what two spellings share.
        rest: the words that tell its trial: not the same in all files of its kind, nor in all of
            its person's.
        group: words that all of its person's files have, such as "patients".
    """

    person: str
    person_id: str
    rest: tuple[Word, ...]
    group: tuple[Word, ...] = ()

    @property
    def trial(self) -> str:
        """The trial as written; "" where no word tells."""
        return "_".join(word.text for word in self.rest)

    @property
    def trial_id(self) -> tuple[str, ...]:
        """What two spellings of it share."""
        return tuple(part for word in self.rest for part in word.parts)

    @property
    def states(self) -> list[str]:
        """The words of the trial that are a class: "happy" of "happy2"."""
        keyed = [word.value for word in self.rest if word.key in CLASSES and word.value]
        return keyed or [w.key for w in self.rest if w.key in EMOTIONS]


@dataclass(frozen=True)
class Names:
    """What the names of all files say.

    Args:
        named: of each file, in their order.
        told_by: how people are told, for a person.
        guessed: whether another part of the name may be the person.
        checks: what was decided of people of the same number in several groups.
        asked: `person_id` of those who may be several people.
        question: what to ask of them; "" for nothing.
    """

    named: tuple[Named, ...]
    told_by: str
    guessed: bool
    checks: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()
    question: str = ""


def person_id(text: str) -> str:
    """What two spellings of a person share: "P01", "sub-01" and "1" give one."""
    found = words(folded(text))
    if len(found) == 1 and found[0].value and found[0].key in ("", *PEOPLE):
        return found[0].value
    return lettered_id(text)


def lettered_id(text: str) -> str:
    """The same where letters tell people apart: "P01" and "C01" are two."""
    return "".join(word.id for word in words(folded(text)))


def grouped_ids(group: str, person: str) -> tuple[str, str]:
    """What `person_id` may be of a person of a group, where two groups number people alike."""
    before = lettered_id(group)
    return f"{before}_{person_id(person)}", f"{before}_{lettered_id(person)}"


def name_all(
    files: Sequence[tuple[str, PurePath]],
    known: Collection[str] = (),
    shown: Collection[str] = (),
) -> Names:
    """Who and what the files are.

    Args:
        files: kind ("EDF") and path of each, relative to the folder of all.
        known: `person_id` of people whom tables name.
        shown: `lettered_id` of trials that tables name.
    """
    found = _name_all(files, known, shown, dates=False)
    keys = [
        (kind, n.person_id, n.trial_id) for (kind, _), n in zip(files, found.named, strict=True)
    ]
    dated = any(count > 1 for count in Counter(keys).values())
    return _name_all(files, known, shown, dates=True) if dated else found


def _name_all(
    files: Sequence[tuple[str, PurePath]],
    known: Collection[str],
    shown: Collection[str],
    *,
    dates: bool,
) -> Names:
    kinds = [kind for kind, _ in files]
    kept = [
        [w for w in words(path, dates=dates) if not is_device(w) and folded(w.text) not in VERSIONS]
        for _, path in files
    ]
    common = _common(kinds, kept)
    varying = [
        [w for w in each if w.id not in common[kind]]
        for kind, each in zip(kinds, kept, strict=True)
    ]
    by_word, told_by = _by_key(kept, known)
    guessed = False
    if not by_word:
        by_word, told_by = _by_place(varying, known)
        guessed = not (known and by_word)
    if not by_word and known:
        by_word, told_by = _by_place(varying, ())
    if not by_word:  # one person's files, whose name is in all of them
        firsts = [each[0] if each else None for each in kept]
        if len({word.id if word else "" for word in firsts}) == 1 and firsts[0]:
            by_word, told_by, guessed = firsts, "the name that all files have", True
    people = by_word or [None] * len(files)
    plain = _one_key((kind, w) for kind, w in zip(kinds, people, strict=True) if w)
    again = _mentioned_again(kinds, varying, people)
    same = _same_places(kinds, varying, people)
    ids, rests = [], []
    for kind, person, each in zip(kinds, people, varying, strict=True):
        rest = [
            w
            for at, w in enumerate(each)
            if not person or w.id != person.id or not (w is person or w.key or at in same[kind])
        ]
        if person and again[kind]:
            rest.remove(next(w for w in rest if not w.key and w.value == person.value))
        rests.append(list({word.id: word for word in rest}.values()))
        ids.append("" if person is None else (person.value or person.key) if plain else person.id)
    texts = [person.text if person else "" for person in people]
    apart = _apart(texts, ids, rests)
    checks = [] if apart is None else [apart]
    asked, question = _in_folders(files, kept, people, ids, rests, shown)
    groups = _groups(kinds, ids, rests)
    named = [
        Named(
            text,
            id_,
            tuple(word for word in rest if word not in group),
            tuple(group),
        )
        for text, id_, rest, group in zip(texts, ids, rests, groups, strict=True)
    ]
    return Names(tuple(named), told_by, guessed, tuple(checks), asked, question)


def _apart(texts: list[str], ids: list[str], rests: Sequence[Sequence[Word]]) -> str | None:
    """Tell people of one number in two groups apart, in place; what was done, None for nothing."""
    groups = [next((w for w in rest if w.is_group), None) for rest in rests]
    of_person: dict[str, set[str]] = {}
    for id_, group in zip(ids, groups, strict=True):
        if group and id_:
            of_person.setdefault(id_, set()).add(group.id)
    twice = [id_ for id_, own in of_person.items() if len(own) > 1]
    if not twice:
        return None
    at = ids.index(twice[0])
    said = f"{texts[at]} of {' and '.join(sorted(of_person[twice[0]]))} are two people"
    for i, group in enumerate(groups):
        if group:
            texts[i], ids[i] = f"{group.text}_{texts[i]}", f"{group.id}_{ids[i]}"
    return f"{said}: each is called after its group."


def _in_folders(
    files: Sequence[tuple[str, PurePath]],
    names: Sequence[Sequence[Word]],
    people: Sequence[Word | None],
    ids: Sequence[str],
    rests: Sequence[Sequence[Word]],
    shown: Collection[str],
) -> tuple[frozenset[str], str]:
    """Who is below two folders that are no session, date or class, and what to ask of them.

    The folders may be trials, or groups that number their people alike.
    """
    below: dict[str, dict[str, str]] = {}
    for (_, path), name, person, id_, rest in zip(files, names, people, ids, rests, strict=True):
        if person is None:
            continue
        folders = {word.id for word in words(path.parent / "x")}
        at = next(i for i, word in enumerate(name) if word is person)
        for word in name[:at]:
            told = word.is_time_or_class or word.is_group or word.id in shown
            if word in rest and word.id in folders and not told:
                below.setdefault(id_, {})[word.id] = word.text
    twice = [(id_, own) for id_, own in below.items() if len(own) > 1]
    if not twice:
        return frozenset(), ""
    id_, own = twice[0]
    text = next(p.text for p, each in zip(people, ids, strict=True) if p and each == id_)
    more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
    called = list(own.values())[:3]
    question = (
        f"subject: {text}{more} is below {' and '.join(called)}: one person, or "
        f"one in each? Call the folders session-{called[0]}, session-{called[1]} for one, "
        "groupA, groupB for two, and make it again; or fill in the column."
    )
    return frozenset(id_ for id_, _ in twice), question


def _groups(
    kinds: Sequence[str], people: Sequence[str], names: Sequence[Sequence[Word]]
) -> list[list[Word]]:
    """Words of each name that tell a group of people: the same in all files of each person."""
    groups: list[list[Word]] = [[] for _ in names]
    for kind in set(kinds):
        files = [i for i, each in enumerate(kinds) if each == kind]
        counts = Counter(people[i] for i in files)
        if len(counts) < 2 or max(counts.values()) < 2:
            continue
        for at in range(min(len(names[i]) for i in files)):
            of_person: dict[str, set[str]] = {}
            for i in files:
                of_person.setdefault(people[i], set()).add(names[i][at].id)
            if all(len(each) == 1 for each in of_person.values()):
                for i in files:
                    groups[i].append(names[i][at])
    return groups


def _mentioned_again(
    kinds: Sequence[str], names: Sequence[Sequence[Word]], people: Sequence[Word | None]
) -> dict[str, bool]:
    """By kind, whether all of its files have their person's number twice: "P01/01_happy"."""
    again: dict[str, bool] = dict.fromkeys(kinds, True)
    for kind, name, person in zip(kinds, names, people, strict=True):
        number = person.value if person and person.key else ""
        again[kind] &= bool(number) and any(not w.key and w.value == number for w in name)
    return again


def _same_places(
    kinds: Sequence[str], names: Sequence[Sequence[Word]], people: Sequence[Word | None]
) -> dict[str, set[int]]:
    """By kind, places at which all of its files have their person: both of "1/1_2"."""
    same: dict[str, set[int]] = {}
    for kind, name, person in zip(kinds, names, people, strict=True):
        own = {at for at, word in enumerate(name) if person and word.id == person.id}
        same[kind] = same.get(kind, own) & own
    return same


def _common(kinds: Sequence[str], names: Sequence[Sequence[Word]]) -> dict[str, set[str]]:
    """By kind, words that all of its files have; none where it has one file."""
    common: dict[str, set[str]] = {}
    counts = Counter(kinds)
    for kind, name in zip(kinds, names, strict=True):
        ids = {word.id for word in name}
        common[kind] = common.get(kind, ids) & ids if counts[kind] > 1 else set()
    return common


def _by_key(
    names: Sequence[Sequence[Word]], known: Collection[str]
) -> tuple[list[Word | None], str]:
    """The word of each file that has a person's letters before it: "sub-01", "P01"."""
    best: list[Word | None] = []
    for name in names:
        found = [w for w in name if w.key in PEOPLE and w.value]
        found.sort(key=lambda w: (_is_strange(w, known), PEOPLE.index(w.key)))
        best.append(found[0] if found else None)
    if sum(word is not None for word in best) < 0.9 * len(best):
        return [], ""
    keys = Counter(word.text[: len(word.key)] for word in best if word)
    return best, f"the names' {' and '.join(key for key, _ in keys.most_common(2))}"


def _is_strange(word: Word, known: Collection[str]) -> bool:
    """Whether tables name people, and not this one."""
    return bool(known) and person_id(word.text) not in known


def _by_place(
    names: Sequence[Sequence[Word]], known: Collection[str]
) -> tuple[list[Word | None], str]:
    """The word of each file at the first place that differs between people."""
    length = min(map(len, names), default=0)
    places = []
    for at in range(length):
        values = [name[at] for name in names]
        ids = {word.id for word in values}
        hits = sum(person_id(word.text) in known for word in values)
        if all(word.is_group for word in values):
            continue
        if len(ids) < 2 or (known and hits < len(names) / 2):
            continue
        states = sum(word.key in EMOTIONS or word.key in CLASSES for word in values)
        if not hits and states > len(values) / 3:
            continue
        places.append((-hits, at))
    if not places:
        return [], ""
    at = min(places)[1]
    for _, other in sorted(places):
        if _is_finer(names, other, at):
            at = other
    nth = ("first", "second", "third")[at] if at < 3 else f"{at + 1}th"
    return [name[at] for name in names], f"the names' {nth} part that differs"


def _is_finer(names: Sequence[Sequence[Word]], place: int, other: int) -> bool:
    """Whether a place tells people and another one their group: anna is in patients alone."""
    pairs = {(name[place].id, name[other].id) for name in names}
    fine, coarse = ({pair[k] for pair in pairs} for k in (0, 1))
    return len(coarse) < len(fine) == len(pairs) < len(names)


def _one_key(people: Iterable[tuple[str, Word]]) -> bool:
    """Whether people's letters say nothing: no kind of file has P01 and S01."""
    keys: dict[str, set[str]] = {}
    for kind, word in people:
        keys.setdefault(kind, set()).add(word.key if word.value else word.id)
    return all(len(each) == 1 and each <= {"", *PEOPLE} for each in keys.values())
