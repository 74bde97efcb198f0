"""The manifest as people write it: names, labels, missing values, spreadsheets; shared seconds."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from clmer.data.manifest import reader as manifest
from clmer.data.manifest.table import (
    FACE_MODALITIES,
    overlaps,
    read_manifest,
    read_rows,
    table_path,
)
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.errors import DataError

HEADER = "subject,trial,label,modality,path,rate"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table beside two .npy files; gives the table's path."""
    for seed, name in enumerate(("a.npy", "b.npy")):
        np.save(tmp_path / name, np.random.default_rng(seed).standard_normal((2, 2560)))

    def call(*lines: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
        path = tmp_path / "manifest.csv"
        path.write_bytes("\n".join([header, *lines, ""]).encode(encoding))
        return path

    return call


GOOD = ("p1,t1,calm,eeg,a.npy,128", "p1,t2,angry,eeg,b.npy,128")


def labelled(write: Write, values: Sequence[str], column: str = "label") -> Path:
    """A trial a value, each of its own person."""
    lines = (f"p{i},t,{value},eeg,a.npy,128" for i, value in enumerate(values))
    return write(*lines, header=HEADER.replace("label", column))


# --- the header ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(
            (name, "start_s")
            for name in ("start", "Start", "onset", "Start_S ", "start_sec", "begin")
        ),
        *((name, "stop_s") for name in ("stop", "end", "end_s", "Stop (s)")),
        *((name, "subject") for name in ("subject_id", "participant", "Participant ID")),
        *((name, "path") for name in ("file", "filename", "File Path")),
        *((name, "rate") for name in ("sampling_rate", "fs", "sfreq", "sample rate")),
    ],
)
def test_another_word_for_a_column_is_taken_and_said(write: Write, name: str, column: str) -> None:
    header = HEADER.replace(column, name) if column in HEADER else f"{HEADER},{name}"
    lines = GOOD if column in HEADER else [f"{line},1" for line in GOOD]
    found = read_manifest(write(*lines, header=header))
    assert list(found.rows[0].labels) == ["label"]
    if column in ("start_s", "stop_s"):
        assert getattr(found.rows[0], column) == 1.0
    said = f"manifest: column {name.strip()} is read as {column}."
    assert said in found.notes or name.strip().casefold() == column


def test_a_length_is_added_to_its_start(write: Write) -> None:
    path = write(
        "p1,t1,calm,eeg,a.npy,128,2,5.5",
        "p1,t2,angry,eeg,b.npy,128,4,",
        header=f"{HEADER},onset,duration",
    )
    found = read_manifest(path)
    assert [(row.start_s, row.stop_s) for row in found.rows] == [(2.0, 7.5), (4.0, None)]
    assert "manifest: stop_s is start_s + duration_s: line 2, 2 to 7.5 s." in found.notes
    with pytest.raises(DataError, match="line 2, duration_s: found 3 s from 1 to 9 s"):
        read_rows(write("p1,t1,calm,eeg,a.npy,128,1,9,3", GOOD[1] + ",,,",
                        header=f"{HEADER},start_s,stop_s,duration_s"))  # fmt: skip


def test_what_is_no_label_is_ignored_and_named_once(write: Write) -> None:
    path = write(
        "p1,t1,calm,eeg,a.npy,128,,2020-01-01,fine",
        "p1,t2,angry,eeg,b.npy,128,,2020-01-02,",
        header=f"{HEADER},mood,date,Comments",
    )
    found = read_manifest(path)
    assert list(found.rows[0].labels) == ["label"]
    said = "manifest: columns that are no label are ignored: date, Comments, mood."
    assert said in found.notes


