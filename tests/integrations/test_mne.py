"""`clmer.integrations.mne`: Raw and Epochs in, windows as of files; annotations out."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import mne
import numpy as np
import pytest
from support.edf_files import noise
from support.train_cases import SMALL

import clmer
from clmer import CLMERClassifier, predict
from clmer.cli import main
from clmer.data.store.options import PrepareOptions
from clmer.errors import DataError
from clmer.integrations.mne import from_epochs, from_raw, to_annotations

FS = 200.0
OPTIONS = PrepareOptions(modalities=("eeg",), window_s=1.0)


def raw_of(
    seconds: float = 20.0, seed: int = 0, first: int = 0, dated: bool = False
) -> mne.io.RawArray:
    x = np.vstack([noise(3, seconds, FS, seed), noise(1, seconds, FS, 9, sd=300)]) * 1e-6
    info = mne.create_info(["Fz", "Cz", "Pz", "ECG"], FS, ["eeg"] * 3 + ["ecg"])
    raw = mne.io.RawArray(x, info, first_samp=first, verbose="ERROR")
    if dated:
        raw.set_meas_date(datetime(2020, 1, 2, tzinfo=timezone.utc))
    return raw


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on six people's FIF files."""
    root = tmp_path_factory.mktemp("study")
    lines = ["subject,trial,label,modality,path"]
    for person in range(6):
        for trial in ("bad mood", "calm"):
            name = f"p{person}_{trial[:3]}_raw.fif"
            raw_of(seed=2 * person + (trial == "calm")).save(root / name, verbose="ERROR")
            lines.append(f"p{person},{trial},{trial},eeg,{name}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    line += ["--no-contrastive", "--no-permuted", "--window", "1", "--out", str(root / "run")]
    assert main([*line, *SMALL]) == 0
    return root


def test_raw_in_annotations_out(study: Path) -> None:
    trained = clmer.load(study / "run")
    raw = raw_of(seed=50)
    raw.set_annotations(mne.Annotations([3.2], [1.5], ["BAD_movement"]))
    windows = from_raw(raw, trained)
    said = trained.predict(windows.arrays)
    raw.set_annotations(raw.annotations + to_annotations(said, windows, raw))

    found = [a for a in raw.annotations if a["description"].startswith("clmer/")]
    assert windows.start_s.tolist() == [0, 1, 2, *range(5, 20)]
    assert sum(round(a["duration"]) for a in found) == len(windows) == 18
    for a in found:
        inside = (windows.start_s >= a["onset"]) & (windows.start_s < a["onset"] + a["duration"])
        assert set(said[inside]) == {a["description"].removeprefix("clmer/")}
    assert "left out: 2 windows, marked BAD_movement in eeg" in windows.notes
    assert raw.get_data(reject_by_annotation="omit").shape[1] == raw.n_times - 1.5 * FS


def test_windows_are_those_of_the_raw_s_file(study: Path, tmp_path: Path) -> None:
    trained, raw = clmer.load(study / "run"), raw_of(seed=51)
    raw.save(tmp_path / "a_raw.fif", fmt="double", verbose="ERROR")
    recording = predict.read_recording(trained, {"eeg": tmp_path / "a_raw.fif"})
    wanted = predict.windows_of(trained, recording)
    shuffled = raw.copy().reorder_channels(["ECG", "Pz", "Fz", "Cz"])
    for given in (raw, shuffled, mne.io.read_raw_fif(tmp_path / "a_raw.fif", verbose="ERROR")):
        np.testing.assert_allclose(
            from_raw(given, trained).arrays["eeg"], wanted.arrays["eeg"], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("first", [0, 700])
def test_times_are_the_raw_s_own(first: int, dated: bool) -> None:
    raw = raw_of(first=first, dated=dated)
    raw.set_annotations(mne.Annotations([4.0], [2.0], ["BAD_x"]))
    windows = from_raw(raw, OPTIONS)
    assert windows.start_s.tolist() == [*range(4), *range(6, 20)]
    said = ["a"] * 4 + ["b"] * 14
    raw.set_annotations(raw.annotations + to_annotations(said, windows, raw))
    events, codes = mne.events_from_annotations(raw, regexp="clmer", verbose="ERROR")
    assert sorted(codes) == ["clmer/a", "clmer/b"]
    assert ((events[:, 0] - raw.first_samp) / FS).tolist() == [0.0, 6.0]
    assert raw.annotations.duration[raw.annotations.description != "BAD_x"].tolist() == [4.0, 14.0]


def test_bad_channels_are_not_used(study: Path) -> None:
    raw = raw_of()
    raw.info["bads"] = ["Cz"]
    windows = from_raw(raw, OPTIONS)
    assert windows.arrays["eeg"].shape == (20, 2, 128)
    assert "marked as bad and left out: Cz" in windows.notes
    with pytest.raises(DataError, match=r"bads.*found Cz.*interpolate_bads"):
        from_raw(raw, clmer.load(study / "run"))
    with pytest.raises(DataError, match="no Pz"):
        from_raw(raw_of().drop_channels(["Pz"]), clmer.load(study / "run"))


def test_epochs_are_windows_with_their_labels(study: Path) -> None:
    raw = raw_of(60.0)
    events = np.array([[int(FS * at), 0, code] for at, code in ((5, 1), (20, 2), (40, 1))])
    names = {"calm": 1, "angry": 2}
    epochs = mne.Epochs(raw, events, names, -0.5, 4.0, baseline=None, verbose="ERROR")
    windows = from_epochs(epochs, OPTIONS)
    assert windows.epochs.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert windows.labels.tolist() == ["calm"] * 4 + ["angry"] * 4 + ["calm"] * 4
    assert windows.start_s.tolist() == [0, 1, 2, 3] * 3
    second = mne.io.RawArray(epochs[1].get_data()[0], epochs.info, verbose="ERROR")
    alone = from_raw(second, OPTIONS).arrays["eeg"]
    np.testing.assert_allclose(windows.arrays["eeg"][4:8], alone, rtol=1e-5, atol=1e-5)
    trained = clmer.load(study / "run")
    assert trained.predict(from_epochs(epochs, trained).arrays).shape == (12,)
    model = CLMERClassifier(contrastive=False, validation=0.0, classifier="fusion", epochs_fusion=1)
    fitted = model.fit(windows.arrays["eeg"], windows.labels)
    assert set(fitted.predict(windows.arrays["eeg"])) <= {"calm", "angry"}
    with pytest.raises(ValueError, match="those of Epochs"):
        to_annotations(windows.labels, windows, raw)


def test_what_gives_no_windows_says_why() -> None:
    with pytest.raises(DataError, match="raw: windows: found none: shorter than"):
        from_raw(raw_of(0.5), OPTIONS)
    windows = from_raw(raw_of(), OPTIONS)
    with pytest.raises(ValueError, match="found 3, expected 20"):
        to_annotations(["a"] * 3, windows, raw_of())
    ratings = to_annotations(np.linspace(1, 2, 20), windows, raw_of())
    assert ratings.description[:2].tolist() == ["clmer/1", "clmer/1.05"]
