import numpy as np
import pytest

from clmer.data.store.store import Windows
from clmer.errors import ConfigError, DataError
from clmer.pipeline.options.reference import parse
from clmer.pipeline.reference_rows import find_reference, how_to_record


def windows(stride=1.0, **columns):
    """Two people, each with rest of 10 s, task of 10 s, rest of 10 s; windows of 1 s."""
    starts = np.arange(0, 9 + 1e-9, stride)
    names = [f"{person}/{trial}" for person in "ab" for trial in ("1", "2", "3")]
    recording = np.repeat(names, len(starts))
    subject = np.array([name[0] for name in recording])
    state = np.where([name[-1] == "2" for name in recording], "task", "rest")
    return Windows(
        subject, subject, recording, state, np.tile(starts, 6), {"state": state, **columns}, 1.0
    )


def known(kind, rows, column="state"):
    found = find_reference(kind, rows, column, "study")
    return [
        (str(rows.recording[i]), float(rows.start_s[i])) for i in np.flatnonzero(found.known)
    ], found


def test_the_first_seconds_of_a_label_recording_by_recording():
    found, reference = known("rest:12", windows())
    expected = [("1", second) for second in range(10)] + [("3", 0), ("3", 1)]
    assert found == [(f"{p}/{trial}", second) for p in "ab" for trial, second in expected]
    assert (reference.used == ~reference.known).all()


def test_all_of_a_label_without_seconds():
    found, reference = known("rest", windows())
    assert len(found) == 40
    assert reference.used.sum() == 20


def test_windows_that_overlap_the_reference_are_in_no_part():
    rows = windows(stride=0.25)
    found, reference = known("rest:4", rows)
    assert max(start for _, start in found) == 3.0
    left = ~reference.used
    assert rows.start_s[left].max() == 3.75  # holds samples of the second before 4
    assert {str(name) for name in rows.recording[left]} == {"a/1", "b/1"}


def test_all_windows_are_known_and_used_under_all():
    _, reference = known("all", windows())
    assert reference.known.all()
    assert reference.used.all()
    assert find_reference("none", windows(), "state", "study") is None


@pytest.mark.parametrize("cells", [("yes", "no"), ("1", "0"), ("x", ""), (1.0, np.nan)])
def test_recordings_are_marked_by_a_column(cells):
    rows = windows()
    marks = np.where([name[-1] == "3" for name in rows.recording], *cells)
    found, _ = known("marked", windows(reference=marks))
    assert {name for name, _ in found} == {"a/3", "b/3"}


def test_a_label_of_another_column_is_found():
    rows = windows()
    phase = np.where([name[-1] == "1" for name in rows.recording], "baseline", "later")
    rating = np.arange(60.0)
    found, _ = known("baseline:5", windows(phase=phase, rating=rating), "rating")
    assert len(found) == 10


def test_what_cannot_be_a_reference_is_refused():
    rows = windows()
    with pytest.raises(DataError, match="`reference=calm`: found no such label, expected one of r"):
        known("calm:60", rows)
    with pytest.raises(DataError, match="found the columns state, expected a column 'reference'"):
        known("marked", rows)
    with pytest.raises(DataError, match=r"too few reference windows of a \(3\), b \(3\)"):
        known("rest:3", rows)
    rows.labels["state"][rows.subject == "b"] = "task"
    with pytest.raises(DataError, match=r"too few reference windows of b \(0\)"):
        known("rest:5", rows)


def test_the_option_is_read():
    assert parse("rest:60") == ("rest", 60.0)
    assert parse("rest") == ("rest", np.inf)
    assert parse("eyes: open") == ("eyes: open", np.inf)
    assert parse("all:5") == ("all", 5.0)
    assert parse("all") is None
    for text in ("", ":60", "rest:0", "rest:-1", "rest:nan"):
        with pytest.raises(ConfigError, match="`reference`: found"):
            parse(text)
    assert how_to_record("rest:60") == "record 60 s of rest of this person"