@pytest.mark.parametrize("column", ["start_s", "stop_s", "rate"])
def test_a_cell_that_is_open_is_asked_for(write: Write, column: str) -> None:
    header = HEADER if column == "rate" else f"{HEADER},{column}"
    line = GOOD[0].replace("128", "?") if column == "rate" else f"{GOOD[0]},?"
    with pytest.raises(DataError, match=f"line 2, {column}: found '\\?'.*fill it in"):
        read_rows(write(line, GOOD[1], header=header))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *((name, "start_s") for name in ("star_s", "timestamp", "start_ms", "latency")),
        *((name, "stop_s") for name in ("offset", "stop_ms", "finish")),
        *((name, "duration_s") for name in ("length_s", "duration_ms", "Dauer")),
        *((name, "subject") for name in ("subjct", "user")),
        *((name, "rate") for name in ("Hz", "rat", "fps")),
        *((name, "channels") for name in ("channel", "chanels")),
        *((name, "modality") for name in ("modalty", "modalities")),
        *(("stimuls", "stimulus"), ("groups", "group"), ("units", "unit"), ("faceid", "face_id")),
        *(("valance", "valence"), ("arrousal", "arousal")),
    ],
)
def test_a_misspelt_column_is_no_label(write: Write, name: str, column: str) -> None:
    header = HEADER.replace(column, name) if column in HEADER else f"{HEADER},{name}"
    lines = GOOD if column in HEADER else [f"{line},1" for line in GOOD]
    with pytest.raises(DataError, match="manifest.csv: header") as caught:
        read_rows(write(*lines, header=header))
    assert f"Did you mean {column} for {name}?" in str(caught.value)


@pytest.mark.parametrize("name", ["id", "patient", "Name", "person"])
def test_a_looser_word_stands_for_a_column_that_is_missing(write: Write, name: str) -> None:
    with pytest.raises(DataError, match=f"Did you mean subject for {name}?"):
        read_rows(write(*GOOD, header=HEADER.replace("subject", name)))


@pytest.mark.parametrize("name", ["session", "age", "sex", "site", "mood", "valence_rating", "sam"])
def test_ordinary_labels_are_labels(write: Write, name: str) -> None:
    lines = [f"{line},{value}" for line, value in zip(GOOD, "xy", strict=True)]
    assert list(read_rows(write(*lines, header=f"{HEADER},{name}"))[0].labels) == ["label", name]


def test_case_and_spaces_of_the_header_do_not_matter(write: Write) -> None:
    path = write("p1,t,3,eeg,a.npy,128,1", "p2,t,8,eeg,b.npy,128,1",
                 header=" Subject,TRIAL,Valence,Modality , Path,Rate,Start_S")  # fmt: skip
    row = read_rows(path)[0]
    assert (row.subject, row.labels, row.start_s) == ("p1", {"valence": "3"}, 1.0)


@pytest.mark.parametrize("extra", ["Label", "LABEL ", "label"])
def test_a_column_there_twice(write: Write, extra: str) -> None:
    with pytest.raises(DataError, match=r"each once.*Twice, .*: label"):
        read_rows(write(*(f"{line},x" for line in GOOD), header=f"{HEADER},{extra}"))


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
def test_the_index_of_pandas(write: Write, first: str) -> None:
    with pytest.raises(DataError, match="header.*index=False"):
        read_rows(
            write(*(f"{i},{line}" for i, line in enumerate(GOOD)), header=f"{first},{HEADER}")
        )


def test_times_under_another_name_are_no_label(write: Write) -> None:
    lines = [f"p1,t{i},{'ab'[i % 2]},eeg,a.npy,128,{2 * i + 0.5}" for i in range(6)]
    with pytest.raises(
        DataError, match=r"column when: found another number in every trial.*start_s"
    ):
        read_rows(write(*lines, header=f"{HEADER},when"))
    shuffled = [lines[i] for i in (3, 0, 4, 1, 5, 2)]  # ratings on a slider need not rise
    assert len(read_rows(write(*shuffled, header=f"{HEADER},slider"))) == 6


# --- spreadsheets -------------------------------------------------------------------------------
TABLE = "subject,trial,label,modality,path,rate,start_s,stop_s\np0,1,calm,eeg,a.npy,128,0.5,19.5\n"
TABLE += "p1,1,fröhlich,eeg,b.npy,128,0.5,19.5\n"


