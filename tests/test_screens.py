"""What a command says of itself fits a terminal of 80 columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from clmer.cli import COMMANDS, main


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "Did you mean train?"),
        (["train", "study"], "clmer train manifest --root DIR"),
        (["train", "eegmatt"], "Did you mean eegmat?"),
        (["inspect", "manifets"], "Did you mean manifest?"),
    ],
)
def test_a_slip_is_told_within_80_columns(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    text = capsys.readouterr().err
    assert said in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "clmer manifest DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["manifest"], ["inspect", "manifest", "--root"], ["train", "manifest", "--root"]]
)
def test_a_slip_in_a_folders_name_is_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my-study").mkdir()
    assert main([*words, str(tmp_path / "my-studi")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"Did you mean {tmp_path / 'my-study'}?" in said
