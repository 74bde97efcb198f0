"""What a channel is, by the file, its name, and its unit."""

from __future__ import annotations

import pytest

from clmer.data.channels import as_kind, canonical, find, kind_of_name, near, typed, unique

NAMES = {
    "eeg": "Fp1 AF7 FCz CPP5h TP10 Iz Cz M1 T3 PO9 FT10; EEG Fp1; EEG Fp1-REF; C3-A2; Fpz-Cz; "
    "F7-T3; EEG C3-LE; POL Fp1; RAW_TP9; EEG 001; eeg; Fp1 - Ref; EEG_C3; fp2; Fc5.; Cz..; "
    "Fp1_ref; EEG(sec); EEG A; Fp1 (uV); C3:M2; C3 A2; FP1-0",
    "ecg": "ECG; EKG; ECG ECG; EKG EKG; ECG-R; ECG1; Lead II; aVR; EKG-REF; ECG EKG-REF",
    "eog": "EOG; HEOG; VEOG; EOG1; EOG left; LOC-A2; ROC-A1; E1-M2; EEG EOG-REF",
    "emg": "EMG; EMG chin; zEMG; Corrugator; EMG submental; zygomaticus; LAT1; LLEG",
    "gsr": "GSR; GSR1; EDA; EDA100C; Skin conductance; SCL; galvanic; Galvanic Skin Response; "
    "GSR_Response; skin response",
    "resp": "Resp; Respiration; RSP; Thorax; Abdomen; Resp oro-nasal; airflow; breathing belt; "
    "RESP1; Effort THO; cannula",
    "ppg": "PPG; BVP; Plet; Plethysmograph; Pulse",
    "temp": "Temp; Temperature; SKT; Temp rectal; Temp 1; index finger temp",
    "acc": "ACC_X; Accel X; AccX; acc-z; MOT.AccX; Accelerometer 1; Accel Channel 0",
    "gyro": "GyroX; gyro_z; Gyroscope Y",
    "magn": "Mag X; MagnX; magnetometer",
    "other": "SpO2; SaO2 SaO2; pupil_left; OSAT",
    "trigger": "Status; TRIGGER; Trig; DIG DTRIG; Marker; Marker0; Event marker; STI 014; STI014; "
    "TTL; DC01; Photic; Stim; stimulus; EEG Status; Sync; Annotations; Button; Response; label; "
    "Photodiode; Condition; valence; MARKER_HARDWARE; Mic; Mark; "
    "EEG Mark1; TRG; Trg1; EVT; DIN1; LPT; Diode; Photo; Keypress; GPIO; Video; video_id; Score",
    "counter": "COUNTER; Sample Index; SampleNumber; nSeq; Packet; frame; Package Num; CNT",
    "time": "TIMESTAMP; TIME_STAMP_s; time; Clock",
    "battery": "BATTERY; Battery percent; VBAT",
    "quality": "CQ_AF3; EQ_O1; RAW_CQ; INTERPOLATED; impedance Fp1; HeadBandOn",
    "derived": "Delta_TP9; Alpha AF7; Heart rate; HR; IBI; H.R.; Respiration Rate",
    "ref": "A2-A1; EEG A2-A1; M1-M2; REF; GND; CMS; DRL; VREF; Ref1; EEG-REF",
    "unknown": "all; data; x; Foo; ch1; EXG1; AUX1; BIP 3; V1; TEMPORAL; Digastric; Markus; "
    "Runner; Keypoint",
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, names in NAMES.items()
        for part in names.split("; ")
        for name in (part.split() if part.startswith("Fp1 AF7") else [part])
    ],
)
def test_a_name_tells_the_type(kind: str, name: str) -> None:
    assert kind_of_name(name) == kind


def test_every_position_of_the_10_5_system_is_eeg() -> None:
    mne = pytest.importorskip("mne")
    name = next(n for n in mne.channels.get_builtin_montages() if n.endswith("1005"))
    montage = mne.channels.make_standard_montage(name)
    assert [name for name in montage.ch_names if kind_of_name(name) != "eeg"] == []


