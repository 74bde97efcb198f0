"""Files of physiology: every sample of the right channel, in the right unit, at the right time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.edf_files import noise, record_times, write_edf
from support.gdf_files import write_gdf

from clmer.data.formats.biosignal import bad_channels, files_of, open_biosignal
from clmer.data.manifest.reader import read_file
from clmer.data.timeline import Piece, Span
from clmer.errors import DataError

STEP = 0.1  # uV a step of the converter, about


def vhdr(
    path: Path, names: list[str], units: list[str], data: np.ndarray, markers: str = "", **keys: str
) -> Path:
    """BrainVision in INT_16 with a resolution of 0.1; data [C, T] in the channels' own units."""
    lines = {"DataFile": f"{path.stem}.eeg", "DataFormat": "BINARY"} | keys
    np.rint(data.T / 0.1).astype("<i2").tofile(path.with_name(f"{path.stem}.eeg"))
    common = "\n".join(f"{key}={value}" for key, value in lines.items())
    channels = "\n".join(
        f"Ch{i + 1}={name},,0.1{',' + unit if unit else ''}"
        for i, (name, unit) in enumerate(zip(names, units, strict=True))
    )
    if markers:
        common += f"\nMarkerFile={path.stem}.vmrk"
        path.with_suffix(".vmrk").write_text(
            "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\n"
            f"DataFile={path.stem}.eeg\n\n[Marker Infos]\n{markers}\n"
        )
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"{common}\nDataOrientation=MULTIPLEXED\nNumberOfChannels={len(names)}\n"
        "SamplingInterval=4000\n\n[Binary Infos]\nBinaryFormat=INT_16\n\n[Channel Infos]\n"
        f"{channels}\n",
        encoding="utf-8",
    )
    return path


# --- EDF and BDF ---------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1), ("\u00b5V", 1), (b"\xc2\xb5V", 1), ("mV", 1e3), ("nV", 1e-3)]
)
def test_samples_in_microvolts(
    tmp_path: Path, suffix: str, unit: str | bytes, factor: float
) -> None:
    path, x = tmp_path / f"a{suffix}", noise(3, 6, 128)
    limits = (-200 / factor, 200 / factor)
    write_edf(path, ["Fp1", "Fp2", "C3"], x / factor, 128, units=unit, limits=limits)
    got = read_file(path, "eeg")
    assert (got.channels, got.unit, got.fs) == (("Fp1", "Fp2", "C3"), "uV", 128.0)
    np.testing.assert_allclose(got.data, x, atol=0.51 * 400 / 65535)


@pytest.mark.parametrize("unit", ["", "abc", "V/Hz", "counts", "none"])
def test_a_voltage_without_a_known_unit_is_an_error_with_a_way_out(
    tmp_path: Path, unit: str
) -> None:
    path, x = tmp_path / "a.edf", noise(2, 4, 128)
    write_edf(path, ["Fp1", "C3"], x, 128, units=unit)
    with pytest.raises(DataError, match=r"unit of Fp1: .*column unit"):
        read_file(path, "eeg")
    np.testing.assert_allclose(read_file(path, "eeg", unit="mV").data, x * 1e3, atol=60)


def test_a_stated_unit_must_be_one_of_the_type_s(tmp_path: Path) -> None:
    edf, npy, x = tmp_path / "a.edf", tmp_path / "a.npy", noise(2, 4, 128)
    write_edf(edf, ["Fp1", "C3"], x, 128)
    np.save(npy, x)
    for path, options in ((edf, {}), (npy, {"rate": 128.0})):
        for unit in ("uS", "degC", "kOhm"):
            with pytest.raises(DataError, match=rf"unit.*'{unit}', expected uV, mV, V"):
                read_file(path, "eeg", unit=unit, **options)
        assert read_file(path, "eeg", unit="none", **options).unit == ""
    for unit, ours in (("kOhm", "kOhm"), ("mV", "uV"), ("S", "uS")):
        assert read_file(npy, "gsr", unit=unit, rate=128.0).unit == ours
    with pytest.raises(DataError, match="'degC', expected uS"):
        read_file(npy, "gsr", unit="degC", rate=128.0)


