"""Damaged files, stores and runs give a result or a `DataError`, soon, and in little memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fuzz_targets import Target, targets

from clmer.errors import DataError
from clmer.pipeline import run_files

NAMES = ("dat", "ratings", "face", "pyfeat", "hog", "mat", "emotiv", "table", "matrix")
NAMES += ("manifest", "edf", "bdf", "xdf", "store-json", "store-table", "store-array")
NAMES += ("run-config", "run-data", "run-results")
NAMES += ("run-log", "run-unfinished", "run-inputs", "run-predictions")
_INTERESTING = [
    *(b"", b"\0", b"\xff", b"-1", b"999999999", b"nan", b"inf", b"1e309", b",", b'"', b"\n"),
]

edits = st.lists(
    st.tuples(
        st.sampled_from(["cut", "replace", "insert", "drop"]),
        st.floats(0, 1),  # where
        st.integers(1, 64),  # how many bytes are dropped
        st.one_of(st.sampled_from(_INTERESTING), st.binary(max_size=16)),
    ),
    min_size=1,
    max_size=6,
)


def damaged(whole: bytes, changes: list[tuple[str, float, int, bytes]]) -> bytes:
    data = bytearray(whole)
    for kind, where, count, content in changes:
        # half of the changes fall into the first kilobyte, where the headers are
        at = int(2 * where * min(len(data), 1024) if where < 0.5 else (2 * where - 1) * len(data))
        if kind == "cut":
            del data[at:]
        elif kind == "replace":
            data[at : at + len(content)] = content
        elif kind == "insert":
            data[at:at] = content
        else:
            del data[at : at + count]
    return bytes(data)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    found = targets(tmp_path_factory.mktemp("fuzz"))
    assert tuple(found) == NAMES
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_is_read(every: dict[str, Target], name: str) -> None:
    assert every[name].run(every[name].whole)


@pytest.mark.parametrize("name", NAMES)
def test_damage_gives_a_result_or_a_data_error(every: dict[str, Target], name: str) -> None:
    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(edits)
    def check(changes: list[tuple[str, float, int, bytes]]) -> None:
        start = time.perf_counter()
        every[name].run(damaged(every[name].whole, changes))
        assert time.perf_counter() - start < 20

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 2**30


def test_a_header_that_claims_terabytes(every: dict[str, Target], tmp_path: Path) -> None:
    for name in ("edf", "bdf"):
        whole = every[name].whole
        for at, size, text in ((236, 8, b"99999999"), (252, 4, b"9999")):
            data = whole[:at] + text.ljust(size) + whole[at + size :]
            assert not every[name].run(data)


_OTHER = [None, True, -1, 0, 10**15, 1e308, float("nan"), "", "x", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize(
    "name", ["store-json", "run-config", "run-data", "run-results", "run-log", "run-unfinished"]
)
def test_a_field_with_another_value(every: dict[str, Target], name: str) -> None:
    whole = every[name].whole
    log = name in ("run-log", "run-unfinished")
    first, rest = (whole.split(b"\n", 1)[0], b"\n") if log else (whole, b"")
    places = list(_places(json.loads(first), ()))
    edit = st.tuples(st.sampled_from(places), st.sampled_from(_OTHER))

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(edit, min_size=1, max_size=2))
    def check(edits: list[tuple[tuple[str | int, ...], object]]) -> None:
        found = json.loads(first)
        for place, value in edits:
            found = _put(found, place, value)
        every[name].run(json.dumps(found).encode() + rest)

    check()


def _places(value: object, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else ()
    inner = list(enumerate(value))[:2] if isinstance(value, list) else inner
    for key, item in inner:
        yield from _places(item, (*at, key))


def _put(value: object, place: tuple[str | int, ...], new: object) -> object:
    """The value with another one in a place; as it is where the place has gone."""
    if not place:
        return new
    key, *rest = place
    if isinstance(value, dict) and key in value:
        return value | {key: _put(value[key], tuple(rest), new)}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return [*value[:key], _put(value[key], tuple(rest), new), *value[key + 1 :]]
    return value


def test_a_file_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    for kind in ("results.json", "metrics.jsonl"):
        path = tmp_path / kind
        with path.open("wb") as file:
            file.truncate(run_files.MOST_BYTES + 1)
        read = run_files.read_log if kind.endswith("l") else run_files.read_json
        with pytest.raises(DataError, match=r"more than 256 MiB.*Delete it"):
            read(path)
