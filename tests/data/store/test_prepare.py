"""Preparation: what is stored is what SciPy and arithmetic say it should be, in the right order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from clmer.data.readers import deap
from clmer.data.recording import FaceSeries, Recording, Signal
from clmer.data.registry import DATASETS, Dataset
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.synthetic import write_deap
from clmer.data.timeline import Piece, Span, Timeline
from clmer.errors import ConfigError, DataError

CHANNELS = ("C3", "C4", "GSR")
KINDS = ("eeg", "eeg", "gsr")


def make_face(fps: float = 50.0, seconds: float = 10.0) -> FaceSeries:
    """Every value tells its time, axis and point."""
    n = round(fps * seconds)
    t = np.arange(n) / fps
    landmarks = np.empty((n, 68, 3))
    landmarks[:] = t[:, None, None] + 100 * np.arange(68)[:, None] + 10_000 * np.arange(3)
    return FaceSeries(
        fps=fps,
        landmarks=landmarks.astype(np.float32),
        au_intensity=(t[:, None] + 100 * np.arange(17)).astype(np.float32),
        au_presence=np.tile(np.arange(17) % 2, (n, 1)).astype(np.float32),
        valid=np.ones(n, dtype=bool),
    )


def make_recording(
    trial: str = "t1",
    *,
    fs: float = 128.0,
    seconds: float = 10.0,
    baseline_s: float = 0.0,
    subject: str = "s1",
    **changes: Any,
) -> Recording:
    rng = np.random.default_rng([*subject.encode(), *trial.encode()])
    t = np.arange(round(fs * seconds)) / fs
    data = rng.standard_normal((3, len(t))) + 50 * np.sin(2 * np.pi * 10 * t) + 4200
    recording = Recording(
        subject=subject,
        trial=trial,
        stimulus="v1",
        group=subject,
        labels={"label": trial},
        signals={"physio": Signal(data, fs, CHANNELS, KINDS)},
        baseline_s=baseline_s,
        source=Path("toy.dat"),
    )
    return replace(recording, **changes)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Store]:
    """Prepare some recordings: run(recordings, **options)."""
    (tmp_path / "toy.dat").write_text("toy")

    def call(recordings: list[Recording], gaps: bool = False, **options: Any) -> Store:
        def read(root: Path, *, face: bool = True) -> Iterator[Recording]:
            yield from recordings

        dataset = Dataset(
            name="toy",
            read=read,
            sources=lambda root: [root / "toy.dat"],
            found=lambda root: ("physio", "skin"),
            modalities=("physio",),
            window_s=1.0,
            protocol="trial",
            tasks=("label",),
            band={"eeg": (4.0, 45.0)},
            paper_band=(4.0, 45.0),
            obtain="",
            notes=("a note",),
            gaps=gaps,
        )
        fresh = tmp_path / "cache" / str(len(list(tmp_path.rglob("*"))))
        cache = options.pop("cache", fresh)
        return prepare(dataset, tmp_path, PrepareOptions(**options), cache=cache, progress=False)

    return call


def filtered(x: np.ndarray, fs: float, low: float = 4.0, high: float = 45.0) -> np.ndarray:
    sos = scipy.signal.butter(4, [low, high], "bandpass", fs=fs, output="sos")
    return np.asarray(scipy.signal.sosfiltfilt(sos, x))


def test_filters_the_whole_recording_then_drops_the_baseline(run: Callable[..., Store]) -> None:
    recording = make_recording(baseline_s=3.0, seconds=9.0)
    store = run([recording])
    data = recording.signals["physio"].data
    expected = np.stack([*filtered(data[:2], 128.0), data[2]])[:, 384:]
    got = store.array("physio")
    assert got.shape == (6, 3, 128)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.concatenate(list(got), axis=1), expected, rtol=1e-5, atol=1e-4)
    assert store.windows.start_s.tolist() == [0, 1, 2, 3, 4, 5]
    modality = store.modalities["physio"]
    assert (modality.tokens, modality.fs, modality.channels) == (3, 128.0, CHANNELS)


def test_no_window_spans_a_pause_and_time_goes_on_in_it(run: Callable[..., Store]) -> None:
    recording = make_recording(seconds=10.0)
    signal = recording.signals["physio"]
    line = Timeline(
        128.0, (Piece(0.0, 0, 600), Piece(6.5, 600, 1280))
    )  # 1.8125 s were not recorded
    paused = replace(recording, signals={"physio": replace(signal, timeline=line)})
    store = run([paused])
    assert store.windows.start_s.tolist() == [0, 1, 2, 3, 7, 8, 9, 10]
    assert store.report["windows_dropped"] == {"across a pause in physio": 2}  # one is within it
    first, second = filtered(signal.data[:2, :600], 128.0), filtered(signal.data[:2, 600:], 128.0)
    got = store.array("physio")[:, :2]
    want = [*(first[:, 128 * i :][:, :128] for i in range(4))]
    want += [second[:, 64 + 128 * i :][:, :128] for i in range(4)]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
    short = Timeline(128.0, (Piece(0.0, 0, 10), Piece(6.5, 10, 1280)))  # too short for the filter
    store = run([replace(recording, signals={"physio": replace(signal, timeline=short)})])
    assert store.windows.start_s[0] == 7.0
    assert "; 1 pause" in store.report["signals"][0]


def test_a_pause_in_one_modality_leaves_the_window_out_of_all(run: Callable[..., Store]) -> None:
    recording = make_recording(seconds=10.0)
    signal = recording.signals["physio"]
    other = Signal(
        np.arange(40.0)[None] + 5, 4.0, ("T",), ("temp",), "degC",
        Timeline(4.0, (Piece(0.0, 0, 10), Piece(3.5, 10, 40))),
    )  # fmt: skip
    both = {"physio": signal, "skin": other}
    store = run([replace(recording, signals=both)], modalities=("physio", "skin"))
    assert store.windows.start_s.tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    assert store.report["windows_dropped"] == {
        "after the end of physio": 1,
        "across a pause in skin": 2,
    }


def test_spans_that_are_bad_are_left_out_and_counted(run: Callable[..., Store]) -> None:
    recording = make_recording(seconds=12.0, baseline_s=2.0)
    signal = recording.signals["physio"]
    bad = [Span(4.0, 5.0, "marked BAD_blink"), Span(8.999, 9.1, "marked BAD_jump")]
    line = Timeline.continuous(128.0, signal.data.shape[1], bad)
    store = run([replace(recording, signals={"physio": replace(signal, timeline=line)})])
    assert store.windows.start_s.tolist() == [0, 1, 3, 4, 5, 8, 9]
    assert store.report["windows_dropped"] == {
        "marked BAD_blink in physio": 1,
        "marked BAD_jump in physio": 2,
    }
    everything = Timeline.continuous(128.0, signal.data.shape[1], [Span(0, 12, "marked BAD")])
    with pytest.raises(DataError, match="every window marked BAD in physio"):
        run([replace(recording, signals={"physio": replace(signal, timeline=everything)})])


def test_modalities_of_different_length_are_cut_to_the_common_part(
    run: Callable[..., Store],
) -> None:
    recording = make_recording(seconds=10.0)
    skin = Signal(np.linspace(30, 31, 30)[None], 4.0, ("T",), ("temp",), "degC")  # 7.5 s
    both = {**recording.signals, "skin": skin}
    store = run([replace(recording, signals=both)], modalities=("physio", "skin"))
    assert store.windows.start_s.tolist() == list(range(7))
    assert store.report["windows_dropped"] == {"after the end of skin": 3}


def test_a_part_that_begins_between_two_samples_is_not_shifted(run: Callable[..., Store]) -> None:
    fs, start_s = 4.0, 1.15
    whole = Signal(np.arange(80.0)[None] / fs, fs, ("x",), ("other",), "")  # each value its time
    part = whole.line.part(start_s, 15.0, 128.0)
    piece = part.pieces[0]
    cut = replace(whole, data=whole.data[:, piece.first : piece.stop], timeline=part.shifted())
    store = run([make_recording(signals={"physio": cut})])
    got = store.array("physio")[2:-2, 0]
    at = store.windows.start_s[2:-2, None] + np.arange(128) / 128 + start_s
    assert np.abs(got - at).max() < 0.5 / 128 + 0.01


def test_recordings_that_hold_the_same_samples_are_named(run: Callable[..., Store]) -> None:
    recording = make_recording(seconds=20.0)
    signal = recording.signals["physio"]
    signal.data[0] = 20 * np.random.default_rng(9).standard_normal(2560)
    later = replace(signal, data=1e-3 * signal.data[:, 640:])
    copy = make_recording("t2", subject="s2", signals={"physio": later})
    store = run([recording, make_recording("t3", seconds=20.0), copy])
    (pair,) = store.report["shared_samples"]
    assert (pair["one"], pair["other"], pair["modality"]) == ("s1/t1", "s2/t2", "physio")
    assert pair["seconds"] == pytest.approx(15, rel=0.3)
    assert any("s1/t1 and s2/t2" in note for note in store.report["notes"])


def test_resamples_after_filtering_at_the_native_rate(run: Callable[..., Store]) -> None:
    recording = make_recording(fs=500.0, seconds=6.0)
    store = run([recording], modalities=("eeg",), window_s=2.0)
    data = recording.signals["physio"].data[:2]
    expected = scipy.signal.resample_poly(filtered(data, 500.0), 32, 125, axis=-1, padtype="line")
    got = np.concatenate(list(store.array("eeg")), axis=1)
    np.testing.assert_allclose(got, expected[:, : got.shape[1]], rtol=1e-4, atol=1e-3)
    assert store.modalities["eeg"].channels == ("C3", "C4")


def test_slow_channels_keep_their_slow_part_unless_the_paper_filter_is_asked_for(
    run: Callable[..., Store],
) -> None:
    recording = make_recording()
    by_type = run([recording]).array("physio")[:, 2]
    paper = run([recording], filter="paper").array("physio")[:, 2]
    assert by_type.mean() == pytest.approx(4200, abs=1)
    assert abs(paper.mean()) < 1
    assert run([recording]).report["filter"] == {"eeg": "4-45 Hz", "gsr": "as recorded"}


def test_a_band_above_what_the_rate_holds_filters_below_only(run: Callable[..., Store]) -> None:
    store = run([make_recording(fs=64.0)])
    assert store.report["filter"]["eeg"] == "above 4 Hz"
    assert abs(store.array("physio")[:, :2].mean()) < 1


def test_overlapping_windows(run: Callable[..., Store]) -> None:
    store = run([make_recording(seconds=4.0)], window_s=2.0, stride_s=0.5)
    assert store.windows.start_s.tolist() == [0, 0.5, 1, 1.5, 2]
    got = store.array("physio")
    assert np.array_equal(got[0][:, 64:], got[1][:, :192])


@pytest.mark.parametrize(
    ("baseline_s", "face_start_s", "fps"), [(3.0, 3.0, 50.0), (3.0, 0.0, 30.0), (0.0, 0.5, 25.0)]
)
def test_the_face_is_taken_at_the_window_s_times(
    run: Callable[..., Store], baseline_s: float, face_start_s: float, fps: float
) -> None:
    recording = make_recording(
        seconds=9.0,
        baseline_s=baseline_s,
        face=make_face(fps=fps, seconds=9.0),
        face_start_s=face_start_s,
    )
    store = run([recording], modalities=("landmarks", "au", "physio"))
    landmarks, au = store.array("landmarks"), store.array("au")
    assert landmarks.shape[1:] == (204, 25)
    assert au.shape[1:] == (34, 25)
    assert len(landmarks) == len(store.windows) == len(store.array("physio"))
    times = store.windows.start_s[:, None] + np.arange(25) / 25 + baseline_s - face_start_s
    tokens = landmarks.reshape(-1, 3, 68, 25)
    for axis, point in ((0, 0), (2, 0), (1, 67)):
        expected = times + 100 * point + 10_000 * axis
        np.testing.assert_allclose(tokens[:, axis, point], expected, rtol=3e-7, atol=1e-5)
    np.testing.assert_allclose(au[:, 16], times + 1600, rtol=3e-7)
    assert (au[:, 17] == 0).all()
    assert (au[:, 18] == 1).all()
    assert store.modalities["landmarks"].tokens == 3
    assert store.modalities["landmarks"].channels[::68] == ("X_0", "Y_0", "Z_0")
    assert store.modalities["au"].channels[16:18] == ("AU45_r", "AU01_c")
    assert store.modalities["au"].fs == 25.0


def test_windows_that_touch_lost_frames_are_dropped_and_counted(run: Callable[..., Store]) -> None:
    face = make_face(seconds=8.0)  # the signals go on for 10 s
    face.valid[[70, 249, 250]] = False  # at 50 fps: 1.4 s, 4.98 s, 5.0 s
    store = run([make_recording(face=face)], modalities=("physio", "au"))
    # 4.98 s is between the frames of window 4 (4.96 and 5.0) and is not needed.
    assert store.windows.start_s.tolist() == [0, 2, 3, 4, 6, 7]
    assert store.report["windows_dropped"] == {"outside the face video": 2, "face lost": 2}
    kept = run([make_recording()]).array("physio")[[0, 2, 3, 4, 6, 7]]
    assert np.array_equal(store.array("physio"), kept)


def test_presence_is_the_nearest_frame_s(run: Callable[..., Store]) -> None:
    face = make_face(fps=30.0)
    face.au_presence[:, 0] = np.arange(300) % 2
    store = run([make_recording(face=face)], modalities=("au",))
    expected = np.rint(np.arange(25) / 25 * 30) % 2
    assert np.array_equal(store.array("au")[0, 17], expected)


def test_recordings_that_cannot_be_used_are_named(run: Callable[..., Store]) -> None:
    broken = make_recording("t3", face=make_face())
    broken.signals["physio"].data[1, 7] = np.nan
    blind = make_face()
    blind.valid[:] = False
    store = run(
        [
            make_recording("t1", face=make_face()),
            make_recording("t2"),
            broken,
            make_recording("t4", face=make_face(), seconds=0.9),
            make_recording("t5", face=blind),
            make_recording("t6", face=make_face(), signals={}),
            make_recording("t1", face=make_face(), subject="s2"),
        ],
        modalities=("eeg", "landmarks"),
        gaps=True,
    )
    report = store.report
    assert report["recordings_skipped"] == {
        "s1/t2": "no face",
        "s1/t3": "eeg has samples that are not finite",
        "s1/t4": "shorter than a window",
        "s1/t5": "the face lost in every window",
        "s1/t6": "no eeg, only a face",
    }
    assert (report["people"], report["recordings"], report["recordings_used"]) == (2, 7, 2)
    assert report["windows"] == len(store.windows) == 20
    assert report["notes"] == ["a note"]
    assert sorted(set(store.windows.recording)) == ["s1/t1", "s2/t1"]


@pytest.mark.parametrize("fs", [128.0, 256.0])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e40])
def test_a_sample_that_is_no_number_is_named(
    run: Callable[..., Store], value: float, fs: float
) -> None:
    whole, broken = make_recording(fs=fs), make_recording("t3", fs=fs)
    broken.signals["physio"].data[1, 77] = value
    found = re.escape(f"{value} {77 / fs:.3f} s after its start")
    with pytest.raises(DataError, match=rf"C4 of s1/t3: found {found}, expected finite"):
        run([whole, broken])


def test_nothing_left_is_an_error(run: Callable[..., Store]) -> None:
    with pytest.raises(
        DataError, match=r"`modalities=physio,au`: found no window in 1 .*no face: 1"
    ):
        run([make_recording()], modalities=("physio", "au"))
    with pytest.raises(DataError, match=r"no ecg, only physio: 1"):
        run([make_recording()], modalities=("ecg",))
    with pytest.raises(DataError, match="none was read"):
        run([])


def test_other_channels_are_an_error(run: Callable[..., Store]) -> None:
    other = make_recording("t2")
    renamed = replace(other.signals["physio"], channels=("C4", "Pz", "GSR"))
    with pytest.raises(DataError, match=r"found C4 Pz GSR, expected C3 C4 GSR .* column channels"):
        run([make_recording(), replace(other, signals={"physio": renamed})])


def test_channels_are_matched_by_name_whatever_order_case_and_prefix(
    run: Callable[..., Store],
) -> None:
    other = make_recording("t2")
    data = other.signals["physio"].data
    swapped = replace(
        other.signals["physio"],
        data=data[[1, 0, 2]],
        channels=("EEG C4-Ref", "c3", "GSR"),
    )
    want = run([make_recording(), other]).array("physio")
    store = run([make_recording(), replace(other, signals={"physio": swapped})])
    np.testing.assert_array_equal(store.array("physio"), want)
    assert store.modalities["physio"].channels == ("C3", "C4", "GSR")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_s": 0.001}, "`window_s`: found 0.001, expected at least 0.0078125 s"),
        ({"window_s": -1.0}, "`window_s`: found -1.0, expected above 0"),
        ({"window_s": float("inf")}, "`window_s`: found inf"),
        ({"window_s": float("nan")}, "`window_s`: found nan"),
        ({"stride_s": 0.0}, "`stride_s`: found 0.0"),
        ({"filter": "none"}, "`filter`: found 'none', expected type or paper"),
        ({"fps": 0.0}, "`fps`: found 0.0"),
        ({"window_s": 0.01, "modalities": ("au",)}, "`window_s`: found 0.01, .* a video frame"),
        ({"modalities": ("physio", "physio")}, "`modalities`: found physio,physio, .*each name"),
        ({"modalities": "physio"}, "`modalities`: found the text 'physio', expected a sequence"),
    ],
)
def test_parameters_are_checked(
    run: Callable[..., Store], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run([make_recording()], **options)


def test_a_store_is_reused_until_parameters_or_files_change(
    run: Callable[..., Store], tmp_path: Path
) -> None:
    cache = tmp_path / "stores"
    first = run([make_recording()], cache=cache)
    assert run([], cache=cache).path == first.path  # nothing is read
    second = run([make_recording()], cache=cache, filter="paper")
    (tmp_path / "toy.dat").write_text("toy, changed")
    third = run([make_recording("t2")], cache=cache)
    assert len({first.path, second.path, third.path}) == 3
    assert third.windows.recording[0] == "s1/t2"
    assert first.fingerprint != third.fingerprint


def everything(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.path.iterdir())}


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_a_store_is_the_same_on_any_number_of_threads(
    run: Callable[..., Store], tmp_path: Path, threads: Callable[[int], None]
) -> None:
    recordings = [
        make_recording(f"t{i}", fs=(128.0, 500.0)[i % 2], face=None if i == 4 else make_face())
        for i in range(9)
    ]
    stores = []
    for count in (1, 2, 5):
        threads(count)
        cache = tmp_path / f"stores{count}"
        stores.append(everything(run(recordings, modalities=("physio", "au"), cache=cache)))
    assert stores[0] == stores[1] == stores[2]
    assert sorted(stores[0]) == [
        ".gitignore", "NOTICE", "au.npy", "physio.npy", "store.json", "windows.npz",
    ]  # fmt: skip


def test_data_that_lie_across_words_give_the_same_store(run: Callable[..., Store]) -> None:
    recording = make_recording()
    data = recording.signals["physio"].data
    moved = np.frombuffer(b"x" + data.tobytes(), offset=1).reshape(data.shape)
    assert not moved.flags.aligned
    other = replace(recording, signals={"physio": Signal(moved, 128.0, CHANNELS, KINDS)})
    assert np.array_equal(run([recording]).array("physio"), run([other]).array("physio"))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("error", [DataError("a.dat", "data", "less", "more"), KeyboardInterrupt()])
def test_an_error_of_the_reader_waits_for_the_recordings_before_it(
    run: Callable[..., Store],
    tmp_path: Path,
    threads: Callable[[int], None],
    count: int,
    error: BaseException,
) -> None:
    class Broken(list[Recording]):
        def __iter__(self) -> Iterator[Recording]:
            yield from super().__iter__()
            raise error

    threads(count)
    cache = tmp_path / "stores"
    kept = run([make_recording()], cache=cache, stride_s=0.5)
    with pytest.raises(type(error)) as caught:
        run(Broken([make_recording(f"t{i}") for i in range(3)]), cache=cache)
    assert caught.value is error
    odd = make_recording("t2")  # volts as microvolts: fails when cut
    odd.signals["physio"].data[:2] *= 1e6
    if isinstance(error, DataError):
        with pytest.raises(DataError, match=r"amplitude of physio \(eeg\)"):
            run(Broken([make_recording(), odd]), cache=cache)
    assert [path for path in cache.iterdir() if path.is_dir()] == [kept.path]


def test_real_recordings(clmer_data: Path, tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    for name in ("Subject03_1", "Subject03_2"):
        (tmp_path / f"{name}.edf").symlink_to(clmer_data / "eegmat" / f"{name}.edf")
    store = prepare(DATASETS["eegmat"], tmp_path, cache=tmp_path / "cache", progress=False)
    assert list(store.modalities) == ["eeg", "ecg"]
    assert store.report["filter"] == {"eeg": "1-45 Hz", "ecg": "0.5-40 Hz"}
    assert store.array("eeg").shape == (48, 19, 640)
    assert np.unique(store.windows.labels["label"], return_counts=True)[1].tolist() == [12, 36]
    raw = mne.io.read_raw_edf(tmp_path / "Subject03_2.edf", verbose="ERROR")
    ecg = filtered(1e6 * raw.get_data(["ECG ECG"]), 500.0, 0.5, 40.0)
    expected = scipy.signal.resample_poly(ecg, 32, 125, axis=-1, padtype="line")
    rows = store.windows.recording == "Subject03/2"
    got = np.concatenate(list(store.array("ecg")[rows]), axis=1)
    np.testing.assert_allclose(got, expected[:, : got.shape[1]], rtol=1e-4, atol=1e-2)


def test_generated_deap_as_the_ordinary_reader_sees_it(tmp_path: Path) -> None:
    root = write_deap(tmp_path / "deap", people=2, trials=3, seconds=4, fps=50)
    store = prepare(DATASETS["deap"], root, cache=tmp_path / "cache", progress=False)
    assert list(store.modalities) == ["physio", "landmarks", "au"]
    assert len(store.windows) == 2 * 3 * 4
    for recording in deap.read(root):
        rows = store.windows.recording == f"{recording.subject}/{recording.trial}"
        physio = np.concatenate(list(store.array("physio")[rows]), axis=1)
        expected = recording.signals["physio"].data[:, 3 * 128 :]
        np.testing.assert_allclose(physio, expected, rtol=1e-6)  # DEAP's EEG is filtered already
        face = recording.face
        assert face is not None
        landmarks = np.concatenate(list(store.array("landmarks")[rows]), axis=1)
        assert np.array_equal(landmarks.reshape(3, 68, -1)[2, 30], face.landmarks[::2, 30, 2])
        au = np.concatenate(list(store.array("au")[rows]), axis=1)
        assert np.array_equal(au, np.hstack([face.au_intensity, face.au_presence])[::2].T)
        assert set(store.windows.labels["valence"][rows]) == {recording.labels["valence"]}
