"""Names of modalities: what a run could not tell from its own files and modules is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clmer.baselines import NAMES
from clmer.cli import main
from clmer.errors import ConfigError
from clmer.pipeline.options.names import check_modality_names, is_valid_modality_name
from clmer.pipeline.presets import build


@pytest.mark.parametrize("name", ["physio", "eeg", "skin conductance", "acc_x+y", "EMG-1b"])
def test_valid(name: str) -> None:
    assert is_valid_modality_name(name)
    check_modality_names([name])


@pytest.mark.parametrize(
    "name", [*NAMES, "contrastive", "permuted", "eeg-2", "keys", "a/b", "", "."]
)
def test_invalid(name: str) -> None:
    assert not is_valid_modality_name(name)
    with pytest.raises(ConfigError, match=r"`modalities`: found .* expected letters, .*my_"):
        check_modality_names(["eeg", name])


def test_a_configuration_and_a_manifest_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="Call it my_mult, for example"):
        build("manifest", {"device": "cpu", "modalities": ("mult",)})
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(1, 256)))
    (tmp_path / "manifest.csv").write_text(
        "subject,trial,label,modality,path,rate\np1,1,a,mult,a.npy,128\np2,1,b,mult,a.npy,128\n"
    )
    given = ["--root", str(tmp_path), "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "r")]
    assert main(["train", "manifest", *given]) == 2
    assert "Call it my_mult" in capsys.readouterr().err