def test_slower_channels_keep_their_own_rate_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    pulses = [(np.arange(20 * fs) % fs == fs // 2) * 300.0 for fs in (250, 100, 4)]
    write_edf(path, ["EEG Fp1", "ECG", "GSR"], pulses, [250, 100, 4], units=["uV", "uV", "uS"])
    file = open_biosignal(path)
    assert file.rates == (250.0, 100.0, 4.0)
    for name, start_s in (("Fp1", 3.2), ("ECG", 3.2), ("GSR", 3.25)):
        part = file.signal([name], start_s, 9.0)
        piece = part.line.pieces[0]
        at = piece.start_s + np.flatnonzero(part.data[0] > 150) / part.fs
        assert at == pytest.approx(np.arange(3.5, 9) - start_s)
    with pytest.raises(DataError, match="found 100 and 250 Hz"):
        file.signal(["Fp1", "ECG"])


@pytest.mark.parametrize(
    ("record_s", "text", "size", "fs"),
    [(1, "1", 128, 128), (0.1, "0.1", 10, 100), (1 / 3, "0.333333", 43, 129), (2, "2", 102.4, 51)],
)
def test_rates_that_records_make(
    tmp_path: Path, record_s: float, text: str, size: float, fs: float
) -> None:
    path, rate = tmp_path / "a.edf", int(size) / record_s
    write_edf(path, ["C3"], noise(1, 12, rate), rate, record_s=record_s, record_text=text)
    assert open_biosignal(path).fs == fs


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_a_number_of_records_that_is_unknown_or_stale(tmp_path: Path, suffix: str) -> None:
    path, x = tmp_path / f"a{suffix}", noise(2, 20, 128)
    write_edf(path, ["C3", "C4"], x, 128, records=-1)
    whole = open_biosignal(path)
    assert (whole.duration_s, whole.notes) == (20.0, ())
    write_edf(path, ["C3", "C4"], x, 128, records=19)
    assert open_biosignal(path).duration_s == 20.0
    assert "20 records, its header says 19" in open_biosignal(path).notes[0]
    write_edf(path, ["C3", "C4"], x, 128, records=-1)
    path.write_bytes(path.read_bytes()[:-100])
    cut = open_biosignal(path)
    assert cut.duration_s == 19.0
    assert "19 whole ones are read" in cut.notes[0]
    write_edf(path, ["C3", "C4"], x, 128)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"number of records: .*truncated"):
        open_biosignal(path)
    path.write_bytes(content + b"!")
    with pytest.raises(DataError, match=r"number of records: .*appended"):
        open_biosignal(path)


def test_headers_with_zeros_behind_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, ["C3"], noise(1, 5, 128), 128)
    content = bytearray(path.read_bytes())
    content[236:244] = b"5\0\0\0\0\0\0\0"
    path.write_bytes(content)
    assert open_biosignal(path).duration_s == 5.0


def test_a_discontinuous_file_keeps_its_clock(tmp_path: Path) -> None:
    path, x = tmp_path / "a.edf", noise(1, 6, 100)
    write_edf(path, ["C3"], x, 100, reserved="EDF+D", notes=record_times(range(6)))
    assert open_biosignal(path).signal(["C3"]).line.pieces == (Piece(0.0, 0, 600),)
    times = record_times([3, 4, 5, 10.25, 11.25, 12.25])
    write_edf(path, ["C3"], x, 100, reserved="EDF+D", notes=times)
    file = open_biosignal(path)
    assert file.duration_s == 10.25
    part = file.signal(["C3"], 2.5, 8.25)
    assert part.line.pieces == (Piece(0.0, 0, 50), Piece(4.75, 50, 150))
    np.testing.assert_allclose(part.data[0, :50], x[0, 250:300], atol=STEP)
    np.testing.assert_allclose(part.data[0, 50:], x[0, 300:400], atol=STEP)
    write_edf(path, ["C3"], x, 100, reserved="EDF+D", notes=lambda record: b"")
    with pytest.raises(
        DataError, match=r"record times of an EDF\+D file: found no time of record 1"
    ):
        open_biosignal(path).signal(["C3"])
    write_edf(path, ["C3"], x, 100, reserved="EDF+D", notes=record_times([0, 1, 1.5, 3, 4, 5]))
    with pytest.raises(DataError, match="record 3 begins 0.5 s too early"):
        open_biosignal(path).signal(["C3"])


