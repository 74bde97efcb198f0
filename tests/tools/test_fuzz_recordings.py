"""Random but valid recordings of every format, against an independent computation, for a moment.

`python tests/fuzz_recordings.py --seconds 3600` does the same for longer, with fresh studies.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fuzz_recordings import check
from hypothesis import HealthCheck, given, settings
from support.fuzz_recordings_drawn import studies
from support.fuzz_recordings_study import File, Line, Row, Study

EEG = Line("Fz", "eeg", "Fz", "uV", "uV", 1.0, Fraction(200))
FILE = File("edf", (EEG,), Fraction(10), (), (), "1", False, 1, 0)
ROWS = (Row("p1", "a", "eeg", "p1_a"), Row("p2", "a", "eeg", "p2_a"))
LABELS = {("p1", "a"): ("calm", "1"), ("p2", "a"): ("angry", "2")}


def study(*files: File, **changes: object) -> Study:
    both = dict(zip(("p1_a", "p2_a"), files * (3 - len(files)), strict=True))
    plain = Study(both, {}, ROWS, LABELS, 1.0, 1.0, "type", False)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_every_window_is_as_computed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same studies every time: a failure is a change of the package or of this test."""

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(studies())
    def run(study: Study) -> None:
        check(study, tmp_path_factory.mktemp("study"))

    run()


@pytest.mark.parametrize("format_", ["edf", "bdf", "vhdr", "set", "fif"])
def test_a_sample_an_offset_or_a_channel_that_differs_is_found(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: on another sample, a time that is off, another unit."""
    other = Line("Pz", "eeg", "Pz", "", "uV", 1.0, Fraction(200))
    lines = (EEG, replace(other, unit="mV", factor=1e3))
    if format_ in ("set", "fif"):
        lines = (replace(EEG, unit=""), other)
    file = replace(FILE, format=format_, lines=lines, record="1" if "df" in format_ else "")
    assert check(study(file), _folder(tmp_path, "whole")) == 20

    import fuzz_recordings

    def late(*args: object) -> object:
        written = write(*args)
        return replace(written, samples=[np.roll(x, 1) for x in written.samples])

    def scaled(*args: object) -> object:
        written = write(*args)
        return replace(written, samples=[1.001 * x for x in written.samples])

    def swapped(*args: object) -> object:
        written = write(*args)
        return replace(written, samples=written.samples[::-1])

    write = fuzz_recordings.write
    for number, wrong in enumerate((late, scaled, swapped)):
        monkeypatch.setattr(fuzz_recordings, "write", wrong)
        with pytest.raises(AssertionError, match="off by"):
            check(study(file), _folder(tmp_path, str(number)))


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name