@pytest.mark.parametrize(
    "raw",
    [
        TABLE.encode(),
        TABLE.replace(",", ";").encode(),
        TABLE.replace(",", ";").replace(".5", ",5").encode("utf-8-sig"),
        ("sep=;\n" + TABLE.replace(",", ";").replace(".5", ",5")).encode("cp1252"),
        TABLE.replace(",", "\t").encode("utf-16"),
        TABLE.replace(",0.5", ',"0,5"').replace("19.5", '"19,5"').encode(),
        (TABLE + ",,,,,,,\n,,,,,,,\n\n").encode(),
        TABLE.replace("\n", ",,\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace(",", " , ").replace("calm", '"calm"').encode(),
    ],
)  # fmt: skip
def test_a_manifest_that_went_through_a_spreadsheet(write: Write, raw: bytes) -> None:
    path = write()
    path.write_bytes(raw)
    one, two = read_rows(path)
    assert (one.subject, one.labels, one.rate) == ("p0", {"label": "calm"}, 128.0)
    assert (one.start_s, one.stop_s, two.labels["label"]) == (0.5, 19.5, "fröhlich")


def test_a_comma_in_a_table_of_commas_is_said(write: Write) -> None:
    path = write('p1,t,"6,5",eeg,a.npy,128', "p2,t,8,eeg,b.npy,128",
                 header=HEADER.replace("label", "valence"))  # fmt: skip
    found = read_manifest(path)
    assert found.rows[0].labels == {"valence": "6.5"}
    assert any("line 2, valence 6,5" in note for note in found.notes)


def test_a_rate_with_thousands_is_not_one(write: Write) -> None:
    with pytest.raises(DataError, match=r"line 2, rate: found '1,000'.*thousands"):
        read_rows(write('p1,t,x,eeg,a.npy,"1,000"', GOOD[1]))


# --- labels -------------------------------------------------------------------------------------
SPELT = ["n/a", "N/A", "NA", "None", "none", "null", "NaN", "-", "--", "?", "#N/A", "#NA", "", "."]


@pytest.mark.parametrize("cell", [*SPELT, "missing", "<NA>", "–"])
def test_a_missing_label_is_no_class(write: Write, tmp_path: Path, cell: str) -> None:
    path = labelled(write, ["calm", "angry", cell])
    found = read_manifest(path)
    assert [row.labels["label"] for row in found.rows] == ["calm", "angry", ""]
    said = found.missing["label"]
    assert said in found.notes
    assert (
        f"label: 1 trial without a value is left out of its task: line 4 ({cell or 'empty'})"
        in said
    )
    store = prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "cache", progress=False)
    assert said in store.report["notes"]
    assert set(store.windows.labels["label"]) == {"calm", "angry", ""}


@pytest.mark.parametrize("cell", SPELT)
def test_a_missing_rating_leaves_ratings(write: Write, cell: str) -> None:
    path = labelled(write, ["2", "7.5", cell, "8"], "valence")
    assert read_manifest(path).numeric == {"valence"}
    ratings = [recording.labels["valence"] for recording in manifest.read(path)]
    np.testing.assert_equal(ratings, [2.0, 7.5, math.nan, 8.0])
    np.testing.assert_equal(manifest.label_values(path)["valence"], ratings)


def test_a_class_that_reads_like_none_is_quoted(write: Write) -> None:
    rows = read_rows(labelled(write, ["calm", "'none'", "'NA'", "none"]))
    assert [row.labels["label"] for row in rows] == ["calm", "none", "NA", ""]


