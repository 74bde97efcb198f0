"""What was understood of one's files is said wherever they are used; copies never split."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.edf_files import noise, write_edf

from clmer.cli import main
from clmer.report.inspection import inspect
from clmer.report.page import report as report_page

TINY = (
    "--threads 1 --no-permuted --no-contrastive --dim 8 --heads 2 --token-length 5 --folds 3 "
    "--cross-layers 1 --memory-layers 1 --single-layers 1 --epochs-fusion 1 --ablation none"
).split()
LINE = (
    "eeg: 2 channels (eeg) Fp1 Cz; uV, median amplitude {}; 128 Hz; 12 recordings of 12 s; "
    "left out: DIG DTRIG (trigger)"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people's two trials, with a trigger line that tells the class."""
    root = tmp_path_factory.mktemp("study")
    rows = []
    for person in range(6):
        for trial, label in enumerate(("calm", "angry")):
            path = root / f"p{person}_{label}.edf"
            x = noise(3, 12, 128, seed=10 * person + trial)
            x[2] = 10 * trial
            write_edf(path, ["EEG Fp1", "EEG Cz", "DIG DTRIG"], x, 128)
            rows.append(f"p{person},{label},{label},eeg,{path.name}")
    (root / "manifest.csv").write_text(
        "\n".join(["subject,trial,label,modality,path", *rows]) + "\n"
    )
    return root


@pytest.fixture(scope="module")
def trained(study: Path) -> tuple[Path, str]:
    """A run on it and what training printed."""
    import contextlib
    import io

    said = io.StringIO()
    command = ["train", "manifest", "--root", str(study), "--out", str(study / "run"), *TINY]
    with contextlib.redirect_stdout(said):
        assert main([*command, "--cache", str(study / "cache")]) == 0
    return study / "run", said.getvalue()


