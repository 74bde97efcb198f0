"""Random but valid recordings: every window of a prepared study against an independent computation.

    python tests/fuzz_recordings.py --seconds 3600 --seed 1

hypothesis draws a study (`fuzz_recordings_study.py`, `fuzz_recordings_drawn.py`); edfio, pybv,
eeglabio and MNE write its files (`fuzz_recordings_written.py`); the manifest is prepared as a user
would; and channels, units, starts, counts and samples are compared with what SciPy makes of them
(`fuzz_recordings_expected.py`). Printed are the number of studies and of differences; a difference
is printed with the smallest study that shows it, and the exit status is then 1. pytest does not
collect this file; `test_fuzz_recordings.py` runs it for a moment.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from support.fuzz_recordings_drawn import studies
from support.fuzz_recordings_expected import Expected, face_rows, recording, type_of
from support.fuzz_recordings_study import Study
from support.fuzz_recordings_written import write, write_face, write_manifest

from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.errors import DataError

#: Studies between two looks at the clock.
BLOCK = 100
FACES = ("landmarks", "au", "gaze")


def check(study: Study, folder: Path) -> int:
    """Write, prepare and compare a study in an empty folder.

    Returns:
        The number of windows compared.

    Raises:
        AssertionError: a difference.
        DataError: the study was refused.
    """
    written = {name: write(file, folder, name) for name, file in study.files.items()}
    names = {name: each.path.name for name, each in written.items()}
    for name, face in study.faces.items():
        names[name] = f"{name}_face.csv"
        write_face(face, folder / names[name])
    write_manifest(study, names, folder)
    trials = sorted({(row.subject, row.trial) for row in study.rows})
    orders: dict[str, list[str]] = {}
    expected = {
        f"{subject}/{trial}": recording(
            study,
            [row for row in study.rows if (row.subject, row.trial) == (subject, trial)],
            written,
            orders,
        )
        for subject, trial in trials
    }
    known = DATASETS["manifest"].found(folder)
    modalities = [name for name in known if name not in FACES]
    modalities += [*FACES[: 3 if study.gaze else 2]] if study.faces else []
    try:
        store = prepare(
            DATASETS["manifest"],
            folder,
            PrepareOptions(
                modalities=tuple(modalities) if study.gaze else (),
                window_s=study.window_s,
                stride_s=study.stride_s,
                filter=study.filter,
                bridge_s=0.0,  # what is expected knows no samples but the file's
            ),
            cache=folder / "cache",
            progress=False,
        )
    except DataError as error:
        nothing = error.field.startswith("`modalities=") and "no window in" in str(error)
        if nothing and not any(each.must for each in expected.values()):
            return 0
        raise
    assert list(store.modalities) == modalities, list(store.modalities)
    for each in expected.values():  # "EDA" may come as "gsr"
        each.values = {n if n in modalities else type_of(n): v for n, v in each.values.items()}
        assert set(each.values) == set(modalities) - set(FACES), (list(each.values), modalities)
    _check_channels(store, expected, next(iter(expected.values())))
    for name, each in expected.items():
        _check_recording(study, store, name, each)
    _check_counts(store, expected)
    return len(store.windows)


def _check_channels(store: Store, expected: dict[str, Expected], first: Expected) -> None:
    """Names, types, units, and that what is left out is named."""
    for name, values in first.values.items():
        found = store.modalities[name]
        assert list(found.channels) == values.names, (name, found.channels, values.names)
        assert list(found.kinds) == values.kinds, (name, found.kinds, values.kinds)
        assert found.unit == values.unit, (name, found.unit, values.unit)
    lines = store.report["signals"]
    for each in expected.values():
        taken = {name for values in each.values.values() for name in values.names}
        for name, values in each.values.items():
            said = " ".join(line for line in lines if line.startswith(f"{name}: "))
            missing = [c for c in values.left_out if c not in taken and f"{c} (" not in said]
            assert not missing or len(values.left_out) > 8, (name, missing, said)


def _check_recording(study: Study, store: Store, name: str, expected: Expected) -> None:
    """Starts, labels and values of a recording's windows."""
    subject, trial = name.split("/")
    windows = store.windows
    rows = np.flatnonzero(windows.recording == name)
    starts = [Fraction(float(windows.start_s[row])) for row in rows]
    assert starts == sorted(set(starts)), (name, "starts out of order", starts)
    must, may = set(expected.must), set(expected.may)
    lacking, extra = sorted(must - set(starts)), sorted(set(starts) - may)
    assert not lacking, (name, "windows that are not there", list(map(float, lacking)))
    assert not extra, (name, "windows that cannot be there", list(map(float, extra)))
    assert len(rows) or name in store.report["recordings_skipped"], (name, "not said to be skipped")
    word, rating = study.labels[subject, trial]
    assert set(windows.subject[rows]) <= {subject}
    assert set(windows.labels["label"][rows]) <= {word}, (name, "label")
    assert set(windows.labels["rating"][rows]) <= {float(rating)}, (name, "rating")
    length = round(study.window_s * 128)
    for modality, values in expected.values.items():
        array = store.array(modality)
        for row, start in zip(rows, starts, strict=True):
            choices = [c for c in values.choices(start, length) if c is not None]
            off = [np.abs(array[row] - c).max(axis=1) / values.slack for c in choices]
            best = min(off, key=np.max)
            assert best.max() <= 1, (
                f"{name}, {modality}, window at {float(start)} s: {values.names[best.argmax()]} is "
                f"off by {best.max():.3g} times what rounding explains: "
                f"{array[row][best.argmax(), :3]}, expected {choices[0][best.argmax(), :3]}"
            )
    face_row = next((r for r in study.rows if (r.file, r.trial) == (subject, trial)), None)
    if face_row is None:
        return
    for modality in FACES[: 3 if study.gaze else 2]:
        array = store.array(modality)
        for row, start in zip(rows, starts, strict=True):
            low, high, _ = face_rows(study, face_row, start, modality)
            wrong = (array[row] < low) | (array[row] > high)
            assert not wrong.any(), (
                f"{name}, {modality}, window at {float(start)} s: (row, frame) "
                f"{np.argwhere(wrong)[0]}: {array[row][wrong][0]}, expected {low[wrong][0]} to "
                f"{high[wrong][0]}"
            )


