"""`clmer manifest`: people, trials, labels and parts out of a folder as people keep it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal
from support.edf_files import noise, write_edf
from support.face_cases import write_openface

from clmer.cli import main
from clmer.data.manifest import reader
from clmer.data.manifest.propose import Proposal, propose, screen, write
from clmer.data.manifest.propose.spans import Marker, Span, marked
from clmer.errors import DataError

STATES = ("calm", "happy", "sad")
FS = 64


@pytest.fixture
def edf(tmp_path: Path) -> Callable[..., None]:
    """Write an EDF into the folder."""

    def call(name: str, seconds: float = 4, channels: tuple[str, ...] = ("Fp1", "Fp2")) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = noise(len(channels), seconds, FS, seed=abs(hash(name)) % 2**32)
        write_edf(path, channels, list(data), FS)

    return call


def rows(made: Proposal) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in made.rows]


def read(root: Path) -> Proposal:
    """Propose, write, and read what was written with no edit."""
    made = propose(root)
    assert made.questions == []
    write(made, root / "manifest.csv")
    found = list(reader.read(root))
    assert len(found) == len(made.trials)
    lines = screen(made, Path("manifest.csv"))
    assert all(len(line) <= 80 for line in lines if str(root) not in line)  # a path is one word
    return made


def test_people_and_classes_in_names(edf: Callable[..., None], tmp_path: Path) -> None:
    for person in ("P1", "P2", "P10"):
        for state in STATES:
            edf(f"{person}_ses1_{state}.edf")
    made = read(tmp_path)
    assert made.columns == ["subject", "trial", "label", "modality", "path"]
    assert rows(made)[0] == ("P1", "calm", "calm", "eeg", "P1_ses1_calm.edf")
    assert [row["subject"] for row in made.rows[::3]] == ["P1", "P2", "P10"]  # by their numbers


@pytest.mark.parametrize(
    "pattern",
    [
        "{state}/sub-{p:02d}.edf",
        "sub-{p:02d}/eeg/sub-{p:02d}_task-{state}_eeg.edf",
        "Subject {p}/{state} recording.edf",
        "{p}_{state}.edf",
        "S{p:02d}{state}.edf",
        "2024-03-0{p}/P{p}_{state}_20240301_101530.edf",
    ],
)
def test_ways_to_name_files(edf: Callable[..., None], tmp_path: Path, pattern: str) -> None:
    for p in (1, 2, 3):
        for state in STATES:
            edf(pattern.format(p=p, state=state))
    made = read(tmp_path)
    assert len({trial.person for trial in made.trials}) == 3
    for row in made.rows:
        assert row["label"] in row["path"]
        assert row["subject"].lstrip("PSsub-ject 0") in row["path"]


@pytest.mark.parametrize("pattern", ["{p}_{t}", "{p:02d}/{p:02d}_{t:02d}", "{p:02d}/{t}"])
def test_a_trial_may_have_its_person_s_number(
    edf: Callable[..., None], tmp_path: Path, pattern: str
) -> None:
    for p in (1, 2, 3):
        for t in (1, 2, 3):
            edf(pattern.format(p=p, t=t) + ".edf")
    made = propose(tmp_path)
    assert [trial.name.lstrip("0") for trial in made.trials] == ["1", "2", "3"] * 3
    assert [question[:6] for question in made.questions] == ["label:"]


def test_dates_are_sessions_where_nothing_else_tells_them(
    edf: Callable[..., None], tmp_path: Path
) -> None:
    for p in (1, 2):
        for day in ("20131027", "20131030"):
            edf(f"{p}_{day}.edf")
    lines = ["subject,session,mood", "1,20131027,good", "1,20131030,bad", "2,20131027,bad"]
    (tmp_path / "moods.csv").write_text("\n".join([*lines, "2,20131030,good"]))
    made = read(tmp_path)
    assert [row[1:3] for row in rows(made)] == [
        *(("20131027", "good"), ("20131030", "bad"), ("20131027", "bad"), ("20131030", "good"))
    ]


def test_a_group_of_people_is_no_trial(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in range(4):
        for state in STATES:
            edf(f"{('patients', 'controls')[p % 2]}/Anna{p} Miller{p}/{state}.edf")
    made = read(tmp_path)
    assert {row["trial"] for row in made.rows} == {row["label"] for row in made.rows} == set(STATES)
    for number, trial in enumerate(made.rows):
        (tmp_path / str(trial["path"])).rename(tmp_path / str(trial["path"]).replace(
            str(trial["label"]), f"{number % 3}"))  # fmt: skip
    made = propose(tmp_path, tmp_path / "second.csv")
    assert {row["label"] for row in made.rows} == {"patients", "controls"}


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("{group}/P{p:02d}/{state}.edf", ("patients", "controls")),
        ("{group}/sub-{p:02d}/eeg/sub-{p:02d}_task-{state}_eeg.edf", ("siteA", "siteB")),
        ("{group}/{p:02d}_{state}.edf", ("patients", "controls")),
        ("P{p:02d}_{group}_{state}.edf", ("healthy", "depressed")),
    ],
)
def test_people_of_one_number_in_two_groups_are_two(
    edf: Callable[..., None], tmp_path: Path, pattern: str, groups: tuple[str, str]
) -> None:
    for group in groups:
        for p in (1, 2, 3):
            for state in STATES:
                edf(pattern.format(group=group, p=p, state=state))
    (tmp_path / "films.csv").write_text("id,film\n1,jaws\n2,titanic\n")  # of nobody
    made = read(tmp_path)
    assert len({row["subject"] for row in made.rows}) == 6
    for row in made.rows:
        assert row["trial"].removeprefix("task-") == row["label"]
        assert row["label"] in row["path"]
        assert row["subject"].split("_")[0] in row["path"]
    assert any("each is called after its group" in check for check in made.checks)


@pytest.mark.parametrize(
    ("folders", "people"),
    [
        (("titanic", "jaws"), None),
        (("session-titanic", "session-jaws"), {"P1", "P2"}),
        (("groupA", "groupB"), {"groupA_P1", "groupA_P2", "groupB_P1", "groupB_P2"}),
    ],
)
def test_a_person_below_two_folders_is_asked_for(
    edf: Callable[..., None], tmp_path: Path, folders: tuple[str, str], people: set[str] | None
) -> None:
    for folder in folders:
        for p in (1, 2):
            edf(f"{folder}/P{p}.edf")
    edf(f"{folders[0]}/P3.edf")
    made = propose(tmp_path)
    write(made, tmp_path / "manifest.csv")
    found = {(row["subject"], row["trial"]) for row in made.rows}
    if people is None:
        assert found == {("?", "titanic"), ("?", "jaws"), ("P3", "titanic")}
        (asked,) = (each for each in made.questions if each.startswith("subject: "))
        assert "P1 (and 1 more) is below jaws and titanic: one person, or one in each" in asked
        assert "session-jaws, session-titanic for one, groupA, groupB for two" in asked
        with pytest.raises(DataError, match=r"no value in subject \(\?\)"):
            reader.manifest_of(tmp_path)
    else:
        assert {subject for subject, _ in found} >= people
        assert not any(each.startswith("subject: ") for each in made.questions)


def test_folders_are_trials_where_a_table_says_so(edf: Callable[..., None], tmp_path: Path) -> None:
    lines = ["vp,film,valence"]
    for film, rating in (("titanic", 3), ("jaws", 7)):
        for p in (1, 2):
            edf(f"{film}/P{p}.edf")
            lines.append(f"{p},{film},{rating + p}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert not made.questions
    assert {(row["subject"], row["trial"], row["valence"]) for row in made.rows} == {
        *(("P1", "titanic", "4"), ("P2", "titanic", "5"), ("P1", "jaws", "8"), ("P2", "jaws", "9"))
    }


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("subject,clip,valence", "{group}_P{p:02d},{clip},{v}"),
        ("subject,group,clip,valence", "P{p:02d},{group},{clip},{v}"),
        ("vp,clip,cohort,valence", "{p},{clip},{group},{v}"),
        ("vp,clip,valence", "P{p:02d},{clip},{v}"),
    ],
)
def test_a_table_joins_people_told_apart_by_group(
    edf: Callable[..., None], tmp_path: Path, header: str, row: str
) -> None:
    lines = [header]
    for at, group in enumerate(("patients", "controls")):
        for p in (1, 2):
            for clip in (1, 2):
                edf(f"{group}/P{p:02d}/clip{clip}.edf")
                lines.append(row.format(group=group, p=p, clip=clip, v=1 + at * 4 + p + clip / 10))
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    made = propose(tmp_path)
    if "group" in row:
        assert not made.questions
        assert {(row["subject"], row["trial"], row["valence"]) for row in made.rows} == {
            (f"{group}_P{p:02d}", f"clip{clip}", f"{1 + at * 4 + p + clip / 10}")
            for at, group in enumerate(("patients", "controls"))
            for p in (1, 2)
            for clip in (1, 2)
        }
    else:
        (asked,) = made.questions
        assert "ratings.csv does not say of which group P01 is" in asked
        assert "Write controls_P01 for the one there" in asked
        assert {row["valence"] for row in made.rows} == {"?"}


def test_modalities_meet_whatever_their_folders(edf: Callable[..., None], tmp_path: Path) -> None:
    for name in ("Anna", "Ben", "Cem"):
        for state in ("happy", "sad"):
            edf(f"headset/{name}/{state}1.edf")
            face = tmp_path / "OpenFace out" / f"{name.lower()}_{state}_1.csv"
            face.parent.mkdir(exist_ok=True)
            write_openface(face, frames=100)
    made = read(tmp_path)
    assert len(made.trials) == 6
    assert rows(made)[1] == ("Anna", "happy", "happy", "face", "OpenFace out/anna_happy_1.csv")
    assert made.checks == [
        "people written in two ways are taken for one: Anna and anna, Ben and ben, Cem and cem.",
        "people are told by the names' first part that differs: Anna, Ben, Cem.",
    ]


def test_ratings_beside_the_recordings(edf: Callable[..., None], tmp_path: Path) -> None:
    lines = ["VP-Nr;Film;Valence;Arousal;Alter;Kommentar"]
    for p in (1, 2, 3):
        for clip in (1, 2, 3):
            edf(f"vp{p:02d}/clip_{clip}.EDF", channels=("FP1", "fp2") if p == 2 else ("Fp1", "Fp2"))
            lines.append(f"VP {p};{clip};{2 * clip},5;{p + clip},0;2{p};gut")
        lines.append(";;;;;")
    (tmp_path / "Ratings.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    made = read(tmp_path)
    assert made.columns[:4] == ["subject", "trial", "valence", "arousal"]
    assert rows(made)[1][:5] == ("vp01", "2", "4.5", "3.0", "2")  # the clip is the stimulus
    found = list(reader.read(tmp_path))
    assert [each.labels["valence"] for each in found[:3]] == [2.5, 4.5, 6.5]
    assert made.told["not used of Ratings.csv"] == "Alter, Kommentar"


ORDERS = {1: (2, 3, 1), 2: (3, 1, 2), 3: (1, 3, 2)}


def ratings(folder: Path, header: str) -> None:
    """A row for each person's trials in the order seen: the rating is the video's number."""
    lines = [
        f"{p},{t},{video},{video}.{p}"
        for p, order in ORDERS.items()
        for t, video in enumerate(order, start=1)
    ]
    (folder / "ratings.csv").write_text("\n".join([header, *lines]))


@pytest.mark.parametrize(
    ("word", "header"),
    [
        ("video", "vp,trial,video,valence"),
        ("clip", "vp,block,clip,valence"),
        ("vid", "vp,Trial,Video,valence"),
        ("film", "vp,session,film id,valence"),
    ],
)
def test_the_column_that_is_called_as_the_files_are(
    edf: Callable[..., None], tmp_path: Path, word: str, header: str
) -> None:
    for p in ORDERS:
        for v in (1, 2, 3):
            edf(f"P{p:02d}_{word}{v}.edf")
    ratings(tmp_path, header)
    made = read(tmp_path)
    assert made.labels == ["valence"]  # the other count of trials is none
    for row in made.rows:
        number = row["path"].removesuffix(".edf")[-1]
        assert row["valence"] == f"{number}.{row['subject'][-1]}"


def test_two_columns_that_may_name_the_trials_are_asked_for(
    edf: Callable[..., None], tmp_path: Path
) -> None:
    for p in ORDERS:
        for v in (1, 2, 3):
            edf(f"P{p:02d}_{v}.edf")
    ratings(tmp_path, "vp,trial,video,valence")
    made = propose(tmp_path)
    assert {row["valence"] for row in made.rows} == {"?"}
    assert made.questions[0].startswith("valence: which column of ratings.csv names the trials")


def test_a_run_and_a_trial_name_a_file_together(edf: Callable[..., None], tmp_path: Path) -> None:
    lines = ["subject,run,trial,valence"]
    for p in (1, 2):
        for run in (1, 2, 3):
            for trial in (1, 2, 3):
                edf(f"P{p}_run{run}_trial{trial}.edf")
                lines.append(f"{p},{run},{trial},{p}.{run}{trial}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    for row in read(tmp_path).rows:
        numbers = [c for c in row["path"] if c.isdecimal()]
        assert row["valence"] == f"{numbers[0]}.{numbers[1]}{numbers[2]}"


@pytest.mark.parametrize("letters", ["CP", "SP", "AB"])
def test_letters_that_tell_people_apart_join_too(
    edf: Callable[..., None], tmp_path: Path, letters: str
) -> None:
    lines = ["subject,trial,valence"]
    for at, letter in enumerate(letters):
        for p in (1, 2):
            for t in (1, 2):
                edf(f"{letter}{p:02d}_trial{t}.edf")
                lines.append(f"{letter}{p:02d},{t},{at}.{p}{t}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert not [check for check in made.checks if "ratings.csv" in check]
    for row in made.rows:
        numbers = row["path"][2], row["path"].removesuffix(".edf")[-1]
        assert row["valence"] == f"{letters.index(row['path'][0])}.{''.join(numbers)}"


def test_a_table_says_where_trials_of_several_files_begin(
    edf: Callable[..., None], tmp_path: Path
) -> None:
    lines = ["subject,session,trial,onset,duration,label"]
    for p in (1, 2):
        for q in (1, 2):
            edf(f"P{p:02d}_ses{q}.edf", 20)
            lines += [f"{p},{q},{3 * q - 3 + t},{4 * t + q},3,{'abc'[t - 1]}" for t in (1, 2, 3)]
    (tmp_path / "trials.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert [(r["path"], r["label"], r["start_s"], r["stop_s"]) for r in made.rows] == [
        (f"P{p:02d}_ses{q}.edf", "abc"[t - 1], str(4 * t + q), str(4 * t + q + 3))
        for p in (1, 2)
        for q in (1, 2)
        for t in (1, 2, 3)
    ]
    text = "\n".join(lines).replace("session", "mood").replace(",1,", ",x,").replace(",2,", ",y,")
    (tmp_path / "trials.csv").write_text(text)
    (tmp_path / "manifest.csv").unlink()
    made = propose(tmp_path)
    assert {row["label"] for row in made.rows} == {"?"}
    assert "no column of trials.csv tells which rows are of which file" in made.questions[0]


@pytest.mark.parametrize(
    ("names", "unit_s"),
    [
        ("start_ms,end_ms", 1e-3),
        ("onset [ms],offset [ms]", 1e-3),
        ("onset_us,stop_us", 1e-6),
        ("startms,endms", 1e-3),
        ("Start (min),Stop (min)", 60),
        ("tmin,tmax", 1),
        ("onset,end", 1),
    ],
)
def test_times_in_any_unit(
    edf: Callable[..., None], tmp_path: Path, names: str, unit_s: float
) -> None:
    lines = [f"subject,{names},label"]
    for p in (1, 2):
        edf(f"P{p}.edf", 20)
        times = [(6 * t / unit_s, (6 * t + 3) / unit_s) for t in (0, 1, 2)]
        lines += [f"{p},{a:.10g},{b:.10g},{'aba'[t]}" for t, (a, b) in enumerate(times)]
    (tmp_path / "trials.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert [(r["start_s"], r["stop_s"]) for r in made.rows] == [
        *(("0", "3"), ("6", "9"), ("12", "15"))
    ] * 2


def test_times_after_the_file_s_end_are_asked_for(edf: Callable[..., None], tmp_path: Path) -> None:
    lines = ["subject,onset,duration,label"]
    for p in (1, 2):
        edf(f"P{p}.edf", 20)
        lines += [f"{p},{6000 * t},3000,{'aba'[t]}" for t in (0, 1, 2)]
    (tmp_path / "trials.csv").write_text("\n".join(lines))
    made = propose(tmp_path)
    assert {(row["start_s"], row["stop_s"]) for row in made.rows} == {("?", "?")}
    assert "trials.csv has trials that begin after their file's end" in made.questions[0]


def test_labels_over_time_in_milliseconds(edf: Callable[..., None], tmp_path: Path) -> None:
    edf("P1.edf", 20)
    edf("P2.edf", 20)
    for p, name in ((1, "time_ms"), (2, "time")):
        lines = [f"{name},label", *(f"{1000 * t},{'ab'[t // 10]}" for t in range(20))]
        (tmp_path / f"P{p}_labels.csv").write_text("\n".join(lines))
    made = propose(tmp_path)
    assert [(r["subject"], r["label"], r["start_s"], r["stop_s"]) for r in made.rows] == [
        *(("P1", "a", "0", "10"), ("P1", "b", "10", "20"), ("P2", "?", "", ""))
    ]
    assert "label: in P2_labels.csv the times are no seconds" in made.questions[0]


def test_a_column_per_trial(edf: Callable[..., None], tmp_path: Path) -> None:
    lines = ["Participant,valence_film1,valence_film2,film 1 fun,film 2 fun,age"]
    for p in (1, 2, 3):
        edf(f"Sub_{p:02d}/Film 1.edf")
        edf(f"Sub_{p:02d}/Film 2.edf")
        lines.append(f"{p},{p},{p + 3},{p + 5},{p + 6},30")
    (tmp_path / "answers.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert made.columns[:4] == ["subject", "trial", "valence", "fun"]
    assert [row[:4] for row in rows(made)[2:4]] == [
        ("Sub02", "1", "2", "7"),
        ("Sub02", "2", "5", "8"),
    ]


def test_a_table_says_where_trials_begin(edf: Callable[..., None], tmp_path: Path) -> None:
    lines = ["participant\tonset\tduration\temotion"]
    for p in (1, 2):
        edf(f"sub-{p:02d}_task-video_eeg.edf", 30)
        lines += [f"sub-{p:02d}\t{10 * i + p}\t8\t{s}" for i, s in enumerate(("rest", *STATES[1:]))]
    (tmp_path / "trials.tsv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert made.columns == [
        *("subject", "trial", "emotion", "reference", "modality", "path", "start_s", "stop_s")
    ]
    path = "sub-02_task-video_eeg.edf"
    assert rows(made)[3:5] == [
        ("sub-02", "rest", "", "yes", "eeg", path, "2", "10"),
        ("sub-02", "happy", "happy", "", "eeg", path, "12", "20"),
    ]


def test_rest_beside_one_class_stays_a_class(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in (1, 2):
        for state in ("rest", "arithmetic"):
            edf(f"p{p}_{state}.edf")
    made = read(tmp_path)
    assert "reference" not in made.columns
    assert "rest is a class and no reference" in made.checks[0]


def test_labels_per_second_are_runs(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in (1, 2):
        edf(f"S{p}.edf", 12)
        labels = ["calm"] * 4 + [""] * 2 + ["happy"] * 3 + ["calm"] * 3
        lines = ["time,emotion", *(f"{t},{label}" for t, label in enumerate(labels))]
        (tmp_path / f"S{p}_annotation.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert [row[1:3] + row[5:] for row in rows(made)[:3]] == [
        ("calm_1", "calm", "0", "4"),
        ("happy", "happy", "6", "9"),
        ("calm_2", "calm", "9", "12"),
    ]


@pytest.mark.parametrize("folders", [("", ""), ("data/", "labels/"), ("{p}/", "{p}/")])
@pytest.mark.parametrize("stem", ["P{p:02d}_clip{c}", "P{p}_{c}", "{p}_{c}", "clip{c}_P{p}"])
def test_labels_over_time_reach_their_own_recording(
    edf: Callable[..., None], tmp_path: Path, folders: tuple[str, str], stem: str
) -> None:
    for p in (1, 2, 3):
        for c in (1, 2, 3):
            name, (data, labels) = stem.format(p=p, c=c), (f.format(p=p) for f in folders)
            edf(f"{data}{name}.edf", 12)
            lines = ["time,label", *(f"{t},{('low', 'high')[t // 6]}_{p}{c}" for t in range(12))]
            path = tmp_path / labels / f"{name}_labels.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(lines))
    made = read(tmp_path)
    assert len(made.rows) == 18
    for row in made.rows:
        numbers = "".join(c for c in Path(row["path"]).stem.replace("0", "") if c.isdecimal())
        swapped = numbers[::-1] if stem.startswith("clip") else numbers
        assert row["label"].partition("_")[2] == swapped


def test_two_tables_of_one_recording_are_asked_for(
    edf: Callable[..., None], tmp_path: Path
) -> None:
    for p in (1, 2):
        edf(f"P{p}.edf", 12)
        for rater in ("ann", "bob")[:p]:
            lines = ["time,label", *(f"{t},{rater}{t // 6}" for t in range(12))]
            (tmp_path / f"P{p}_{rater}.csv").write_text("\n".join(lines))
    (tmp_path / "P3_ann.csv").write_text("time,label\n0,a\n1,b")
    made = propose(tmp_path)
    assert [row["label"] for row in made.rows] == ["ann0", "ann1", "?"]
    assert "P2_ann.csv, P2_bob.csv hold labels over time" in made.questions[0]
    assert any("P3_ann.csv holds labels over time, but" in check for check in made.checks)


def test_a_table_of_one_recording_s_parts(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in (1, 2):
        edf(f"sub-{p:02d}_task-film_eeg.edf", 30)
        lines = ["onset\tduration\ttrial_type", "1.5\t8\thappy", "12\t8\tsad", "25\t0\tbeep"]
        (tmp_path / f"sub-{p:02d}_task-film_events.tsv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert [row[1:3] + row[5:] for row in rows(made)[:2]] == [
        ("happy", "happy", "1.5", "9.5"),
        ("sad", "sad", "12", "20"),
    ]


def test_a_bids_data_set_is_named(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in (1, 2):
        for state in STATES:
            edf(f"sub-{p:02d}/eeg/sub-{p:02d}_task-{state}_eeg.edf")
    (tmp_path / "dataset_description.json").write_text("{}")
    said = " ".join(screen(read(tmp_path), tmp_path / "manifest.csv"))
    assert "without manifest.csv, clmer train bids --root" in " ".join(said.split())


def marked_edf(path: Path, texts: Sequence[str]) -> None:
    """An EDF of 10 s for each text, which begins with an annotation of it."""
    signal = EdfSignal(noise(1, 10 * len(texts), FS)[0], FS, label="Cz", physical_dimension="uV")
    notes = [EdfAnnotation(10 * i, None, text) for i, text in enumerate(texts)]
    Edf([signal], annotations=notes).write(path)


@pytest.mark.parametrize("texts", [("film 2", "film 3", "film 1"), ("start", "start", "start")])
def test_markers_say_where_a_table_s_trials_are(tmp_path: Path, texts: Sequence[str]) -> None:
    lines = ["subject,film,valence"]
    for p in (1, 2):
        marked_edf(tmp_path / f"P{p}.edf", texts)
        lines += [f"{p},{film},{2 * film + p}" for film in (2, 3, 1)]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    made = read(tmp_path)
    assert [(row["valence"], row["start_s"], row["stop_s"]) for row in made.rows] == [
        *(("5", "0", "10"), ("7", "10", "20"), ("3", "20", "30")),
        *(("6", "0", "10"), ("8", "10", "20"), ("4", "20", "30")),
    ]


def test_tables_of_channels_name_no_people(edf: Callable[..., None], tmp_path: Path) -> None:
    for name in ("anna", "ben"):
        for state in STATES:
            edf(f"{name}_{state}.edf")
            text = "name\ttype\tunits\nFp1\tEEG\tuV\nFp2\tEEG\tuV\n"
            (tmp_path / f"{name}_{state}_channels.tsv").write_text(text)
    (tmp_path / "ratings.xlsx").write_bytes(b"PK")
    made = read(tmp_path)
    assert [trial.person for trial in made.trials] == ["anna"] * 3 + ["ben"] * 3
    assert len(made.checks) == 1  # how people are told
    assert any("save it as CSV UTF-8" in line for line in screen(made, tmp_path / "manifest.csv"))


def test_codes_are_asked_for_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for p in (1, 2):
        marked_edf(tmp_path / f"P{p}.edf", ("10", "21", "22"))
    assert main(["manifest", str(tmp_path)]) == 0
    assert "10 (2), 21 (2), 22 (2)" in capsys.readouterr().out
    made = propose(tmp_path, tmp_path / "2.csv", {"10": "rest", "21": "happy", "22": "sad"})
    assert [tuple(row.values())[1:] for row in made.rows[:2]] == [
        ("rest", "", "yes", "eeg", "P1.edf", "0", "10"),
        ("happy", "happy", "", "eeg", "P1.edf", "10", "20"),
    ]


POINTS = [(5.0, 0.0, "happy"), (20.0, 0.0, "fear"), (40.0, 0.0, "sad")]


@pytest.mark.parametrize(
    ("markers", "spans", "left"),
    [
        (
            [(5, 0, "relaxation"), (20, 0, "fear"), (40, 0, "tension")],
            [(5, 20, "relaxation"), (20, 40, "fear"), (40, 60, "tension")],
            [],
        ),
        (
            [(5, 0, "calmStart"), (20, 0, "calmEnd"), (25, 0, "start fear"), (50, 0, "end fear")],
            [(5, 20, "calm"), (25, 50, "fear")],
            [],
        ),
        (
            [(5, 0, "calm_on"), (8, 0, "beep"), (40, 0, "calm_off")],
            [(5, 40, "calm")],
            ["beep"],
        ),
        (
            [(5, 0, "calm start"), (20, 0, "calm end"), (25, 0, "frustration"), (40, 0, "fear")],
            [],
            ["frustration", "fear"],
        ),
        ([(2, 1.5, "eye blink"), *POINTS], [], ["happy", "fear", "sad"]),
    ],
)
def test_parts_by_markers(
    markers: list[Marker], spans: list[tuple[float, float, str]], left: list[str]
) -> None:
    assert marked(markers, 60, {}) == ([Span(*each) for each in spans], left)


def test_markers_of_two_sorts_are_asked_for(tmp_path: Path) -> None:
    signal = EdfSignal(noise(1, 60, FS)[0], FS, label="Cz", physical_dimension="uV")
    notes = [EdfAnnotation(at, length or None, text) for at, length, text in POINTS]
    for p in (1, 2):
        blink = EdfAnnotation(2, 1.5, "eye blink")
        Edf([signal], annotations=[blink, *notes]).write(tmp_path / f"P{p}.edf")
    made = propose(tmp_path)
    assert {row["label"] for row in made.rows} == {"?"}
    assert "happy (2), fear (2), sad (2). Which of them begin a trial" in made.questions[0]
    made = propose(tmp_path, None, {text: text for _, _, text in POINTS})
    assert [(r["label"], r["start_s"], r["stop_s"]) for r in made.rows] == [
        *(("happy", "5", "20"), ("fear", "20", "40"), ("sad", "40", "60"))
    ] * 2


def test_a_rating_over_time_is_pieces(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in (1, 2):
        edf(f"S{p}.edf", 30)
        lines = ["seconds;valence", *(f"{t / 2:g};{t / 60:.3f}" for t in range(60))]
        text = "\n".join(lines).replace(".", ",")
        (tmp_path / f"S{p}_rating.csv").write_text(text)
    made = read(tmp_path)
    mean = sum(round(t / 60, 3) for t in range(20)) / 20
    assert float(made.rows[0]["valence"]) == pytest.approx(mean, abs=1e-4)
    assert [row["stop_s"] for row in made.rows[:3]] == ["10", "20", "30"]


def test_what_cannot_be_told_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for p in (1, 2):
        np.save(tmp_path / f"p{p}.npy", noise(2, 4, FS, p))
    (tmp_path / "old.zip").write_bytes(b"PK")
    assert main(["manifest", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "p1.npy, p2.npy: arrays whose names tell no type of signal" in out
    assert "rate: how many samples per second have the 2 files" in out
    assert "label: what was each recording?" in out
    assert "Unpack it first." in out
    assert (tmp_path / "manifest.csv").read_text().splitlines() == [
        "subject,trial,label,modality,path,rate",
        "p1,1,?,eeg,p1.npy,?",
        "p2,1,?,eeg,p2.npy,?",
    ]
    with pytest.raises(DataError, match="line 2, rate: found '\\?'"):
        list(reader.read(tmp_path))


def test_a_manifest_is_never_overwritten(
    edf: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edf("p1_calm.edf")
    edf("p1_sad.edf")
    (tmp_path / "manifest.csv").write_text("mine")
    assert main(["manifest", str(tmp_path)]) == 2
    assert "It is never overwritten: name another one (--out)" in capsys.readouterr().err
    assert (tmp_path / "manifest.csv").read_text() == "mine"
    other = tmp_path / "elsewhere.csv"
    assert main(["manifest", str(tmp_path), "--out", str(other)]) == 0
    with other.open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["p1_calm.edf", "p1_sad.edf"]


def test_channels_that_some_lack_are_left_out(edf: Callable[..., None], tmp_path: Path) -> None:
    for state in STATES:
        edf(f"p1_{state}.edf", channels=("Fp1", "Fp2", "Cz"))
        edf(f"p2_{state}.edf", channels=("FP2", "FP1"))
    made = read(tmp_path)
    assert {row["channels"] for row in made.rows} == {"Fp1;Fp2"}
    assert "some lack cz" in made.checks[0]


def test_runs_and_hidden_files_are_passed_by(edf: Callable[..., None], tmp_path: Path) -> None:
    for state in STATES:
        edf(f"p1_{state}.edf")
        edf(f"p2_{state}.edf")
    edf(".cache/p3_calm.edf")
    edf("runs/x/p4_calm.edf")
    for name in ("config.json", "data.json"):
        (tmp_path / "runs/x" / name).write_text("{}")
    assert {trial.person for trial in read(tmp_path).trials} == {"p1", "p2"}


def test_five_hundred_files_are_a_screen(edf: Callable[..., None], tmp_path: Path) -> None:
    for p in range(25):
        for state in STATES:
            for take in range(4):
                edf(f"P{p:02d}/{state}_{take}.edf", 1)
    lines = screen(propose(tmp_path), Path("manifest.csv"))
    assert len(lines) < 20


@pytest.mark.parametrize("there", [[], ["notes.docx", "a.xdf"]])
def test_a_folder_without_recordings(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="recordings: found") as caught:
        propose(tmp_path)
    assert str(caught.value).count("empty folder") == (not there)