@pytest.mark.parametrize("reserved", ["EDF+C", ""])
def test_pauses_of_a_file_that_is_continuous_by_its_header(tmp_path: Path, reserved: str) -> None:
    path, x = tmp_path / "a.edf", noise(2, 8, 128)
    onsets = [0, 1, 2, 3, 13, 14, 15, 16]
    write_edf(path, ["Fp1", "C3"], x, 128, reserved=reserved, notes=record_times(onsets))
    signal = read_file(path, "eeg")
    assert signal.line.pieces == (Piece(0.0, 0, 512), Piece(13.0, 512, 1024))
    assert any("by its header" in note for note in signal.notes)
    part = open_biosignal(path).signal(["C3"], 13.5, 15.0)
    np.testing.assert_allclose(part.data[0], x[1, 576:768], atol=0.06)
    # onsets that cannot be meant: the records follow one another, and it is said
    write_edf(path, ["Fp1"], x[:1], 128, reserved=reserved, notes=record_times([0] * 8))
    signal = read_file(path, "eeg")
    assert signal.line.pieces == (Piece(0.0, 0, 1024),)
    assert any("one after the other" in note for note in signal.notes)


def test_onsets_that_are_rounded_are_no_pauses(tmp_path: Path) -> None:
    path, x = tmp_path / "a.edf", noise(1, 2, 2048)
    onsets = [round(i / 32, 3) for i in range(64)]
    write_edf(
        path, ["Fp1"], x, 2048, record_s=1 / 32, record_text="0.03125", reserved="EDF+D",
        notes=record_times(onsets),
    )  # fmt: skip
    assert len(read_file(path, "eeg").line.pieces) == 1


def test_records_times_that_drift_are_said(tmp_path: Path) -> None:
    path, x = tmp_path / "a.edf", noise(1, 60, 128)
    onsets = [round(i * 1.005, 3) for i in range(60)]
    write_edf(path, ["Fp1"], x, 128, reserved="EDF+D", notes=record_times(onsets))
    signal = read_file(path, "eeg")
    assert len(signal.line.pieces) == 1
    assert any("drift by 0.295 s" in note for note in signal.notes)


def test_slow_signals_have_the_same_pauses(tmp_path: Path) -> None:
    path, x = tmp_path / "a.edf", noise(1, 8, 128)[0]
    onsets = [i * 1.2 for i in range(8)]
    write_edf(
        path, ["Fp1", "GSR"], [x, np.arange(32) / 100], [128, 4], units=["uV", "uS"],
        reserved="EDF+D", notes=record_times(onsets),
    )  # fmt: skip
    starts = [[piece.start_s for piece in read_file(path, m).line.pieces] for m in ("eeg", "gsr")]
    assert starts[0] == starts[1] == pytest.approx(onsets)


@pytest.mark.parametrize("reserved", ["EDF+C", "EDF+D"])
def test_joints_in_an_edf_are_kept(tmp_path: Path, reserved: str) -> None:
    def notes(record: int) -> bytes:
        joint = b"+3.5\x14BAD boundary\x14\x00" if record == 0 else b""
        return f"+{record}\x14\x14".encode() + b"\0" + joint

    path = tmp_path / "a.edf"
    write_edf(path, ["Fp1"], noise(1, 8, 128), 128, reserved=reserved, notes=notes)
    assert [piece.first for piece in read_file(path, "eeg").line.pieces] == [0, 448]


def test_what_stands_in_for_a_file_is_named(tmp_path: Path) -> None:
    for name in ("a.edf", "a.npy", "a.csv", "a.set"):
        for content, message in (
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
            (b"/annex/objects/MD5E-s1--0.edf\n", "datalad get"),
            (b"<!DOCTYPE html><html>", "a web page"),
        ):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(DataError, match=message):
                read_file(tmp_path / name, "eeg", rate=128.0)


def test_spans_that_annotations_mark_as_bad(tmp_path: Path) -> None:
    def notes(record: int) -> bytes:
        more = b"+1.5\x150.75\x14BAD blink\x14\0+2\x14word\x14\0" if record == 0 else b""
        return f"+{record}\x14\x14\0".encode() + more

    path = tmp_path / "a.edf"
    write_edf(path, ["C3"], noise(1, 6, 100), 100, reserved="EDF+C", notes=notes)
    line = open_biosignal(path).signal(["C3"], 1.0).line
    assert line.bad == (Span(0.5, 1.25, "marked BAD blink"),)


