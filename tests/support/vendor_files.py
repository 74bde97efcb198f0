"""Small files of devices that MNE reads and hardly anybody writes; data [C, T] is in uV."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

#: An event: the sample it stands at, and its code.
Events = Sequence[tuple[int, int]]
#: uV of one step of the converter.
STEP = 0.1


def _steps(data: np.ndarray, step: float = STEP) -> np.ndarray:
    return np.rint(data / step)


def neuroscan_cnt(
    path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events
) -> None:
    """Neuroscan's continuous file of 32 bits, with a table of events of type 1."""
    count, samples = data.shape
    head = bytearray(900 + 75 * count)
    table = len(head) + 4 * data.size
    struct.pack_into("<H", head, 370, count)
    struct.pack_into("<H", head, 376, fs)
    struct.pack_into("<i", head, 864, samples)
    struct.pack_into("<i", head, 886, table)
    head[225:245] = b"01/02/20  10:00:00  "
    for i, name in enumerate(names):
        at = 900 + 75 * i
        head[at : at + len(name)] = name.encode()
        struct.pack_into("<ff", head, at + 19, float(i), 1.0)
        struct.pack_into("<f", head, at + 59, 204.8 * STEP)  # sensitivity
        struct.pack_into("<f", head, at + 71, 1.0)
    rows = [
        struct.pack("<HBcl", code, 0, b"\0", len(head) + 4 * count * (sample + 1))
        for sample, code in events
    ]
    tail = struct.pack("<Bll", 1, 8 * len(rows), 0) + b"".join(rows)
    path.write_bytes(bytes(head) + _steps(data).T.astype("<i4").tobytes() + tail)


