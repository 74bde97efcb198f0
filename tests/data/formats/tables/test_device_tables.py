"""Each device's table, as it writes it: channels, types, units, rate, gaps and markers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.biosignal_file import BiosignalFile
from clmer.data.manifest.reader import read_file
from clmer.errors import DataError

RNG = np.random.default_rng(1)
EEG = RNG.normal(0, 20, (8, 1500)).round(2)
START = datetime(2024, 3, 1, 10, 0, 0)


def table(path: Path, head: list[str], row: Callable[[int], str], rows: Iterator[int]) -> Path:
    """A file of header lines and one line per row."""
    path.write_text("\n".join([*head, *(row(i) for i in rows)]) + "\n")
    return path


def kinds(file: BiosignalFile) -> dict[str, str]:
    """Type of each channel by name."""
    return {channel.name: channel.kind for channel in file.all_channels}


def stamp(seconds: float) -> str:
    """A date and time with milliseconds."""
    return (START + timedelta(seconds=seconds)).isoformat(" ", "milliseconds")


@pytest.mark.parametrize("name", ["OpenBCI-RAW-2024-03-01.txt", "renamed.csv"])
@pytest.mark.parametrize("lost", [(), range(500, 507)])
def test_openbci_gui(tmp_path: Path, name: str, lost: range) -> None:
    names = ["Sample Index", *(f"EXG Channel {i}" for i in range(8))]
    names += [*(f"Accel Channel {i}" for i in range(3)), "Other", "Other", "Analog Channel 0"]
    names += ["Timestamp", "Other", "Timestamp (Formatted)"]
    head = ["%OpenBCI Raw EXG Data", "%Number of channels = 8", "%Sample Rate = 250 Hz",
            "%Board = OpenBCI_GUI$BoardCytonSerial", ", ".join(names)]  # fmt: skip

    def row(i: int) -> str:
        burst = 1.7e9 + (i // 10 * 10) / 250  # a dongle hands samples on in bunches
        eeg = ", ".join(f"{x}" for x in EEG[:, i])
        return f"{i % 256}.0, {eeg}, 0.1, 0.2, 0.9, 0.0, 192.0, 3.0, {burst}, 0.0, {stamp(i / 250)}"

    kept = [i for i in range(1500) if i not in lost]
    path = table(tmp_path / name, head, row, iter(kept))
    signal = read_file(path, "eeg")
    assert signal.channels == tuple(f"EXG Channel {i}" for i in range(8))
    assert (signal.fs, signal.unit, set(signal.kinds)) == (250.0, "uV", {"eeg"})
    np.testing.assert_allclose(signal.data, EEG[:, kept])
    starts = [(p.start_s, p.first) for p in signal.line.pieces]
    assert starts == ([(0, 0), (507 / 250, 500)] if lost else [(0, 0)])
    assert signal.duration_s == 6.0
    acc = read_file(path, "acc")
    assert (acc.unit, acc.data[:, 5].tolist()) == ("g", [0.1, 0.2, 0.9])
    ecg = read_file(path, "ecg", channels=("EXG Channel 2",))  # whatever was attached
    np.testing.assert_allclose(ecg.data[0], EEG[2, kept])


def test_openbci_gui_before_version_5(tmp_path: Path) -> None:
    head = ["%OpenBCI Raw EEG Data", "%Number of channels = 4", "%Sample Rate = 200.0 Hz",
            "%First Column = SampleIndex", "%Other Columns = EEG data in microvolts"]  # fmt: skip
    path = table(
        tmp_path / "a.txt", head,
        lambda i: f"{i % 256}, {', '.join(map(str, EEG[:4, i]))}, 0.0, 0.0, 0.0, "
        f"{stamp(i / 200)[11:]}, {1.7e12 + i * 5:.0f}", iter(range(600)),
    )  # fmt: skip
    signal = read_file(path, "eeg")
    assert (signal.fs, signal.unit, len(signal.channels)) == (200.0, "uV", 4)
    np.testing.assert_allclose(signal.data, EEG[:4, :600])


def test_muselsl(tmp_path: Path) -> None:
    path = table(
        tmp_path / "EEG_recording.csv", ["timestamps,TP9,AF7,AF8,TP10,Right AUX,Marker0"],
        lambda i: f"{1.7e9 + i / 255.95:.6f},{','.join(map(str, EEG[:5, i]))},"
        f"{2 if i in (256, 512) else 0}", iter(range(1500)),
    )  # fmt: skip
    signal = read_file(path, "eeg")
    assert (signal.channels, signal.fs) == (("TP9", "AF7", "AF8", "TP10"), 256.0)
    np.testing.assert_allclose(signal.data, EEG[:4])
    assert "Right AUX (unknown)" in signal.left_out
    assert [(m.onset_s, m.text) for m in open_biosignal(path).markers] == [(1.0, "2"), (2.0, "2")]


@pytest.mark.parametrize(("head", "kind"), [("PPG1,PPG2,PPG3", "ppg"), ("X,Y,Z", "other")])
def test_muselsl_s_other_sensors(tmp_path: Path, head: str, kind: str) -> None:
    path = table(tmp_path / "a.csv", [f"timestamps,{head}"],
                 lambda i: f"{1.7e9 + i / 64:.6f},{','.join(map(str, EEG[:3, i]))}",
                 iter(range(640)))  # fmt: skip
    file = open_biosignal(path)
    assert (file.fs, file.duration_s) == (64.0, 10.0)
    assert set(list(kinds(file).values())[1:]) == {kind}


def test_mind_monitor(tmp_path: Path) -> None:
    names = "TimeStamp,Delta_TP9,Alpha_AF7,RAW_TP9,RAW_AF7,RAW_AF8,RAW_TP10,AUX_RIGHT,"
    names += "Accelerometer_X,Gyro_X,PPG_IR,Heart_Rate,HeadBandOn,HSI_TP9,Battery,Elements"

    def row(i: int) -> str:
        if i in (256, 800):
            element = "/muse/elements/blink" if i == 256 else "/Marker/1"
            return f"{stamp(i / 256)},{',' * 14}{element}"
        eeg = ",".join(f"{x + 800:.2f}" for x in EEG[:4, i])
        return f"{stamp(i / 256)},0.1,0.2,{eeg},801,0.01,1.5,9,70,1,1,80,"

    path = table(tmp_path / "mm.csv", [names], row, iter(range(1500)))
    file = open_biosignal(path)
    signal = file.signal(file.select("eeg"))
    assert signal.channels == ("TP9", "AF7", "AF8", "TP10")
    assert (signal.fs, signal.unit) == (256.0, "uV")
    kept = np.delete(np.arange(1500), [256, 800])
    np.testing.assert_allclose(signal.data, EEG[:4, kept] + 800)
    assert [m.text for m in file.markers] == ["/muse/elements/blink", "/Marker/1"]
    assert [m.onset_s for m in file.markers] == pytest.approx([256 / 256, 800 / 256], abs=5e-3)
    found = kinds(file)
    assert (found["Delta_TP9"], found["Heart_Rate"], found["HSI_TP9"]) == (
        "derived", "derived", "quality")  # fmt: skip
    assert (found["Accelerometer_X"], found["Gyro_X"]) == ("acc", "gyro")


@pytest.mark.parametrize("point", [".", ","])
def test_shimmer(tmp_path: Path, point: str) -> None:
    names = ["Timestamp_Unix", "Accel_LN_X", "GSR_Range", "GSR_Skin_Conductance",
             "GSR_Skin_Resistance", "PPG_A13", "Event_Marker"]  # fmt: skip
    units = ["ms", "m/(s^2)", "no_units", "uS", "kOhms", "mV", "no_units"]
    head = ['"sep=\t"', "\t".join(f"Shimmer_AB12_{n}_CAL" for n in names), "\t".join(units)]

    def row(i: int) -> str:
        values = 1.7e12 + i * 1000 / 51.2, 9.81, 2.0, 3 + EEG[0, i] / 100, 300.0, EEG[1, i], 0.0
        return "\t".join(f"{v:.6f}" for v in values).replace(".", point) + "\t"

    path = table(tmp_path / "Session1.csv", head, row, iter(range(1000)))
    gsr, ppg, acc = (read_file(path, name) for name in ("gsr", "ppg", "acc"))
    assert (gsr.channels, gsr.unit, gsr.fs) == (("GSR_Skin_Conductance",), "uS", 51.2)
    np.testing.assert_allclose(gsr.data[0], 3 + EEG[0, :1000] / 100, atol=1e-6)
    assert ppg.unit == "uV"
    np.testing.assert_allclose(ppg.data[0], EEG[1, :1000] * 1e3)
    assert acc.unit == "g"
    np.testing.assert_allclose(acc.data, 9.81 / 9.80665)


def test_shimmer_before_consensys(tmp_path: Path) -> None:
    head = ["Shimmer_1\tShimmer_1", "Timestamp\tGSR", "CAL\tCAL", "ms\tkOhms"]
    path = table(tmp_path / "a.csv", head, lambda i: f"{i * 7.8125}\t{300 + EEG[0, i]}",
                 iter(range(640)))  # fmt: skip
    signal = read_file(path, "gsr")
    assert (signal.fs, signal.unit, signal.channels) == (128.0, "kOhm", ("GSR",))
    np.testing.assert_allclose(signal.data[0], 300 + EEG[0, :640])


def opensignals(path: Path, sensors: list[str], kept: list[int]) -> Path:
    """BITalino's text: a counter, two lines of the device, and its sensors."""
    column = ["nSeq", "I1", "O1", *(f"A{i + 1}" for i in range(len(sensors)))]
    device = {
        "sensor": sensors, "device name": "00", "column": column, "sync interval": 2,
        "time": "10:0:0.1", "comments": "", "device connection": "BTH", "channels": [1, 2],
        "date": "2024-3-1", "mode": 0, "device": "bitalino_rev", "sampling rate": 1000,
        "label": column[3:], "resolution": [4, 1, 1, 10, 10],
    }  # fmt: skip
    head = ["# OpenSignals Text File Format. Version 1", f"# {json.dumps({'00:00': device})}",
            "# EndOfHeader"]  # fmt: skip
    raw = (512 + 3 * EEG).round().astype(int)
    return table(
        path, head,
        lambda i: f"{i % 16}\t0\t{int(i > 700)}\t"
        + "".join(f"{x}\t" for x in raw[: len(sensors), i]),
        iter(kept),
    )  # fmt: skip