def test_another_file_under_this_name(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(b"\x00\x01" * 600)
    with pytest.raises(DataError, match=r"a\.edf: header: .*another kind under this name"):
        open_biosignal(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"file: found 0 bytes"):
        open_biosignal(path)
    write_edf(path, ["C3"], noise(1, 5, 128), 128, limits=(0.0, 0.0001))
    content = path.read_bytes().replace(b"0.0001", b"0     ")
    path.write_bytes(content)
    with pytest.raises(DataError, match="limits of C3: found physical 0 to 0"):
        open_biosignal(path).signal(["C3"])
    # 24 bits under the other suffix are told by what the file begins with
    write_edf(tmp_path / "b.bdf", ["C3"], noise(1, 5, 128), 128)
    (tmp_path / "b.bdf").rename(path)
    assert open_biosignal(path).duration_s == 5.0


# --- which channels ------------------------------------------------------------------------------
NAMES = ["Fp1", "Cz", "ECG", "HEOG", "EMG chin", "GSR", "DIG DTRIG", "Battery", "A2-A1", "Foo"]


@pytest.mark.parametrize(
    ("modality", "channels"),
    [
        ("eeg", ("Fp1", "Cz")),
        ("EEG", ("Fp1", "Cz")),
        ("ecg", ("ECG",)),
        ("eda", ("GSR",)),
        ("physio", ("Fp1", "Cz", "ECG", "HEOG", "chin", "GSR")),
    ],
)
def test_a_modality_takes_channels_of_its_type(
    tmp_path: Path, modality: str, channels: tuple[str, ...]
) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, NAMES, noise(10, 4, 128), 128)
    got = read_file(path, modality)
    assert got.channels == channels
    assert {"DIG DTRIG (trigger)", "Battery (battery)", "A2-A1 (ref)", "Foo (unknown)"} <= set(
        got.left_out
    )


def test_channels_by_name(tmp_path: Path) -> None:
    path, x = tmp_path / "a.edf", noise(10, 4, 128)
    write_edf(path, ["EEG Fp1-REF", "EEG T7-REF", *NAMES[2:]], x, 128)
    got = read_file(path, "eeg", channels=("t3", "FP1", "Foo"))
    assert got.channels == ("T7-REF", "Fp1-REF", "Foo")
    assert got.kinds == ("eeg",) * 3
    np.testing.assert_allclose(got.data, x[[1, 0, 9]], atol=STEP)
    for name, modality, message in (
        ("Fp1", "ecg", r"channel Fp1-REF of modality ecg: found one of type eeg"),
        ("DIG DTRIG", "eeg", "found one of type trigger, expected one of type eeg"),
        ("DIG DTRIG", "physio", "found one of type trigger"),
        ("Fp7", "eeg", r"found no Fp7, .*ECG \(ecg\).* Did you mean "),
    ):
        with pytest.raises(DataError, match=message):
            read_file(path, modality, channels=(name,))
    assert read_file(path, "ecg", channels=("Fp1",), kind="ecg").kinds == ("ecg",)


def test_a_type_without_a_channel_lists_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, ["Fp1", "Cz", "DIG DTRIG"], noise(3, 4, 128), 128)
    with pytest.raises(DataError, match=r"Fp1, Cz \(eeg\); DIG DTRIG \(trigger\), expected .*ecg"):
        read_file(path, "ecg")
    write_edf(path, ["ch1", "ch2"], noise(2, 4, 128), 128)
    assert read_file(path, "eeg").channels == ("ch1", "ch2")
    with pytest.raises(DataError, match="channels of modality ecg"):
        read_file(path, "ecg")
    assert read_file(path, "ecg", kind="ecg").kinds == ("ecg", "ecg")  # the file does not say
    assert read_file(path, "ecg", channels=("ch2",)).kinds == ("ecg",)


