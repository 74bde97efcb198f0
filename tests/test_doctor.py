"""`clmer doctor` says what there is, also where something is missing or broken."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from support.places import ROOT

import clmer
from clmer.cli import doctor, extras, main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["doctor", *words]) == 0
    return capsys.readouterr().out


def test_it_says_what_is_built_and_used(capsys: pytest.CaptureFixture[str]) -> None:
    text, info = said(capsys, "--no-extras"), clmer.build_info()
    assert text.startswith(f"clmer {clmer.__version__}\n")
    assert f"in use here: {info['simd_in_use']}" in text
    assert torch.__version__ in text
    assert "cross_attention" in text
    assert f"{torch.get_num_threads()} of torch" in text
    assert info["cuda_why"] in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_folders_are_those_of_the_variables_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLMER_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("CLMER_CACHE", str(tmp_path))
    text = " ".join(said(capsys, "--no-extras").split())
    assert f"{tmp_path / 'none'}: not there" in text
    assert f"{tmp_path}: writable" in text
    assert str(Path.home()) not in text.replace(str(tmp_path), "")
    monkeypatch.setenv("HOME", str(tmp_path))
    text = " ".join(said(capsys, "--no-extras").split())
    assert "~/none: not there" in text
    assert "~: writable" in text
    assert str(tmp_path) not in text
    monkeypatch.delenv("CLMER_DATA")
    assert re.search(r"CLMER_DATA +not set", said(capsys, "--no-extras"))


def test_without_a_gpu_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    text = said(capsys, "--no-extras")
    assert f"torch {torch.__version__} has no CUDA" in " ".join(text.split())


def test_a_module_that_cannot_be_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "clmer._native", None)
    text = said(capsys, "--no-extras")
    assert "cannot be loaded" in text
    assert "processor" in text


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages: one that works, one whose import fails, one that ends Python."""
    bodies = {
        "works": "print('imported\\tbreaks\\tno')",
        "breaks": "raise ImportError('libx.so: cannot open /home/somebody/lib/libx.so')",
        "ends": "import os; os._exit(7)",
        "after": "",
    }
    for name, body in bodies.items():
        (tmp_path / f"own_{name}.py").write_text(body + "\n")
        info = tmp_path / f"own_{name}-1.2.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: own-{name}\nVersion: 1.2\n"
        )
        info.joinpath("top_level.txt").write_text(f"own_{name}\n")
        info.joinpath("RECORD").write_text(f"own_{name}.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_each_extra_is_whole_missing_or_broken(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = [
        'own-works>=1; extra == "xdf"',
        'own-breaks; sys_platform == "linux" and extra == "video"',
        'own-ends; extra == "live"',
        'own-after; extra == "live"',
        'own-absent; extra == "bids"',
        "numpy",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: needs if name == "clmer" else None)
    text = said(capsys)
    lines = " ".join(text[text.index("extras") :].split())
    assert f"xdf complete - {extras.WHAT_FOR['xdf']} own-works 1.2" in lines
    assert "video broken" in lines
    assert "own-breaks 1.2 (import fails: ImportError: libx.so: cannot open libx.so)" in lines
    assert "own-ends 1.2 (import fails: its import ended Python (exit code 7))" in lines
    assert "own-after 1.2 " in lines + " "
    assert "bids missing" in lines
    assert "own-absent: not installed" in lines
    assert "/home" not in lines


def test_an_import_that_does_not_end_is_told(site: Path) -> None:
    (site / "own_slow.py").write_text("import time\ntime.sleep(600)\n")
    told = extras.import_all(["own_works", "own_slow", "own_after"], limit_s=3)
    late = "its import took longer than 3 s"
    assert told == {"own_after": "", "own_slow": late, "own_works": ""}


def test_of_several_modules_that_of_the_name_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"a_helper": ["own-pack"], "own_pack": ["Own_Pack"], "own_pack/c/lib": ["own-pack"]}
    there |= {"_hidden": ["other"], "first": ["other"], "second": ["other"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: there)
    assert extras.modules_of(["own-pack", "other"]) == {"own-pack": "own_pack", "other": "first"}


def test_a_folder_without_metadata_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def requires(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert "clmer is imported from a folder" in said(capsys)


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not a clone")
def test_every_extra_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    assert set(re.findall(r"^(\w+) = ", table, re.M)) == set(extras.WHAT_FOR)


def test_paths_are_left_out_of_messages() -> None:
    told = doctor.without_paths("/home/me/venv/lib/libx.so: no such file; see ~/notes/a.txt, 1/2")
    assert told == "libx.so: no such file; see a.txt, 1/2"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"clmer {clmer.__version__}\n"