def _check_counts(store: Store, expected: dict[str, Expected]) -> None:
    """Windows that are left out are counted, each once."""
    if store.report["recordings_skipped"]:
        return
    low, high = (sum(each.total[i] for each in expected.values()) for i in (0, 1))
    dropped = sum(store.report["windows_dropped"].values())
    assert low <= len(store.windows) + dropped <= high, (
        f"{len(store.windows)} windows and {dropped} dropped, expected {low} to {high}",
        store.report["windows_dropped"],
    )


def fuzz(number: int, examples: int, at_failure: Callable[[Study], None]) -> tuple[int, int]:
    """Check some studies.

    Args:
        number: the seed.
        examples: how many.
        at_failure: called with every study that fails, the smallest last.

    Returns:
        Studies and windows checked.
    """
    counts = [0, 0]

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(studies())
    def run(study: Study) -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                counts[1] += check(study, Path(folder))
            except BaseException:
                at_failure(study)
                raise
        counts[0] += 1

    run()
    return counts[0], counts[1]


def main() -> int:
    """Fuzz until the time is up or a difference is found."""
    parser = argparse.ArgumentParser(description="Fuzz the readers with valid recordings.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write the failing study's files there")
    options = parser.parse_args()
    failed: list[Study] = []
    start, number, examples, windows = time.monotonic(), options.seed, 0, 0
    while time.monotonic() - start < options.seconds:
        try:
            more = fuzz(number, BLOCK, failed.append)
        except Exception:  # whatever it is, it is a difference
            traceback.print_exc()
            print(f"seed {number}: {failed[-1]}")
            if options.keep:
                shutil.rmtree(options.keep, ignore_errors=True)
                options.keep.mkdir(parents=True)
                try:
                    check(failed[-1], options.keep)
                except Exception as error:
                    print(f"{options.keep}: {error}")
            print(f"{examples} studies, {windows} windows, differences found: 1")
            return 1
        examples, windows, number = examples + more[0], windows + more[1], number + 1
    print(f"{examples} studies, {windows} windows, differences found: 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