@pytest.mark.parametrize("name", ["all", "eeg", "data"])
def test_channels_called_like_mne_s_own_words(tmp_path: Path, name: str) -> None:
    mne = pytest.importorskip("mne")
    x = noise(2, 6, 128)
    write_edf(tmp_path / "a.edf", [name, "C3"], x, 128)
    paths = [tmp_path / "a.edf"]
    if name != "all":  # which MNE itself does not write
        raw = mne.io.RawArray(x * 1e-6, mne.create_info([name, "C3"], 128, "eeg"), verbose="ERROR")
        raw.save(tmp_path / "a_raw.fif", fmt="double", verbose="ERROR")
        paths.append(tmp_path / "a_raw.fif")
    for path in paths:
        got = read_file(path, "eeg", channels=("C3", name))
        np.testing.assert_allclose(got.data, x[[1, 0]], atol=STEP)


def test_bids_types_the_channels(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_task-rest_eeg.edf"
    write_edf(path, ["Cz", "Fz", "Heart", "Skin"], noise(4, 4, 128), 128, units=["uV"] * 3 + [""])
    table = tmp_path / "sub-01_task-rest_channels.tsv"
    table.write_text(
        "name\ttype\tunits\tstatus\nCz\tEEG\tuV\tgood\nFz\tEEG\tuV\tbad\nHeart\tECG\tuV\tgood\n"
        "Skin\tGSR\tuS\tn/a\n"
    )
    assert read_file(path, "eeg").channels == ("Cz",)
    assert "Fz (bad)" in read_file(path, "eeg").left_out
    assert read_file(path, "ecg").channels == ("Heart",)
    assert (read_file(path, "gsr").channels, read_file(path, "gsr").unit) == (("Skin",), "uS")
    assert files_of(path) == [path, table]
    assert bad_channels(path) == ["Fz"]
    table.write_text("nothing\n1\n")
    path.touch()
    with pytest.raises(DataError, match=r"channels\.tsv: header"):
        files_of(path)


# --- BrainVision ---------------------------------------------------------------------------------
def test_brainvision_s_units_and_pauses(tmp_path: Path) -> None:
    x = noise(5, 4, 250)
    names, units = ["Fp1", "Cz", "ECG", "GSR", "Temp"], ["", "mV", "\u00b5V", "\u00b5S", "C"]
    markers = (
        "Mk1=New Segment,,1,1,0,20200101000000000000\nMk2=Stimulus,S  1,100,1,0\n"
        "Mk3=New Segment,,401,1,0,20200101000100000000"
    )
    path = vhdr(tmp_path / "a.vhdr", names, units, x, markers)
    eeg, gsr = read_file(path, "eeg"), read_file(path, "gsr")
    np.testing.assert_allclose(eeg.data, x[:2] * [[1], [1e3]], atol=60)
    np.testing.assert_allclose(eeg.data[0], x[0], atol=STEP)
    np.testing.assert_allclose(gsr.data, x[3:4], atol=STEP)
    assert (gsr.unit, read_file(path, "temp").unit) == ("uS", "degC")
    assert eeg.line.pieces == (Piece(0.0, 0, 400), Piece(60.0, 400, 1000))  # a minute later
    for date in ("00000000000000000000", "20200101000000000000", ""):  # nothing of how long
        vmrk = path.with_suffix(".vmrk")
        vmrk.write_text(re.sub(r"(401,1,0),\d*", rf"\1,{date}", vmrk.read_text()))
        assert read_file(path, "eeg").line.pieces == (Piece(0.0, 0, 400), Piece(1.6, 400, 1000))


def test_brainvision_files_that_belong_together(tmp_path: Path) -> None:
    x = noise(2, 4, 250)
    path = vhdr(tmp_path / "a.vhdr", ["Fp1", "Cz"], ["", ""], x, "Mk1=New Segment,,1,1,0")
    data = tmp_path / "session.eeg"
    (tmp_path / "a.eeg").rename(data)
    with pytest.raises(DataError, match=r"a\.vhdr: DataFile: found a\.eeg, which is not there"):
        read_file(path, "eeg")
    path.write_text(path.read_text().replace("DataFile=a.eeg", "DataFile=session.eeg"))
    assert set(files_of(path)) == {path, data, tmp_path / "a.vmrk"}
    data.rename(tmp_path / "a.eeg")
    with pytest.raises(DataError, match=r"a\.eeg lies beside it: were the files renamed\?"):
        read_file(path, "eeg")
    path.write_text(path.read_text().replace("DataFile=session.eeg", "DataFile=a.eeg"))
    content = (tmp_path / "a.eeg").read_bytes()
    (tmp_path / "a.eeg").write_bytes(content[:-3])
    with pytest.raises(DataError, match=r"length: found 3997 bytes, .*truncated"):
        read_file(path, "eeg")
    twice = vhdr(tmp_path / "b.vhdr", ["Fp1", "Fp1"], ["", ""], x)
    with pytest.raises(DataError, match="2 channels called Fp1"):
        read_file(twice, "eeg")
    longer = vhdr(tmp_path / "c.vhdr", ["Fp1", "Cz"], ["", ""], x, DataPoints="1001")
    with pytest.raises(DataError, match=re.escape("expected 4004 bytes")):
        read_file(longer, "eeg")


# --- FIF, EEGLAB and others ----------------------------------------------------------------------
@pytest.fixture
def fif(tmp_path: Path) -> Callable[..., Path]:
    mne = pytest.importorskip("mne")

    def write(
        data: np.ndarray,
        names: list[str],
        kinds: list[str],
        fs: float = 128.0,
        notes: tuple[tuple[float, float, str], ...] = (),
        bads: tuple[str, ...] = (),
        name: str = "a_raw.fif",
        crop: float = 0.0,
    ) -> Path:
        info = mne.create_info(names, fs, kinds)
        info["bads"] = list(bads)
        raw = mne.io.RawArray(data, info, first_samp=0, verbose="ERROR")
        raw.set_annotations(mne.Annotations(*zip(*notes, strict=True)) if notes else None)
        raw.crop(tmin=crop).save(tmp_path / name, fmt="double", overwrite=True, verbose="ERROR")
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a_raw.fif", "a_raw.fif.gz"])
def test_fif_has_types_bad_channels_and_bad_spans(fif: Callable[..., Path], name: str) -> None:
    x = noise(4, 10, 128)
    path = fif(
        x * 1e-6,
        ["Fz", "Cz", "Heart", "STI 014"],
        ["eeg", "eeg", "ecg", "eeg"],
        notes=((4.0, 2.0, "BAD_movement"), (7.0, 0.0, "BAD boundary"), (1.0, 1.0, "word")),
        bads=("Cz",),
        name=name,
        crop=1.0,
    )
    eeg = read_file(path, "eeg")
    assert (eeg.channels, eeg.kinds) == (("Fz",), ("eeg",))
    assert set(eeg.left_out) == {"Cz (bad)", "Heart (ecg)", "STI 014 (trigger)"}
    np.testing.assert_allclose(eeg.data[0], x[0, 128:], atol=1e-6)
    assert eeg.line.pieces == (Piece(0.0, 0, 768), Piece(6.0, 768, 1152))
    assert eeg.line.bad == (Span(3.0, 5.0, "marked BAD_movement"),)
    assert read_file(path, "ecg").channels == ("Heart",)
    assert bad_channels(path) == ["Cz"]


@pytest.mark.parametrize(("numbers", "said"), [(2.0, True), (2e-6, False)])
def test_skin_conductance_in_fif(fif: Callable[..., Path], numbers: float, said: bool) -> None:
    level = numbers * np.ones((1, 640)) * np.linspace(1, 1.5, 640)
    got = read_file(fif(level, ["GSR"], ["gsr"], 32.0), "gsr")
    assert (got.unit, bool(got.notes)) == ("uS", said)
    assert got.data[0, 0] == pytest.approx(2.0)


def test_a_rate_in_single_precision_is_what_it_was(fif: Callable[..., Path]) -> None:
    path = fif(noise(1, 5, 51.2) * 1e-6, ["Cz"], ["eeg"], 51.2)
    assert open_biosignal(path).fs == 51.2


def eeglab(path: Path, trials: int = 1, chaninfo: object = None, data: object = None) -> None:
    import scipy.io

    types = [("labels", "O"), ("type", "O"), *((axis, "O") for axis in "XYZ")]
    places = np.zeros(3, types)
    for i, (name, kind) in enumerate((("Fz", "EEG"), ("Heart", "ECG"), ("EOG1", ""))):
        places[i] = (name, kind, *[np.array([])] * 3)
    x = noise(3, 10, 128).astype("f4")
    event = np.zeros(1, [("type", "O"), ("latency", "O"), ("duration", "O")])
    event[0] = ("boundary", 640.5, 1500.0)
    eeg = {
        **{"setname": "a", "nbchan": 3.0, "trials": float(trials), "pnts": 1280.0 / trials},
        **{"srate": 128.0, "xmin": 0.0, "xmax": 1.0, "chanlocs": places, "event": event},
        **{"data": (x.reshape(3, -1, trials) if trials > 1 else x) if data is None else data},
        **{"epoch": np.array([]), "ref": "common", "icawinv": np.array([])},
        "chaninfo": {"nosedir": "+X"} if chaninfo is None else chaninfo,
    }
    scipy.io.savemat(path, {"EEG": eeg}, appendmat=False)


def test_eeglab_has_types_and_boundaries(tmp_path: Path) -> None:
    pytest.importorskip("mne")
    eeglab(tmp_path / "a.set")
    eeg = read_file(tmp_path / "a.set", "eeg")
    assert eeg.channels == ("Fz",)
    assert set(eeg.left_out) == {"Heart (ecg)", "EOG1 (eog)"}
    np.testing.assert_allclose(eeg.data[0], noise(3, 10, 128)[0], atol=1e-4)
    # 1500 samples were cut out, more than are left
    assert eeg.line.pieces == (Piece(0.0, 0, 640), Piece(5 + 1500 / 128, 640, 1280))


def test_the_file_that_an_eeglab_set_names_is_a_source(tmp_path: Path) -> None:
    pytest.importorskip("mne")
    noise(3, 10, 128).astype("<f4").T.tofile(tmp_path / "other.fdt")
    eeglab(tmp_path / "a.set", data="other.fdt")
    assert set(files_of(tmp_path / "a.set")) == {tmp_path / "a.set", tmp_path / "other.fdt"}
    np.testing.assert_allclose(
        read_file(tmp_path / "a.set", "eeg").data[0], noise(3, 10, 128)[0], atol=1e-4
    )


def test_eeglab_files_that_mne_cannot_read_say_why(tmp_path: Path) -> None:
    pytest.importorskip("mne")
    eeglab(tmp_path / "a.set", trials=10)
    with pytest.raises(DataError, match=r"EEG\.trials: found 10 epochs"):
        read_file(tmp_path / "a.set", "eeg")
    eeglab(tmp_path / "b.set", chaninfo=np.array([]))
    with pytest.raises(DataError, match=r"EEG\.chaninfo"):
        read_file(tmp_path / "b.set", "eeg")
    (tmp_path / "c.set").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=r"c\.set: file: found MNE's error"):
        read_file(tmp_path / "c.set", "eeg")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sub-01_eeg.eeg", r"give sub-01_eeg\.vhdr, which lies beside it"),
        ("a.fdt", r"give a\.set, which is missing"),
        ("s.xdf", r"s\.xdf: (file: found pyxdf.s error Invalid|package: found no pyxdf)"),
        ("physio.tsv.gz", r"physio\.json: found no such file.*Columns.*gunzip"),
        ("log.txt", r"\.npy of \[channels, samples\]"),
        ("eeg.mat", r"MATLAB 5 \.mat file.*save it again with save"),
        ("a.gdf", r"a\.gdf: file: found MNE's error"),
        ("a.rec", r"name it \.edf"),
        ("a.acq", r"Export it as EDF.*\.npy of \[channels, samples\]"),
        ("a.npz", r"an \.npz of numpy\.savez"),
    ],
)
def test_files_that_people_point_at(tmp_path: Path, name: str, message: str) -> None:
    pytest.importorskip("mne")
    (tmp_path / "sub-01_eeg.vhdr").write_text("")
    (tmp_path / name).write_bytes(b"GDF 2.20")
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / name, "eeg")


