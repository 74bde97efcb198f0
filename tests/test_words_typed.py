"""Words that are no options, and what they may have meant."""

from __future__ import annotations

import pytest

from clmer.cli import main


@pytest.mark.parametrize(
    ("word", "meant"),
    [("--taks", "--task"), ("--modality", "--modalities"), ("--fold", "--folds")],
)
def test_a_slip_in_an_option_is_told(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A beginning of an option is none: `--modality` would be `--modality-dropout`."""
    with pytest.raises(SystemExit, match="2"):
        main(["train", "manifest", word, "eeg"])
    said = " ".join(capsys.readouterr().err.split())
    assert f"unrecognized arguments: {word} eeg. Did you mean {meant}?" in said
    assert said.startswith("usage: clmer train DATASET")