def egi_raw(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """EGI's simple binary file of floats in uV, with one event channel, "evt1"."""
    count, samples = data.shape
    head = struct.pack(">i6hi4hh", 4, 2020, 1, 2, 10, 0, 0, 0, fs, count, 0, 0, 0)
    head += struct.pack(">ih", samples, 1) + b"evt1"
    line = np.zeros(samples)
    line[[sample for sample, _ in events]] = 1
    path.write_bytes(head + np.vstack([data, line]).T.astype(">f4").tobytes())


def nicolet(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """Nicolet's samples, with its header beside."""
    _steps(data).T.astype("<i2").tofile(path)
    path.with_suffix(".head").write_text(
        f"start_ts=2020-01-02 10:00:00.000\nnum_samples={data.shape[1]}\nsample_freq={fs}\n"
        f"conversion_factor={STEP}\nnum_channels={len(names)}\nelec_names=[{','.join(names)}]\n"
    )


def persyst(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """Persyst's layout, with its samples beside."""
    _steps(data).T.astype("<i2").tofile(path.with_suffix(".dat"))
    channels = "\n".join(f"{name}-Ref={i + 1}" for i, name in enumerate(names))
    comments = "\n".join(f"{sample / fs},0,0,100,{code}" for sample, code in events)
    path.write_text(
        f"[FileInfo]\nFile={path.stem}.dat\nFileType=Interleaved\nSamplingRate={fs}\n"
        f"HeaderLength=0\nCalibration={STEP}\nWaveformCount={len(names)}\nDataType=0\n"
        f"[Patient]\nBirthDate=//\nSex=\nHand=\nTestDate=01/02/2020\nTestTime=10:00:00\n"
        f"[ChannelMap]\n{channels}\n[Comments]\n{comments}\n"
    )


def nedf(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """Neuroelectrics' file: blocks of an acceleration, and five samples with a trigger each."""
    montage = "".join(f"<C{i}>{name}</C{i}>" for i, name in enumerate(names))
    text = (
        "<nedf><NEDFversion>1.4</NEDFversion>"
        "<NumberOfChannelsOfAccelerometer>3</NumberOfChannelsOfAccelerometer><EEGSettings>"
        f"<TotalNumberOfChannels>{len(names)}</TotalNumberOfChannels>"
        f"<EEGSamplingRate>{fs}</EEGSamplingRate><EEGMontage>{montage}</EEGMontage>"
        f"<NumberOfRecordsOfEEG>{data.shape[1]}</NumberOfRecordsOfEEG></EEGSettings>"
        "<StepDetails><StartDate_firstEEGTimestamp>1577955600000</StartDate_firstEEGTimestamp>"
        "</StepDetails></nedf>"
    )
    stored = _steps(data, 2.4e6 / (6.0 * 8388607)).astype(">i4").T
    out = np.zeros(len(stored), [("eeg", "u1", (len(names), 3)), ("trig", ">i4")])
    out["eeg"] = np.ascontiguousarray(stored).view("u1").reshape(len(stored), -1, 4)[..., 1:]
    for sample, code in events:
        out["trig"][sample] = code
    blocks = np.zeros(len(out) // 5, [("acc", ">u2", (3,)), ("data", out.dtype, (5,))])
    blocks["data"] = out.reshape(-1, 5)
    path.write_bytes(text.encode().ljust(10240, b"\0") + blocks.tobytes())


def nihon_kohden(
    path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events
) -> None:
    """Nihon Kohden's file with the names of its channels beside; no events."""
    version, control, block = b"EEG-1100C V01.00", 0x400, 0x2000
    count, samples = data.shape
    out = bytearray(block + 0x27 + 10 * count)
    out[:16] = out[0x81:0x91] = version
    out[0x17FE] = out[0x91] = 1
    struct.pack_into("<I", out, 0x92, control)
    out[control + 17] = 1
    struct.pack_into("<I", out, control + 18, block)
    struct.pack_into("<HI", out, block + 0x1A, fs | 0xC000, 10 * samples // fs)
    out[block + 0x26] = count
    for i in range(count):
        out[block + 0x27 + 10 * i] = i
    gain = 6400.0 / 65535  # uV a step, and numbers from 0x8000
    wide = np.vstack([_steps(data, gain) + 0x8000, np.zeros(samples)]).T
    path.write_bytes(bytes(out) + wide.astype("<u2").tobytes())
    rows = "".join(f"{i:04d}={name}\n" for i, name in enumerate(names))
    path.with_suffix(".21E").write_text(f"[ELECTRODE]\n{rows}")
    path.with_suffix(".PNT").write_bytes(version.ljust(0x40, b"\0") + b"20200102100000")


def bci2000(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """BCI2000's file of int16 numbers, whose stimulus code is a state; no names."""
    parts = (
        f"\r\n[ State Vector Definition ]\r\nStimulusCode 8 0 0 0\r\n[ Parameter Definition ]\r\n"
        f"Source int SamplingRate= {fs}Hz 256Hz 1 % // rate\r\n\r\n"
    )
    first = "HeaderLen= {:6d} SourceCh= {} StatevectorLen= 1 DataFormat= int16"
    length = len(first.format(0, len(names))) + len(parts)
    state = np.zeros(data.shape[1])
    for sample, code in events:
        state[sample : sample + 8] = code
    rows = np.zeros(data.shape[1], [("x", "<i2", (len(names),)), ("state", "u1")])
    rows["x"], rows["state"] = _steps(data).T, state
    path.write_bytes((first.format(length, len(names)) + parts).encode() + rows.tobytes())


def eximia(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """An eXimia file: 64 channels at 1450 Hz, of which the last 60 are EEG."""
    wide = np.zeros((64, data.shape[1]))
    wide[4 : 4 + len(data)] = _steps(data, 0.07629510948348212)
    wide.T.astype("<i2").tofile(path)


def ant_cnt(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """ANT Neuro's file, by the library that reads it (antio)."""
    import antio.libeep

    lib = ctypes.CDLL(str(Path(antio.libeep.__file__).parent / "libEep.so"))
    lib.libeep_init()
    channels = lib.libeep_create_channel_info()
    for name in names:
        lib.libeep_add_channel(channels, name.encode(), b"ref", b"uV")
    about = lib.libeep_create_recinfo()
    lib.libeep_set_date_of_birth(about, 1990, 1, 1)
    handle = lib.libeep_write_cnt(str(path).encode(), fs, channels, 0)
    lib.libeep_add_recording_info(handle, about)
    flat = np.ascontiguousarray(data.T, np.float32)
    lib.libeep_add_samples(handle, flat.ctypes.data_as(ctypes.c_void_p), data.shape[1])
    for sample, code in events:
        lib.libeep_add_trigger(handle, ctypes.c_uint64(sample), str(code).encode())
    lib.libeep_close(handle)


def egi_mff(path: Path, names: Sequence[str], data: np.ndarray, fs: int, events: Events) -> None:
    """EGI's folder, by mffpy: a net of 33 channels, which have numbers for names."""
    from datetime import datetime, timedelta, timezone

    import mffpy
    from mffpy.bin_writer import BinWriter

    start = datetime(2020, 1, 2, 10, tzinfo=timezone.utc)
    signal = BinWriter(sampling_rate=fs)
    net = np.zeros((33, data.shape[1]), np.float32)
    net[: len(data)] = data
    signal.add_block(net)
    writer = mffpy.Writer(str(path))
    writer.addxml("fileInfo", recordTime=start)
    writer.add_coordinates_and_sensor_layout("HydroCel GSN 32 1.0")
    writer.addbin(signal)
    rows = [
        {
            "beginTime": start + timedelta(seconds=sample / fs),
            "duration": 1000,
            "code": f"c{code}",
            "label": f"c{code}",
        }
        for sample, code in events
    ]
    writer.addxml("eventTrack", name="Events", trackType="EVNT", events=rows, filename="Events.xml")
    writer.write()


Writer = Callable[[Path, Sequence[str], np.ndarray, int, Events], None]