def test_arrays_that_are_none(tmp_path: Path) -> None:
    path, x = tmp_path / "a.npy", noise(2, 4, 128)
    np.savez(tmp_path / "a.npz", x=x)
    for content, message in (
        ((tmp_path / "a.npz").read_bytes(), r"an \.npz, which holds several arrays.*numpy\.save"),
        (b"PK\x03\x04", r"an \.npz"),
        (b"", "array: found"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_file(path, "eeg", rate=128.0)
    for array, message in ((x.T, r"array\.T"), (x[None], "each trial as an array of its own")):
        np.save(path, array)
        with pytest.raises(DataError, match=message):
            read_file(path, "eeg", rate=128.0)


@pytest.mark.parametrize("interval", ["0", "", "abc"])
def test_a_brainvision_header_without_a_rate(tmp_path: Path, interval: str) -> None:
    write_brainvision = pytest.importorskip("pybv").write_brainvision
    write_brainvision(
        data=noise(1, 4, 128) * 1e-6, sfreq=128, ch_names=["Fp1"], fname_base="a",
        folder_out=tmp_path,
    )  # fmt: skip
    path = tmp_path / "a.vhdr"
    text = path.read_text(encoding="utf-8")
    assert "SamplingInterval=7812.5" in text
    path.write_text(text.replace("=7812.5", f"={interval}"), encoding="utf-8")
    with pytest.raises(DataError, match="SamplingInterval.*microseconds"):
        read_file(path, "eeg")


@pytest.mark.parametrize("version", [1.25, 2.2])
def test_gdf_s_own_units_and_rates(tmp_path: Path, version: float) -> None:
    pytest.importorskip("mne")
    path, x = tmp_path / "a.gdf", noise(2, 8, 128)
    resistance = 200 + np.sin(np.arange(256) / 20)
    for unit, factor in (("uV", 1.0), ("mV", 1e-3), ("V", 1e-6), ("nV", 1e3)):
        write_gdf(
            path, ["Fp1", "C3", "GSR"], [*(x * factor), resistance], [128, 128, 32],
            units=[unit, unit, "kOhm"], version=version, limit=300 * factor,
        )  # fmt: skip
        signal = read_file(path, "eeg")
        assert (signal.unit, signal.fs) == ("uV", 128)
        np.testing.assert_allclose(signal.data, x, atol=0.01)
    with pytest.raises(DataError, match=r"rate of GSR: found 32 Hz beside 128 Hz.*as EDF"):
        read_file(path, "gsr")
    write_gdf(path, ["GSR"], [resistance], [32], units=["kOhm"], version=version)
    signal = read_file(path, "gsr")
    assert (signal.unit, signal.fs) == ("kOhm", 32)
    np.testing.assert_allclose(signal.data[0], resistance, atol=0.1)
    write_gdf(path, ["Fp1"], [x[0]], [128], units=[""], version=version, joints=[300])
    with pytest.raises(DataError, match="unit of Fp1: found none"):
        read_file(path, "eeg")
    signal = read_file(path, "eeg", unit="uV")
    np.testing.assert_allclose(signal.data[0], x[0], atol=0.1)
    assert [piece.first for piece in signal.line.pieces] == [0, 300]


def test_eeglab_files_that_do_not_fit_or_are_joined(tmp_path: Path) -> None:
    pytest.importorskip("mne")
    path, x = tmp_path / "a.set", noise(2, 4, 128)
    events = np.array([(-99, 200.5), (3, 400.0)], dtype=[("type", object), ("latency", object)])
    names = np.array([("Fp1",), ("C3",)], dtype=[("labels", object)])
    eeg = {
        **{"nbchan": 2, "trials": 1, "pnts": 512, "srate": 128.0, "xmin": 0.0, "data": "a.fdt"},
        **{"chanlocs": names, "event": events, "chaninfo": {"nosedir": "+X"}, "epoch": []},
        **{"icaweights": [], "icawinv": [], "icasphere": []},
    }
    pytest.importorskip("scipy.io").savemat(path, {"EEG": eeg}, appendmat=False)
    content = x.T.astype("<f4").tobytes()
    (tmp_path / "a.fdt").write_bytes(content)
    signal = read_file(path, "eeg")
    np.testing.assert_allclose(signal.data, x, rtol=1e-6)
    assert [piece.first for piece in signal.line.pieces] == [0, 200]
    for wrong in (content[:-80], content + b"\0" * 80):
        (tmp_path / "a.fdt").write_bytes(wrong)
        with pytest.raises(DataError, match=r"a\.fdt: length: .* as in a\.set"):
            read_file(path, "eeg")


def test_an_average_is_no_recording(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    info = mne.create_info(["Fp1", "C3"], 128.0, "eeg")
    average = mne.EvokedArray(noise(2, 1, 128) * 1e-6, info, verbose=False)
    average.save(tmp_path / "a-ave.fif", verbose=False)
    with pytest.raises(DataError, match="no recording in it, but an average.*that it was made of"):
        read_file(tmp_path / "a-ave.fif", "eeg")