def test_missing_names_and_options(write: Write) -> None:
    header = HEADER + ",start_s,stop_s,group,stimulus,unit,channels"
    row = read_rows(write(f"{GOOD[0]},n/a,N/A,NA,-,none,n/a", f"{GOOD[1]},,,,,,", header=header))[0]
    assert (row.start_s, row.stop_s, row.group, row.stimulus) == (0.0, None, "p1", "calm")
    assert (row.unit, row.channels) == ("none", ())  # numbers without a unit, as documented
    with pytest.raises(DataError, match=r"line 2: found no value in subject \(NA\).*'NA'"):
        read_rows(write("NA,t1,calm,eeg,a.npy,128", GOOD[1]))
    assert read_rows(write("'NA',t1,calm,eeg,a.npy,128", GOOD[1]))[0].subject == "NA"


def test_trials_without_the_first_label_share_no_stimulus(write: Write) -> None:
    rows = read_rows(labelled(write, ["calm", "n/a", "angry", "n/a"]))
    assert [row.stimulus for row in rows] == ["calm", "p1/t", "angry", "p3/t"]


def test_a_column_without_any_value(write: Write) -> None:
    with pytest.raises(DataError, match="column label: found no value in any row"):
        read_rows(labelled(write, ["n/a", "", "-"]))


def test_a_slip_among_ratings_is_blamed_itself(write: Write) -> None:
    with pytest.raises(DataError, match=r"line 4, valence: found '7\.\.5', expected numbers"):
        read_rows(labelled(write, ["2", "8", "7..5", "3"], "valence"))
    with pytest.raises(DataError, match=r"line 13, sam: found 'x', expected numbers"):
        read_rows(labelled(write, [*map(str, range(11, 0, -1)), "x"], "sam"))
    few = read_manifest(labelled(write, ["1", "2", "rest"], "block_type"))
    assert not few.numeric


@pytest.mark.parametrize("slip", ["3?", "~3", "4-5", "50%", "inf"])
def test_a_slip_in_a_column_of_few_numbers_is_named(write: Write, slip: str) -> None:
    lines = [f"p{i},t,{i % 5},eeg,a.npy,128" for i in range(8)]
    words = [line.replace(",4,", ",2-back,") for line in lines]
    assert "2-back" in {row.labels["label"] for row in read_rows(write(*words))}
    lines[3] = lines[3].replace(",3,", f",{slip},")
    with pytest.raises(DataError, match=rf"line 5, label: found '{re.escape(slip)}', expected num"):
        read_rows(write(*lines))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *((name, "start_s") for name in ("start_seconds", "start_time_s", "begin_s", "from (s)")),
        *((name, "start_s") for name in ("trial_start", "videoOnset", "Beginn", "Begin time [ms]")),
        *((name, "stop_s") for name in ("until", "to_s", "TrialEnd", "Trial stop")),
        *((name, "rate") for name in ("sampling_rate_hz", "fs_hz", "samples per second")),
        *((name, "unit") for name in ("unit_eeg", "Einheit", "units (uV)")),
        ("face_nr", "face_id"),
    ],
)
def test_an_optional_column_spelt_out_is_no_label(write: Write, name: str, column: str) -> None:
    header = "subject,trial,label,modality,path,{}"
    last = "rate,start_s,stop_s".replace(column, name) if column in "rate start_s stop_s" else name
    cells = ",128,0,10"[: None if "," in last else 4]
    lines = [f"p{i},t,{'xy'[i % 2]},eeg,a.npy{cells}" for i in range(4)]
    with pytest.raises(DataError, match=f"Did you mean {column} for {re.escape(name)}"):
        read_rows(write(*lines, header=header.format(last)))


@pytest.mark.parametrize("name", ["participant_no", "VP", "Participant Nr.", "SubjectCode"])
def test_a_person_s_column_spelt_out(write: Write, name: str) -> None:
    with pytest.raises(DataError, match=f"Did you mean subject for {re.escape(name)}"):
        read_rows(write(*GOOD, header=HEADER.replace("subject", name)))


@pytest.mark.parametrize("name", ["trial_type", "start_emotion", "heart_rate", "end_state", "dyad"])
def test_labels_with_a_column_s_word_in_them(write: Write, name: str) -> None:
    rows = read_rows(write(*GOOD, header=HEADER.replace("label", name)))
    assert list(rows[0].labels) == [name]