def test_opensignals(tmp_path: Path) -> None:
    kept = [i for i in range(1500) if not 600 <= i < 605]
    path = opensignals(tmp_path / "opensignals.txt", ["ECG", "EDA"], kept)
    file = open_biosignal(path)
    assert kinds(file) == {"nSeq": "counter", "I1": "trigger", "O1": "trigger", "ECG": "ecg",
                           "EDA": "gsr"}  # fmt: skip
    signal = read_file(path, "ecg")
    assert (signal.fs, signal.unit, signal.channels) == (1000.0, "", ("ECG",))
    np.testing.assert_array_equal(signal.data[0], (512 + 3 * EEG[0, kept]).round())
    assert [p.start_s for p in signal.line.pieces] == [0.0, 0.605]
    assert any("converter's own numbers" in note for note in signal.notes)
    assert [(m.onset_s, m.text) for m in file.markers] == [(0.701, "1")]
    stated = read_file(path, "gsr", unit="uS")
    assert stated.unit == "uS"


def test_polar(tmp_path: Path) -> None:
    head = ["Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]"]
    first = 599616000000000000

    def row(i: int) -> str:
        phone = (START + timedelta(seconds=i // 73 * 73 / 130)).isoformat("T", "milliseconds")
        return f"{phone};{first + i * 7692307};{i * 7.692307:.6f};{EEG[0, i]:.0f}"

    kept = [*range(400), *range(530, 1300)]
    path = table(tmp_path / "Polar_H10_ECG.txt", head, row, iter(kept))
    signal = read_file(path, "ecg")
    assert (signal.channels, signal.unit, signal.fs) == (("ecg",), "uV", 130.0)
    np.testing.assert_allclose(signal.data[0], EEG[0, kept].round())
    assert [(p.start_s, p.first) for p in signal.line.pieces] == [
        (0.0, 0), (pytest.approx(530 / 130, abs=2e-3), 400)]  # fmt: skip


def test_polar_s_accelerometer(tmp_path: Path) -> None:
    path = table(tmp_path / "a.txt", ["Phone timestamp;sensor timestamp [ns];X [mg];Y [mg];Z [mg]"],
                 lambda i: f"{stamp(i / 50)};{i * 20_000_000};100;-200;1000", iter(range(200)),
                 )  # fmt: skip
    signal = read_file(path, "acc")
    assert (signal.channels, signal.unit, signal.fs) == (("X", "Y", "Z"), "g", 50.0)
    np.testing.assert_allclose(signal.data[:, 7], [0.1, -0.2, 1.0])


def test_emotiv_pro(tmp_path: Path) -> None:
    names = "Timestamp,EEG.Counter,EEG.Interpolated,EEG.AF3,EEG.T7,EEG.RawCq,EEG.Battery,"
    names += "MarkerIndex,MarkerValueInt,EEG.MarkerHardware,CQ.AF3,EQ.AF3,POW.AF3.Theta,MOT.AccX"

    def row(i: int) -> str:
        filled = int(300 <= i < 400 or i == 50)
        marker = "1,5" if i == 128 else ","
        motion = "0.1" if i % 2 == 0 else ""
        return (f"{1.7e9 + i / 128:.6f},{i % 128},{filled},{4200 + EEG[0, i]},{4200 + EEG[1, i]},"
                f"0,90,{marker},0,4,100,1.5,{motion}")  # fmt: skip

    path = table(tmp_path / "epoc.csv", ["title:x,sampling rate:eeg_128;mot_64", names], row,
                 iter(range(1280)))  # fmt: skip
    file = open_biosignal(path)
    signal = file.signal(file.select("eeg"))
    assert (signal.channels, signal.unit, signal.fs) == (("AF3", "T7"), "uV", 128.0)
    np.testing.assert_allclose(signal.data, 4200 + EEG[:2, :1280])
    assert [(s.start_s, s.stop_s) for s in signal.line.bad] == [(300 / 128, 400 / 128)]
    assert any(note.startswith("101 samples were lost and filled in") for note in signal.notes)
    assert any(m.onset_s == 1.0 and "5" in m.text for m in file.markers)
    found = kinds(file)
    assert (found["CQ.AF3"], found["POW.AF3.Theta"], found["MOT.AccX"]) == (
        "quality", "derived", "acc")  # fmt: skip


def test_openvibe(tmp_path: Path) -> None:
    kept = [*range(1280), *range(1536, 2560)]
    path = table(tmp_path / "a.csv", ["Time:128Hz,Epoch,AF3,F7,Event Id,Event Date,Event Duration"],
                 lambda i: f"{i / 128:.7f},{i // 32},{i % 90}.5,{i % 80}.25,"
                 + ("33025,1.0,0" if i == 128 else ",,"), iter(kept))  # fmt: skip
    file = open_biosignal(path)
    signal = file.signal(file.select("eeg"), 11.0, 16.0)
    assert (signal.channels, signal.unit, signal.fs) == (("AF3", "F7"), "uV", 128.0)
    assert [p.start_s for p in signal.line.pieces] == [1.0]  # the part begins in a pause
    assert signal.data[0, 0] == 1536 % 90 + 0.5
    assert any(m.onset_s == 1.0 and "33025" in m.text for m in file.markers)


def test_a_device_that_has_no_profile(tmp_path: Path) -> None:
    head = ["Device: ACME 3000", "Start;2024-03-01", "", "Zeit (ms);EKG (mV);Atmung Resp;Counter"]
    path = table(tmp_path / "acme.csv", head,
                 lambda i: f"{i * 2};{EEG[0, i]};{EEG[1, i]};{i}".replace(".", ","),
                 iter(range(1000)))  # fmt: skip
    ecg, resp = read_file(path, "ecg"), read_file(path, "resp")
    assert (ecg.channels, ecg.fs, ecg.unit) == (("EKG",), 500.0, "uV")
    np.testing.assert_allclose(ecg.data[0], 1e3 * EEG[0, :1000])
    np.testing.assert_allclose(resp.data[0], EEG[1, :1000])
    with pytest.raises(DataError, match=r"channels of modality eeg.*EKG \(ecg\)"):
        read_file(path, "eeg")


@pytest.mark.parametrize(("columns", "electrodes"), [(24, 8), (15, 4)])
def test_brainflow_s_own_file(tmp_path: Path, columns: int, electrodes: int) -> None:
    def row(i: int) -> str:
        accel = [0.1, 0.2, 0.9]
        rest = [0.0] * (columns - electrodes - 6)
        values = [i % 256, *EEG[:electrodes, i], *accel, *rest, 1.7e9 + i / 250, float(i == 500)]
        return "\t".join(f"{v:.6f}" for v in values)

    path = table(tmp_path / "BrainFlow-RAW.csv", [], row, iter(range(1500)))
    path.write_text(path.read_text().lstrip())
    file = open_biosignal(path)
    signal = file.signal(file.select("eeg"))
    assert (len(signal.channels), signal.unit, signal.fs) == (electrodes, "uV", 250.0)
    np.testing.assert_allclose(signal.data, EEG[:electrodes], atol=1e-6)
    np.testing.assert_allclose(read_file(path, "acc").data[:, 3], [0.1, 0.2, 0.9])
    assert [(m.onset_s, m.text) for m in file.markers] == [(2.0, "1")]


def test_unicorn(tmp_path: Path) -> None:
    names = [*(f"EEG {i + 1}" for i in range(8)), "Accelerometer X", "Gyroscope X",
             "Battery Level", "Counter", "Validation Indicator"]  # fmt: skip
    kept = [*range(300), *range(310, 1500)]
    path = table(tmp_path / "a.csv", [",".join(names)],
                 lambda i: ",".join(map(str, EEG[:, i])) + f",0.1,1.0,90,{i + 7},1",
                 iter(kept))  # fmt: skip
    signal = read_file(path, "eeg")
    assert (len(signal.channels), signal.unit, signal.fs) == (8, "uV", 250.0)
    np.testing.assert_allclose(signal.data, EEG[:, kept])
    assert [p.start_s for p in signal.line.pieces] == [0.0, 310 / 250]
    assert any("taken to be Unicorn's, 250 Hz" in note for note in signal.notes)


@pytest.mark.parametrize("counts", ["", "\t1500\t1500\n"])
def test_acqknowledge_s_text(tmp_path: Path, counts: str) -> None:
    head = ["baseline.acq", "2 msec/sample", "2 channels", "ECG100C", "mV", "EDA",
            "microsiemens", f"min\tCH1\tCH2\n{counts}".rstrip("\n")]  # fmt: skip
    path = table(
        tmp_path / "a.txt",
        head,
        lambda i: f"{i / 500 / 60:.8f}\t{EEG[0, i]}\t{EEG[1, i]}\t",
        iter(range(1500)),
    )
    ecg, eda = read_file(path, "ecg"), read_file(path, "gsr")
    assert (ecg.channels, ecg.fs, ecg.unit) == (("ECG100C",), 500.0, "uV")
    np.testing.assert_allclose(ecg.data[0], 1e3 * EEG[0])
    assert (eda.unit, eda.duration_s) == ("uS", 3.0)
    np.testing.assert_allclose(eda.data[0], EEG[1])


def test_labchart_s_text(tmp_path: Path) -> None:
    head = ["Interval=\t0.005 s", "ExcelDateTime=\t4.1\t01/02/2024 10:00:00.0",
            "ChannelTitle=\tECG\tGSR", "Range=\t10 mV\t40 uS"]  # fmt: skip
    path = table(tmp_path / "a.txt", head, lambda i: f"{i / 200:.3f}\t{EEG[0, i]}\t{EEG[1, i]}",
                 iter(range(600)))  # fmt: skip
    signal = read_file(path, "ecg", unit="mV")
    assert (signal.channels, signal.fs) == (("ECG",), 200.0)
    np.testing.assert_allclose(signal.data[0], 1e3 * EEG[0, :600])


def test_tables_out_of_r_and_pandas(tmp_path: Path) -> None:
    for head, first in ((',"Fp1","Fp2"', 0), ('"Fp1","Fp2"', 1)):
        rows = "".join(f'"{i + first}",{EEG[0, i]},{EEG[1, i]}\n' for i in range(600))
        (tmp_path / "a.csv").write_text(f"{head}\n{rows}")
        signal = read_file(tmp_path / "a.csv", "eeg", rate=200.0, unit="uV")
        assert signal.channels == ("Fp1", "Fp2")
        np.testing.assert_allclose(signal.data, EEG[:2, :600])


def test_a_unit_for_a_name(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ["eSense Skin Response", "Second;MicroSiemens"],
                 lambda i: f"{i / 5:.1f};{3 + EEG[0, i] / 100:.4f}".replace(".", ","),
                 iter(range(300)))  # fmt: skip
    signal = read_file(path, "eda")
    assert (signal.fs, signal.unit, signal.kinds) == (5.0, "uS", ("gsr",))


def test_a_row_per_channel_is_told(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", np.tile(EEG, 4), delimiter=",", fmt="%.1f")
    with pytest.raises(DataError, match=r"columns: found 6000 in 8 lines.*its transpose"):
        open_biosignal(tmp_path / "a.csv")


def test_converted_opensignals_and_damaged_json(tmp_path: Path) -> None:
    path = opensignals(tmp_path / "a.txt", ["ECG", "EDABIT"], list(range(1500)))
    text = path.read_text()
    path.write_text(text.replace('"mode": 0', '"mode": 0, "convertedValues": 1'))
    assert read_file(path, "ecg").unit == "uV"
    assert read_file(path, "gsr").unit == "uS"
    path.write_text(text.replace('"sampling rate": 1000', '"sampling": {'))
    with pytest.raises(DataError, match="rate"):
        open_biosignal(path)