def test_the_file_s_own_type_counts_more_than_the_name_unless_it_is_eeg() -> None:
    labels, told = ["Fp1", "Foo", "Bar", "ECG", "Trigger"], ["", "ecg", "eeg", "eeg", "eeg"]
    assert typed(labels, told=told)[0] == ["eeg", "ecg", "eeg", "ecg", "trigger"]
    sure = [False, False, False, True, False]
    assert typed(labels, told=told, sure=sure)[0] == ["eeg", "ecg", "eeg", "eeg", "trigger"]


def test_a_place_on_the_scalp_makes_an_unknown_name_eeg() -> None:
    assert typed(["Fp1", "X7", "X8", "EOG1"], placed=[True, True, False, True])[0] == [
        *("eeg", "eeg", "unknown", "eog"),
    ]


def test_units_tell_what_names_do_not() -> None:
    units = ["uV", "uS", "degC", "m/s^2", "deg/s", "%", "bpm", "uV"]
    labels = ["Fp1", *"abcdef", "g"]
    want = ["eeg", "gsr", "temp", "acc", "gyro", "other", "derived", "unknown"]
    assert typed(labels, spelt_units=units)[0] == want
    # and contradict them
    assert typed(["Fp1", "T1", "C2"], spelt_units=["uV", "degC", "g"])[0] == ["eeg", "temp", "acc"]
    assert typed(["Fp1", "CP5"], spelt_units=["uV", "BS"])[0] == ["eeg", "unknown"]


def test_voltages_of_unknown_name_are_eeg_only_where_nothing_else_is() -> None:
    assert typed(["ch1", "ch2", "ECG"], spelt_units=["uV", "mV", "uV"]) == (
        ["eeg", "eeg", "ecg"],
        [True, True, False],
    )
    assert typed(["ch1", "Fz"], spelt_units=["uV", "uV"])[0] == ["unknown", "eeg"]
    assert typed(["unused", "ch1"])[0] == ["unknown", "eeg"]


def test_caps_that_were_not_renamed() -> None:
    biosemi = [f"{bank}{i}" for bank in "ABD" for i in range(1, 33)]
    assert set(typed(biosemi)[0]) == {"eeg"}
    assert set(typed([f"E{i}" for i in range(1, 129)])[0]) == {"eeg"}
    assert typed(["Fp1", "B7", "E1-M2"], spelt_units=["uV"] * 3)[0] == ["eeg", "unknown", "eog"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Fp1", "EEG FP1-REF", True),
        ("T3", "t7", True),
        ("T6", "P8", True),
        ("C3-A2", "C3", True),
        ("A2-A1", "A2", False),
        ("Fp1", "Fp2", False),
        ("INTERPOLATED", "interated", False),
    ],
)
def test_two_names_of_one_electrode(one: str, other: str, same: bool) -> None:
    assert (canonical(one) == canonical(other)) is same


def test_finding_a_channel() -> None:
    names = ["EEG Fp1-REF", "T7", "ECG", "ecg"]
    assert [find(name, names) for name in ("fp1", "T3", "ECG", "ecg", "Cz")] == [0, 1, 2, 3, None]
    with pytest.raises(LookupError, match="Fp1 fits FP1 and fp1"):
        find("Fp1", ["FP1", "fp1"])
    assert near("Fpl", ["Fp1", "Cz"]) == "Did you mean Fp1?"
    assert near("qqq", ["Fp1", "Cz"]) == ""
    assert unique(["a", "b", "a"]) == ["a-0", "b", "a-1"]


def test_modalities_by_other_words_for_a_type() -> None:
    assert [as_kind(name) for name in ("EEG", "EDA", "bvp", "Temperature", "physio")] == [
        *("eeg", "gsr", "ppg", "temp", ""),
    ]