def test_a_trial_has_one_label(write: Write) -> None:
    with pytest.raises(DataError, match="line 3, label: found no value, expected calm"):
        read_rows(write(GOOD[0], "p1,t1,n/a,ecg,a.npy,128", GOOD[1]))
    rows = read_rows(
        write("p1,t1,1,eeg,a.npy,128", "p1,t1,1.0,ecg,a.npy,128", "p2,t,2,eeg,b.npy,128")
    )
    assert rows[0].labels == rows[1].labels == {"label": "1"}


@pytest.mark.parametrize("values", [["1234567", "1234568"], ["0.1234567", "0.1234568"]])
def test_long_numbers_stay_apart(write: Write, values: list[str]) -> None:
    assert [row.labels["label"] for row in read_rows(labelled(write, values))] == values


@pytest.mark.parametrize("values", [["007", "008"], ["90071992547409931", "90071992547409932"]])
def test_codes_of_digits_are_words(write: Write, values: list[str]) -> None:
    found = read_manifest(labelled(write, values))
    assert not found.numeric
    assert [row.labels["label"] for row in found.rows] == values


@pytest.mark.parametrize("pair", [("calm", "Calm"), ("very calm", "verycalm"), ("007", "7"),
                                  ("fröhlich", "fro\u0308hlich")])  # fmt: skip
def test_two_spellings_of_a_class_are_refused(write: Write, pair: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"line 4, label: .* in line 2, expected one spelling"):
        read_rows(labelled(write, [pair[0], "angry", pair[1]]))


# --- people, trials, modalities ------------------------------------------------------------------
@pytest.mark.parametrize("pair", [("P0", "p0"), ("p 0", "p0"), ("1", "1.0")])
@pytest.mark.parametrize("column", ["subject", "trial", "stimulus", "group"])
def test_two_spellings_of_a_name_are_refused(
    write: Write, column: str, pair: tuple[str, str]
) -> None:
    lines = []
    for name, label, other in zip(pair, "xy", ("t1", "t2"), strict=True):
        cells = {"subject": "p", "trial": other, "stimulus": "s", "group": "g", column: name}
        if column == "group":
            cells["subject"] = other
        lines.append(f"{cells['subject']},{cells['trial']},{label},eeg,a.npy,128,"
                     f"{cells['stimulus']},{cells['group']}")  # fmt: skip
    with pytest.raises(DataError, match=f"line 3, {column}.*in line 2, expected one spelling"):
        read_rows(write(*lines, header=f"{HEADER},stimulus,group"))


def test_names_that_differ_in_zeros_are_noted(write: Write) -> None:
    path = write("p1,t,x,eeg,a.npy,128", "p01,t,y,eeg,b.npy,128")
    notes = read_manifest(path).notes
    assert len(notes) == 1
    assert "subject p1 and p01 are taken for two: line 3" in notes[0]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("EEG", "eeg"),
        ("Ecg", "ecg"),
        ("EKG", "ecg"),
        ("EDA", "gsr"),
        ("bvp", "ppg"),
        ("RSP", "resp"),
    ],
)
def test_a_modality_named_after_a_type_is_that_type(
    write: Write, tmp_path: Path, written: str, name: str
) -> None:
    path = write(*(line.replace("eeg", written) for line in GOOD))
    assert manifest.found(path) == (name,)
    assert f"modality {written} is {name}" in read_manifest(path).notes[0]
    store = prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "cache", progress=False)
    assert set(store.modalities[name].kinds) == {name}


def test_other_modalities_keep_their_name_in_one_spelling(write: Write) -> None:
    assert manifest.found(write(*(line.replace("eeg", "Physio") for line in GOOD))) == ("Physio",)
    with pytest.raises(DataError, match="line 3, modality: .*Physio.* in line 2"):
        read_rows(write(GOOD[0].replace("eeg", "Physio"), GOOD[1].replace("eeg", "physio")))
    assert "face" in FACE_MODALITIES


