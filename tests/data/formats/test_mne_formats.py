"""Every format that MNE reads: samples in uV, names, rate and markers, against what was written."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pytest
from support import vendor_files as vendor
from support.edf_files import noise, write_edf

from clmer.data.formats.biosignal import files_of, open_biosignal
from clmer.data.manifest.reader import read_file
from clmer.data.timeline import Piece
from clmer.errors import DataError

NAMES = ["Fp1", "Cz", "O2"]
EVENTS = ((500, 3), (1250, 7))
CODES = ((2.0, "3"), (5.0, "7"))


@pytest.mark.parametrize(
    ("name", "write", "package", "markers"),
    [
        ("a.cnt", vendor.neuroscan_cnt, "", CODES),
        ("b.cnt", vendor.ant_cnt, "antio", CODES),
        ("a.raw", vendor.egi_raw, "", ((2.0, "evt1"), (5.0, "evt1"))),
        ("a.mff", vendor.egi_mff, "mffpy", ((2.0, "c3"), (5.0, "c7"))),
        ("a.data", vendor.nicolet, "", ()),
        ("a.lay", vendor.persyst, "", CODES),
        ("a.nedf", vendor.nedf, "defusedxml", CODES),
        ("a.eeg", vendor.nihon_kohden, "", ()),
    ],
)
def test_samples_names_rate_and_markers(
    tmp_path: Path,
    name: str,
    write: vendor.Writer,
    package: str,
    markers: tuple[tuple[float, str], ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    if package:
        pytest.importorskip(package)
    path, x, fs = tmp_path / name, noise(3, 8, 250), 250
    write(path, NAMES, x, fs, EVENTS)
    file = open_biosignal(path)
    got = read_file(path, "eeg")
    assert (got.fs, got.unit, file.duration_s) == (250.0, "uV", 8.0)
    if not name.startswith(("a.raw", "a.mff")):  # which number their channels
        assert [each.lower() for each in got.channels] == [each.lower() for each in NAMES]
    np.testing.assert_allclose(got.data[:3], x, atol=0.06)
    assert [(round(m.onset_s, 6), m.text) for m in file.markers] == list(markers)
    assert path in file.files
    assert "Reading" not in capfd.readouterr().out


def test_a_format_without_units_asks_for_one(tmp_path: Path) -> None:
    path, x = tmp_path / "a.dat", noise(2, 8, 256)
    vendor.bci2000(path, ["a", "b"], x, 256, ((512, 3),))
    with pytest.raises(DataError, match="unit of .*column unit"):
        read_file(path, "eeg")
    got = read_file(path, "eeg", unit="uV")
    np.testing.assert_allclose(got.data, np.rint(x / vendor.STEP))
    assert [(m.onset_s, m.text) for m in open_biosignal(path).markers] == [(2.0, "3")]


def test_eximia(tmp_path: Path) -> None:
    path, x = tmp_path / "a.nxe", noise(3, 2, 1450)
    vendor.eximia(path, [], x, 1450, ())
    got = read_file(path, "eeg")
    assert (got.channels[:3], got.unit, got.fs) == (("Fp1", "Fpz", "Fp2"), "uV", 1450.0)
    np.testing.assert_allclose(got.data[:3], x, atol=0.04)


def test_a_package_that_a_format_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nedf"
    vendor.nedf(path, NAMES, noise(3, 2, 250), 250, ())
    monkeypatch.setitem(__import__("sys").modules, "defusedxml", None)
    with pytest.raises(DataError, match=r"no defusedxml.*pip install defusedxml"):
        open_biosignal(path)


def test_a_persyst_layout_without_a_patient_says_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "a.lay"
    vendor.persyst(path, NAMES, noise(3, 2, 250), 250, ())
    path.write_text(path.read_text().replace("BirthDate=//\n", ""))
    with pytest.raises(DataError, match=r"\[Patient\].*BirthDate=//, Sex= and Hand="):
        open_biosignal(path)


# --- Epochs --------------------------------------------------------------------------------------
def epochs(fs: float, apart: int) -> tuple[mne.EpochsArray, np.ndarray]:
    x = noise(4 * 2, 2, fs).reshape(4, 2, -1)
    events = np.array([[500 + apart * i, 0, (7, 9)[i % 2]] for i in range(4)])
    info = mne.create_info(["Fp1", "C3"], fs, "eeg")
    info["bads"] = ["C3"]
    names = {"calm": 7, "angry": 9}
    made = mne.EpochsArray(x * 1e-6, info, events, tmin=-0.5, event_id=names, verbose="ERROR")
    return made, x


@pytest.mark.parametrize("name", ["a-epo.fif", "a_epo.fif.gz", "own name.fif"])
def test_epochs_of_fif_are_trials(tmp_path: Path, name: str) -> None:
    made, x = epochs(128.0, 1000)
    made.save(tmp_path / name, fmt="double", verbose="ERROR")
    file = open_biosignal(tmp_path / name)
    assert [(m.onset_s, m.duration_s, m.text) for m in file.markers] == [
        (0.0, 2.0, "calm"),
        (2.0, 2.0, "angry"),
        (4.0, 2.0, "calm"),
        (6.0, 2.0, "angry"),
    ]
    assert (file.channels, file.fs, file.duration_s, file.notes) == (("Fp1", "C3"), 128.0, 8.0, ())
    assert [channel.name for channel in file.select("eeg")] == ["Fp1"]  # C3 is marked as bad
    third = file.signal(["Fp1", "C3"], 4.0, 6.0)
    np.testing.assert_allclose(third.data, x[2], atol=1e-6)
    both = file.signal(["Fp1"], 1.0, 3.0)
    np.testing.assert_allclose(both.data[0], [*x[0, 0, 128:], *x[1, 0, :128]], atol=1e-6)
    assert both.line.pieces == (Piece(0.0, 0, 128), Piece(1.0, 128, 256))


def test_epochs_that_share_samples_are_said(tmp_path: Path) -> None:
    made, _ = epochs(128.0, 100)
    made.save(tmp_path / "a-epo.fif", verbose="ERROR")
    assert "3 epochs begin before" in open_biosignal(tmp_path / "a-epo.fif").notes[0]


def test_epochs_of_eeglab_are_trials(tmp_path: Path) -> None:
    export = pytest.importorskip("eeglabio.epochs").export_set
    made, x = epochs(128.0, 1000)
    path = tmp_path / "a.set"
    export(
        path, x * 1e-6, 128, made.events, -0.5, 1.5 - 1 / 128, ["Fp1", "C3"], made.event_id,
        precision="double",
    )  # fmt: skip
    file = open_biosignal(path)
    assert [(m.onset_s, m.text) for m in file.markers] == [
        (0.0, "calm"),
        (2.0, "angry"),
        (4.0, "calm"),
        (6.0, "angry"),
    ]
    np.testing.assert_allclose(file.signal(["Fp1", "C3"], 2.0, 4.0).data, x[1], atol=1e-6)
    assert read_file(path, "eeg").unit == "uV"


def test_a_manifest_s_rows_name_epochs_by_their_time(tmp_path: Path) -> None:
    from clmer.data.manifest.reader import read

    made, x = epochs(128.0, 1000)
    made.info["bads"] = []
    made.save(tmp_path / "a-epo.fif", fmt="double", verbose="ERROR")
    rows = [
        f"p1,{i},{marker.text},eeg,a-epo.fif,{marker.onset_s},{marker.onset_s + marker.duration_s}"
        for i, marker in enumerate(open_biosignal(tmp_path / "a-epo.fif").markers)
    ]
    head = "subject,trial,label,modality,path,start_s,stop_s"
    (tmp_path / "manifest.csv").write_text("\n".join([head, *rows]) + "\n")
    found = list(read(tmp_path))
    assert [each.labels["label"] for each in found] == ["calm", "angry", "calm", "angry"]
    for each, epoch in zip(found, x, strict=True):
        np.testing.assert_allclose(each.signals["eeg"].data, epoch, atol=1e-6)


# --- Split files and parts -----------------------------------------------------------------------
def test_a_split_fif_is_one_recording(tmp_path: Path) -> None:
    path, fs = tmp_path / "a_raw.fif", 1000.0
    x = noise(4, 240, fs)
    raw = mne.io.RawArray(x * 1e-6, mne.create_info(4, fs, "eeg"), verbose="ERROR")
    raw.save(path, fmt="double", split_size="3MB", verbose="ERROR")
    parts = sorted(tmp_path.glob("*.fif"))
    assert len(parts) > 1
    file = open_biosignal(path)
    assert sorted(files_of(path)) == parts
    np.testing.assert_allclose(file.signal(file.channels, 100.0, 200.0).data, x[:, 100000:200000])
    parts[0].unlink() if parts[0] != path else parts[1].unlink()
    with pytest.raises(DataError, match="split file: .*Copy all parts beside it"):
        open_biosignal(path)


@pytest.mark.parametrize(
    ("name", "beside", "message"),
    [
        ("a.eeg", "a.vhdr", "give a.vhdr, which lies beside it"),
        ("a.eeg", "", "give a.vhdr, which is missing"),
        ("a.dat", "a.lay", "give a.lay, which lies beside it"),
        ("a.vmrk", "a.vhdr", "give a.vhdr, which lies beside it"),
        ("a.fdt", "a.set", "give a.set, which lies beside it"),
        ("a.head", "a.data", "give a.data, which lies beside it"),
        ("a.xyz", "", "found .xyz, expected one of .edf"),
        ("a.log", "a.eeg", "give a.eeg, which lies beside it"),
        ("a.log", "", "found .log, expected one of .edf"),
        ("a.cdt", "", "MNE reads it: save it as FIF"),
    ],
)
def test_a_part_of_a_recording_names_its_header(
    tmp_path: Path, name: str, beside: str, message: str
) -> None:
    (tmp_path / name).write_bytes(b"\1" * 64)
    if beside:
        (tmp_path / beside).write_bytes(b"\1" * 64)
    with pytest.raises(DataError, match=message):
        open_biosignal(tmp_path / name)


def test_a_folder_that_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "p01").mkdir()
    write_edf(tmp_path / "p01" / "a.edf", ["C3"], noise(1, 4, 128), 128)
    for name in ("p01", "p01.edf"):
        (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(DataError, match="a folder.*Name a file in it"):
            open_biosignal(tmp_path / name)