def test_the_line_stands_in_every_output(
    study: Path, trained: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, said = trained
    line = json.loads((run / "data.json").read_text())["read"][0]
    amplitude = line.split("amplitude ")[1].split(";")[0]
    assert float(amplitude) == pytest.approx(20, rel=0.1)
    assert line == LINE.format(amplitude)
    assert line.replace("eeg: ", "eeg ", 1) in " ".join(said.split())
    assert line in inspect("manifest", study, cache=study / "cache", progress=True)
    assert line in " ".join(capsys.readouterr().out.split())
    assert line in report_page([run], cache=study / "cache", shows_learned=False)
    assert main(["predict", str(run), str(study / "p0_calm.edf"), "--split", "split1"]) == 0
    assert "eeg: 2 channels (eeg) Fp1 Cz; uV" in capsys.readouterr().err


def test_a_trigger_line_tells_nothing(trained: tuple[Path, str]) -> None:
    results = json.loads((trained[0] / "results.json").read_text())
    (model,) = [each for each in results["models"] if each["name"] == "eeg"]
    assert abs(model["windows"]["balanced_accuracy"]["value"] - 0.5) < 0.2


@pytest.mark.parametrize(
    ("unit", "option", "message"),
    [
        ("mV", (), r"amplitude of eeg \(eeg\): found .* times too large"),
        ("mV", ("--unit", "uV"), ""),
        ("uV", ("--unit", "abc"), "unit of FP1-REF: found 'abc'"),
    ],
)
def test_predict_compares_units_with_the_training_s(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    unit: str, option: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    path = tmp_path / "new.edf"
    write_edf(path, ["Cz", "FP1-REF"], noise(2, 6, 256), 256, units=unit)
    status = main(["predict", str(trained[0]), str(path), "--split", "split1", *option])
    said = capsys.readouterr().err
    if message:
        assert status == 2
        assert re.search(message, said), said
    else:
        assert status == 0
        assert "note: eeg was recorded at 256 Hz, in training at 128" in said


def test_one_file_under_two_people_is_refused(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (study / "manifest.csv").read_text().splitlines()
    (tmp_path / "copy.edf").write_bytes((study / "p0_calm.edf").read_bytes())
    for row in rows[1:]:
        name = row.split(",")[-1]
        if not name.startswith("p3_calm"):
            (tmp_path / name).symlink_to(study / name)
    changed = [row.replace("p3_calm.edf", "copy.edf") for row in rows]
    (tmp_path / "manifest.csv").write_text("\n".join(changed) + "\n")
    command = ["train", "manifest", "--root", str(tmp_path), "--out", str(tmp_path / "run"), *TINY]
    assert main([*command, "--cache", str(tmp_path / "cache")]) == 2
    assert "the same samples in p0/calm and p3/calm" in capsys.readouterr().err


@pytest.mark.parametrize(("group", "status"), [("", 2), ("pair", 0)])
def test_separate_parts_of_one_file_for_two_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], group: str, status: int
) -> None:
    rows = []
    for person in range(8):
        name = f"{min(person, 6)}.npy"  # the last person's path was not changed
        np.save(tmp_path / name, noise(2, 40, 128, seed=min(person, 6)))
        for trial, label in enumerate("xy"):
            start = 10 * trial + 20 * (person == 7)
            of = group if person > 5 else ""
            rows.append(f"p{person},{trial},{label},eeg,{name},128,{start},{start + 10},{of}")
    header = "subject,trial,label,modality,path,rate,start_s,stop_s,group"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    command = ["train", "manifest", "--root", str(tmp_path), *TINY, "--cache", str(tmp_path / "c")]
    assert main([*command, "--out", str(tmp_path / "run")]) == status
    said = capsys.readouterr().err
    assert ("6.npy in p6/0 and p7/0 (eeg), expected files of their own" in said) == (status == 2)


def test_a_slow_signal_read_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    t = np.arange(160) / 4
    for person in range(4):
        np.save(tmp_path / f"{person}.npy", 5 + person + np.sin(2 * np.pi * 0.05 * t))
    rows = [
        f"p{person},{trial},{'xy'[trial]},gsr,{person % 4}.npy,4,{20 * trial},{20 * trial + 20}"
        for person in range(5)
        for trial in range(2)
    ]
    header = "subject,trial,label,modality,path,rate,start_s,stop_s"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    command = ["train", "manifest", "--root", str(tmp_path), *TINY, "--cache", str(tmp_path / "c")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "the same samples in p0/0 and p4/0 (gsr)" in capsys.readouterr().err


def test_trials_that_overlap_stay_on_one_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for person in range(3):
        np.save(tmp_path / f"{person}.npy", noise(2, 170, 128, seed=person))
        for k in range(10):
            for j in range(2):
                start = 16 * k + 3.5 * j
                label = "xy"[k % 2]
                rows.append(f"p{person},{k}{j},{label},eeg,{person}.npy,128,{start},{start + 8}")
    header = "subject,trial,label,modality,path,rate,start_s,stop_s"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    command = ["train", "manifest", "--root", str(tmp_path), *TINY, "--cache", str(tmp_path / "c")]
    assert main([*command, "--protocol", "trial", "--out", str(tmp_path / "run")]) == 0
    assert "60 recordings share samples with others" in capsys.readouterr().out
    with (tmp_path / "run" / "results.json").open() as file:
        assert json.load(file)["shared_groups"] == 0
    assert main([*command, "--protocol", "block", "--out", str(tmp_path / "other")]) == 2
    assert "the same samples in" in capsys.readouterr().err


def test_every_pair_of_a_group_is_joined_groups() -> None:
    from clmer.data.splits.protocols import joined_groups

    groups = np.array(list("abcdef"))
    joined, count = joined_groups(groups, groups, [("a", "c"), ("c", "f"), ("e", "x"), ("d", "e")])
    assert joined.tolist() == ["a", "b", "a", "d", "d", "a"]
    assert count == 5