def test_a_misspelt_kind(write: Write) -> None:
    with pytest.raises(DataError, match="line 2, kind: found 'ege'.*Did you mean eeg"):
        read_rows(write(f"{GOOD[0]},ege", f"{GOOD[1]},", header=HEADER + ",kind"))
    assert (
        read_rows(write(f"{GOOD[0]},EEG", f"{GOOD[1]},", header=HEADER + ",kind"))[0].kind == "eeg"
    )


def test_a_misspelt_modality_on_the_command_line(write: Write, tmp_path: Path) -> None:
    write(*GOOD)
    for name, meant in (("ege", "eeg"), ("EEG", "eeg"), ("landmark", "landmarks")):
        with pytest.raises(DataError, match=f"no modality {name}.*Did you mean {meant}"):
            prepare(DATASETS["manifest"], tmp_path, PrepareOptions(modalities=(name,)),
                    cache=tmp_path / "cache", progress=False)  # fmt: skip


# --- files --------------------------------------------------------------------------------------
def test_backslashes_in_paths(write: Write, tmp_path: Path) -> None:
    (tmp_path / "p01").mkdir()
    (tmp_path / "a.npy").rename(tmp_path / "p01" / "x.npy")
    path = write(GOOD[0].replace("a.npy", "p01\\x.npy"), GOOD[1])
    found = read_manifest(path)
    assert found.rows[0].path == tmp_path / "p01" / "x.npy"
    assert "read as /" in found.notes[0]
    with pytest.raises(DataError, match=r"1 missing: .*p01\\y.npy.*Write paths with /"):
        read_rows(write(GOOD[0].replace("a.npy", "p01\\y.npy"), GOOD[1]))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("aa.npy", "Did you mean a.npy"), ("sub", "is a folder"), ("x/a.npy", "no folder")],
)
def test_a_missing_file_has_a_hint(write: Write, tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match=f"1 missing: .*{hint}"):
        read_rows(write(GOOD[0].replace("a.npy", name), GOOD[1]))


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("study/a.npy", "a.npy"),
        ("C:\\Users\\me\\study\\a.npy", "a.npy"),
        ("file:///data/a.npy", "a.npy"),
        ("~/study/sub/b.npy", "sub/b.npy"),
        ("a", "a.npy"),
    ],
)
def test_a_path_of_elsewhere(write: Write, tmp_path: Path, path: str, meant: str) -> None:
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "sub" / "b.npy", np.zeros((2, 9)))
    with pytest.raises(DataError, match=rf"1 missing: .*Did you mean {meant}\?"):
        read_rows(write(GOOD[0].replace("a.npy", path), GOOD[1]))


def test_paths_in_another_case(write: Write, tmp_path: Path) -> None:
    (tmp_path / "EEG").mkdir()
    (tmp_path / "a.npy").rename(tmp_path / "EEG" / "A.npy")
    path = write(GOOD[0].replace("a.npy", "eeg\\\\a.NPY"), GOOD[1])
    found = read_manifest(path)
    assert found.rows[0].path == tmp_path / "EEG" / "A.npy"
    assert "manifest: a path is read in the case that its file has: line 2, " in found.notes[0]


def test_a_path_from_home(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "a.npy").rename(home / "a.npy")
    monkeypatch.setenv("HOME", str(home))
    row = read_rows(write(GOOD[0].replace("a.npy", "~/a.npy"), GOOD[1]))[0]
    assert row.path == home / "a.npy"


def test_a_workbook_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "manifest.xlsx").write_bytes(b"PK\3\4" + bytes(range(256)))
    with pytest.raises(DataError, match=r"found nothing, but manifest.xlsx, expected the table"):
        table_path(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"PK\3\4" + bytes(range(256)))
    with pytest.raises(DataError, match="a spreadsheet's workbook.*Save it as CSV UTF-8"):
        read_rows(tmp_path / "manifest.csv")


# --- shared seconds -----------------------------------------------------------------------------
SPANS = "subject,trial,label,modality,path,rate,start_s,stop_s,channels,face_id"


def shared(write: Write, *lines: str) -> list[tuple[int, int, float]]:
    rows = read_rows(write(*lines, header=SPANS))
    return [(each.a.line, each.b.line, each.seconds) for each in overlaps(rows)]


@pytest.mark.parametrize(
    ("one", "two", "seconds"),
    [
        (("p,1", "eeg,a.npy,128,0,10,,"), ("p,2", "eeg,a.npy,128,6,16,,"), 4.0),
        (("p,1", "eeg,a.npy,128,0,10,,"), ("p,2", "eeg,./a.npy,128,0,10,,"), 10.0),
        (("p,1", "eeg,a.npy,128,0,10,,"), ("p,2", "eeg,link.npy,128,8,18,,"), 2.0),
        (("p,1", "EEG,a.npy,128,0,10,C3;C4,"), ("p,2", "eeg,a.npy,128,8,18,C4,"), 2.0),
        (("p,1", "eeg,a.npy,128,0,,,"), ("p,2", "eeg,a.npy,128,5,15,,"), 10.0),
        (("p,1", "eeg,a.npy,128,,,,"), ("p,2", "eeg,a.npy,128,,,,"), math.inf),
        (("p,1", "eeg,a.npy,128,0,10,,"), ("q,1", "eeg,a.npy,128,5,15,,"), 5.0),
        (("p,1", "eeg,a.npy,128,0,5,,"), ("q,1", "eeg,a.npy,128,5,10,,"), 0.0),
        (("p,1", "eeg,a.npy,128,0,10,EEG C3,"), ("q,1", "eeg,a.npy,128,8,18,c3,"), 2.0),
        (("p,1", "face,f.csv,,0,10,,"), ("q,1", "face,f.csv,,8,18,,0"), 2.0),
        (("p,1", "face,f.csv,,0,10,,0;2"), ("q,1", "face,f.csv,,8,18,,2"), 2.0),
    ],
)
def test_rows_that_read_the_same_seconds(
    write: Write, tmp_path: Path, one: tuple[str, str], two: tuple[str, str], seconds: float
) -> None:
    os.symlink("a.npy", tmp_path / "link.npy")
    (tmp_path / "f.csv").write_text("")
    found = shared(
        write,
        *(f"{who},{label},{rest}" for (who, rest), label in zip((one, two), "xy", strict=True)),
    )
    assert found == [(2, 3, seconds)]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("p,1", "eeg,a.npy,128,0,10,,"), ("p,2", "eeg,a.npy,128,10,20,,")),
        (("p,1", "eeg,a.npy,128,0,10,,"), ("p,2", "eeg,b.npy,128,0,10,,")),
        (("p,1", "eeg,a.npy,128,0,10,,"), ("p,1", "ecg,a.npy,128,0,10,,")),
        (("p,1", "eeg,a.npy,128,0,10,C3,"), ("q,1", "eeg,a.npy,128,0,10,C4,")),
        (("p,1", "face,f.csv,,0,10,,0"), ("q,1", "face,f.csv,,0,10,,1")),
        (("p,1", "face,f.csv,,0,10,,0;2"), ("q,1", "face,f.csv,,0,10,,1")),
    ],
)
def test_rows_that_share_nothing(
    write: Write, tmp_path: Path, one: tuple[str, str], two: tuple[str, str]
) -> None:
    (tmp_path / "f.csv").write_text("")
    np.save(tmp_path / "c.npy", np.zeros((2, 2560)))
    label = iter("xx" if one[0] == two[0] and one[0] == "p,1" else "xy")
    lines = [f"{who},{next(label)},{rest}" for who, rest in (one, two)]
    assert shared(write, *lines, "z,1,y,eeg,c.npy,128,,,,") == []
