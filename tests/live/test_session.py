"""`Live`: chunks give what `clmer predict` says of the whole; losses and ends are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.live_cases import (
    ECG,
    EEG,
    FPS,
    FS,
    chunks,
    face_frames,
    signals,
    streams_of,
    train,
    values_of,
    write_study,
)

import clmer
import clmer.pipeline.split.model
from clmer import predict
from clmer.errors import ConfigError, DataError
from clmer.live import Live, LiveWindow, StreamFormat
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.window_features import linear_features

Data = dict[str, tuple[np.ndarray, np.ndarray]]
ZERO = 71234.567  # of the streams' clock


def played(study: Path, name: str = "p0calm") -> Data:
    """A recording's streams: samples and their times."""
    x = np.round(signals(0 if name == "p0calm" else 1), 6)
    frames = face_frames(study / f"{name}-face.csv")
    times = ZERO + np.arange(x.shape[1]) / FS
    return {"device": (x, times), "face": (frames, ZERO + np.arange(frames.shape[1]) / FPS)}


def offline(
    study: Path, trained: TrainedRun, name: str = "p0calm"
) -> tuple[np.ndarray, np.ndarray]:
    """What `clmer predict` says: start times and probabilities."""
    files = predict.files_of([str(study / f"{name}.csv")], trained.modalities)
    recording = predict.read_recording(trained, files, rate=FS)
    face = str(study / f"{name}-face.csv") if "landmarks" in trained.modalities else None
    windows = predict.windows_of(trained, predict.with_face(trained, recording, face))
    return windows.start_s, trained.predict_proba(windows.arrays)


def run(live: Live, data: Data, seconds: float = 0.1) -> list[LiveWindow]:
    found: list[LiveWindow] = []
    for name, samples, times in chunks(data, seconds):
        found += live.push(samples, times, name)
    return found + live.finish()


def without(data: Data, name: str, lost: np.ndarray) -> Data:
    """The streams without some samples of one."""
    samples, times = data[name]
    keep = np.setdiff1d(np.arange(len(times)), lost)
    return {**data, name: (samples[:, keep], times[keep])}


@pytest.mark.parametrize("seconds", [0.004, 0.05, 0.256, 1.9])
def test_chunks_give_what_predict_gives(live_study, live_run, seconds) -> None:
    start_s, want = offline(live_study, live_run)
    live = Live(live_run, streams_of(live_run))
    found = run(live, played(live_study), seconds)
    assert {window.status for window in found} == {"ok"}
    np.testing.assert_allclose([window.start_s - ZERO for window in found], start_s, atol=1e-6)
    np.testing.assert_allclose(values_of(found), want, atol=1e-5)
    assert live.counts["device"].received == 24 * FS
    assert live.counts["device"].lost == 0


@pytest.mark.parametrize("start_s", [-3.0, 3.0])
def test_either_stream_may_begin_first(live_study, live_run, start_s) -> None:
    """The signals begin second 0, wherever the face begins."""
    data = played(live_study)
    frames, times = data["face"]
    files = predict.files_of([str(live_study / "p0calm.csv")], live_run.modalities)
    whole = predict.read_recording(live_run, files, rate=FS)
    face = str(live_study / "p0calm-face.csv")
    whole = predict.with_face(live_run, whole, face, start_s=start_s)
    windows = predict.windows_of(live_run, whole)
    found = run(Live(live_run, streams_of(live_run)), {**data, "face": (frames, times + start_s)})
    known = [window for window in found if window.values is not None]
    np.testing.assert_allclose(
        [window.start_s - ZERO for window in known], windows.start_s, atol=1e-6
    )
    want = live_run.predict_proba(windows.arrays)
    np.testing.assert_allclose(values_of(known), want, atol=1e-5)
    assert {window.status for window in found} == {"ok", "no face"}


def test_windows_with_lost_samples_and_no_others_are_marked(live_study, live_run) -> None:
    data = played(live_study)
    count = data["device"][0].shape[1]
    rng = np.random.default_rng(5)
    lost = rng.choice(np.arange(1, count - 1), count // 100, replace=False)
    found = run(Live(live_run, streams_of(live_run)), without(data, "device", lost))
    _, want = offline(live_study, live_run)
    assert len(found) == len(want)
    for number, window in enumerate(found):
        inside = ((lost / FS >= number) & (lost / FS < number + 2)).sum()
        assert window.lost == inside
        assert window.status == ("interpolated" if inside else "ok")
    # Lost samples far apart are interpolated as in preparation.
    few = run(Live(live_run, streams_of(live_run)), without(data, "device", np.array([3000])))
    clean = [n for n, window in enumerate(few) if window.stop_s - ZERO < 3000 / FS]
    np.testing.assert_allclose(values_of(few)[clean], want[clean], atol=1e-5)


def test_a_gap_costs_the_windows_across_it(live_study, live_run) -> None:
    lost = np.arange(round(7.2 * FS), round(11.5 * FS))
    live = Live(live_run, streams_of(live_run))
    found = run(live, without(played(live_study), "device", lost))
    said = {round(window.start_s - ZERO): window.status for window in found}
    assert said[5] == "ok"
    assert [said[n] for n in (6, 7)] == ["gap in eeg"] * 2
    assert 8 not in said  # nothing was recorded in it
    assert 9 not in said
    assert [said[n] for n in (10, 11)] == ["gap in eeg"] * 2
    assert said[12] == "ok"
    counts = live.counts["device"]
    assert (counts.gaps, counts.lost, counts.interpolated) == (1, len(lost), 0)


def test_a_lost_face_is_no_old_answer(live_study, live_run) -> None:
    data = played(live_study)
    frames, times = data["face"]
    frames = frames.copy()
    frames[1, 250:300] = 0.0  # success, seconds 10 to 12
    frames[2:, 250:300] = np.nan
    found = run(Live(live_run, streams_of(live_run)), {**data, "face": (frames, times)})
    said = {round(window.start_s - ZERO): window for window in found}
    assert [n for n, window in said.items() if window.status == "no face"] == [9, 10, 11]
    assert all(said[n].values is None for n in (9, 10, 11))
    _, want = offline(live_study, live_run)
    others = [n for n in said if n not in (9, 10, 11)]
    np.testing.assert_allclose(values_of([said[n] for n in others]), want[others], atol=1e-5)


def test_a_face_that_stops_coming_is_waited_for_and_given_up(live_study, live_run) -> None:
    data = without(played(live_study), "face", np.arange(250, 600))
    live = Live(live_run, streams_of(live_run), patience_s=1.0)
    seen: dict[int, float] = {}
    for name, samples, times in chunks(data, 0.1):
        for window in live.push(samples, times, name):
            if window.status == "no face":
                seen[round(window.start_s - ZERO)] = times[-1] - window.stop_s
    assert min(seen) == 9
    assert all(late == pytest.approx(1.1, abs=0.11) for late in seen.values())


def test_a_clock_that_jumps_back_starts_anew(live_study, live_run) -> None:
    data = played(live_study)
    live = Live(live_run, streams_of(live_run))
    first = run(live, data)
    again = {name: (x, times - 5000) for name, (x, times) in data.items()}
    second = [window for window in run(live, again) if window.values is not None]
    assert live.counts["device"].clock_jumps == 1
    np.testing.assert_allclose(values_of(second), values_of(first), atol=1e-12)


def test_a_clock_that_jumps_back_pairs_nothing_with_what_was_before(live_study, live_run) -> None:
    data = played(live_study)
    (x, times), (frames, shown) = data["device"], data["face"]
    back = np.where(np.arange(len(times)) < 12 * FS, times, times - 5)
    live, found = Live(live_run, streams_of(live_run)), []
    for at in np.arange(0, 24, 0.2):  # in the order in which they come
        now = (times - ZERO >= at - 1e-6) & (times - ZERO < at + 0.2 - 1e-6)
        found += live.push(x[:, now], back[now], "device")
        now = (shown - ZERO >= at - 1e-6) & (shown - ZERO < at + 0.2 - 1e-6)
        found += live.push(frames[:, now], shown[now], "face")
    starts = [round(window.start_s - ZERO, 3) for window in found]
    (jump,) = (n for n in range(1, len(starts)) if starts[n] < starts[n - 1])
    assert starts[jump] == 7
    # The face's frames of those seconds had been shown to windows before the jump.
    assert [window.status for window in found[jump : jump + 5]] == ["no face"] * 5
    assert {window.status for window in found[jump + 5 :]} == {"ok"}


def test_a_clock_that_jumps_far_ahead_is_a_gap(live_study, live_run) -> None:
    """From 0 to the seconds since 1970."""
    data = played(live_study)
    x, times = data["device"]
    ahead = np.where(np.arange(len(times)) < 12 * FS, times, times + 1.7e9)
    frames, shown = data["face"]
    shown = np.where(shown < ZERO + 12, shown, shown + 1.7e9)
    live = Live(live_run, streams_of(live_run))
    found = run(live, {"device": (x, ahead), "face": (frames, shown)}, seconds=1e9)
    assert len(found) < 30
    assert live.counts["device"].gaps == 1


@pytest.mark.parametrize("size", [16, 50, 64])
def test_samples_that_are_no_numbers_are_lost_where_they_are(live_study, live_run, size) -> None:
    x = np.round(signals(0), 6)
    bad = np.array([700, 2000, 2001, 2002, 3999])
    x[1, bad] = [np.nan, np.inf, np.nan, 3e38, np.nan]
    x[0, 4500:4750] = np.nan  # a second
    data = played(live_study)
    live = Live(live_run, streams_of(live_run))
    found: list[LiveWindow] = []
    for at in range(0, x.shape[1], size):
        found += live.push(x[:, at : at + size], None, "device")
        frames, times = data["face"]
        now = (times - ZERO >= (at - size) / FS) & (times - ZERO < at / FS)
        found += live.push(frames[:, now], times[now] - ZERO, "face")
    counts = live.counts["device"]
    assert (counts.lost, counts.interpolated, counts.gaps) == (255, 5, 1)
    said = {round(window.start_s): window for window in found}
    marked = [n for n, window in said.items() if window.lost]
    assert marked == [1, 2, 7, 8, 14, 15]
    assert [n for n, window in said.items() if window.status.startswith("gap")] == [17, 18]


def test_losses_at_the_edge_of_a_window_are_its_own_whatever_the_epoch(
    live_study, live_run
) -> None:
    for zero in (0.0, 1e7, 1.7e9):
        data = {n: (x, t - ZERO + zero) for n, (x, t) in played(live_study).items()}
        lossy = without(data, "device", np.array([round(3 * FS)]))
        found = run(Live(live_run, streams_of(live_run)), lossy)
        assert [n for n, window in enumerate(found) if window.lost] == [2, 3]


def test_units_order_and_names_are_the_streams_own(live_study, live_run) -> None:
    _, want = offline(live_study, live_run)
    data = played(live_study)
    x, times = data["device"]
    order = ("ECG", "spare", "Pz", "EEG Cz", "frontal")
    rows = np.stack([x[3] / 1e3, np.full(x.shape[1], np.nan), x[2] / 1e6, x[1] / 1e6, x[0] / 1e6])
    streams = streams_of(live_run)
    streams["device"] = StreamFormat(order, FS, ("mV", "", "V", "volts", "V"))
    live = Live(live_run, streams, names={"Fz": "frontal"})
    found = run(live, {**data, "device": (rows, times)})
    np.testing.assert_allclose(values_of(found), want, atol=1e-5)


def test_another_unit_than_stated_is_told(live_study, live_run) -> None:
    data = played(live_study)
    x, times = data["device"]
    live = Live(live_run, streams_of(live_run))
    run(live, {**data, "device": (x / 1e6, times)})  # volts
    assert any("amplitude of eeg (eeg)" in note and "too small" in note for note in live.notes)
    fine = Live(live_run, streams_of(live_run))
    run(fine, data)
    assert not fine.notes


@pytest.mark.parametrize(
    ("streams", "options", "said"),
    [
        ({"device": StreamFormat((*EEG[:2], *ECG), FS)}, {}, "no Pz"),
        ({"device": StreamFormat(EEG, FS)}, {}, "channels of ecg: found Fz Cz Pz, no ECG"),
        ({"device": StreamFormat(EEG + ECG, FS, ("degC",) * 4)}, {}, "unit of Fz"),
        ({"device": StreamFormat(EEG + ECG, FS), "spare": StreamFormat(("a",), FS)}, {}, "spare"),
        ({"device": StreamFormat(EEG + ECG, FS)}, {"names": {"Oz": "Pz"}}, "found Oz"),
        (
            {"device": StreamFormat(EEG + ECG, FS)},
            {"names": {"Fz": "Cz"}},
            "channels of eeg: found Cz as Fz and as Cz, expected another for each",
        ),
        ({"device": StreamFormat(EEG + ECG, 6.0)}, {}, "rate: found 6 Hz"),
        ({"device": StreamFormat(EEG + ECG, FS)}, {"reference": 60}, "trained without"),
        ({"device": StreamFormat(EEG + ECG, FS)}, {"patience_s": 0}, "patience_s"),
    ],
)
def test_what_does_not_fit_is_refused(
    live_run, streams, options: Mapping[str, object], said
) -> None:
    face = {"face": streams_of(live_run)["face"]}
    with pytest.raises((DataError, ConfigError), match=said):
        Live(live_run, streams | face, **options)


def test_a_face_is_asked_for(live_run) -> None:
    with pytest.raises(ConfigError, match="a face's too"):
        Live(live_run, {"device": StreamFormat(EEG + ECG, FS)})
    with pytest.raises(ConfigError, match="expected what is pushed"):
        Live(live_run)


def test_bad_chunks_are_refused(live_run) -> None:
    live = Live(live_run, streams_of(live_run))
    with pytest.raises(ValueError, match=r"expected \[4, n\]"):
        live.push(np.zeros((10, 4)), None, "device")
    with pytest.raises(ValueError, match="timestamps"):
        live.push(np.zeros((4, 10)), np.zeros(3), "device")
    with pytest.raises(ValueError, match="expected one of device, face"):
        live.push(np.zeros((4, 10)))


@pytest.fixture(scope="module")
def referenced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_study(tmp_path_factory.mktemp("referenced"), face=False, people=3)
    train(root, "--reference", "calm:6", "--protocol", "subject")
    return root


def test_the_first_seconds_are_the_reference(referenced: Path) -> None:
    trained = clmer.load(referenced / "run")
    files = predict.files_of([str(referenced / "p0angry.csv")], trained.modalities)
    windows = predict.windows_of(trained, predict.read_recording(trained, files, rate=FS))
    known = {name: array[:5] for name, array in windows.arrays.items()}
    want = trained.predict_proba(windows.arrays, reference=known)
    live = clmer.Live(trained, reference=np.int64(6))
    assert live.reference_left_s == 6
    found = live.push(np.round(signals(1), 6)) + live.finish()
    assert [window.status for window in found] == ["reference"] * 5 + ["ok"] * (len(want) - 5)
    assert live.reference_left_s == 0
    np.testing.assert_allclose(values_of(found[5:]), want[5:], atol=1e-5)
    for given in (known, trained.known_person(known)):
        live = clmer.Live(trained, reference=given)
        np.testing.assert_allclose(values_of(live.push(np.round(signals(1), 6))), want, atol=1e-5)
    with pytest.raises(ConfigError, match="record 6 s of calm"):
        clmer.Live(trained)
    with pytest.raises(ConfigError, match="at least 5 s"):
        clmer.Live(trained, reference=3)
    others = clmer.load(referenced / "run").known_person(known)
    with pytest.raises(ValueError, match="of another model, expected this one's"):
        clmer.Live(trained, reference=others)


@pytest.mark.parametrize("seconds", [True, False])
def test_the_reference_is_worked_through_once(
    referenced: Path, seconds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is complete, or at the opening; afterwards each window is read alone."""
    trained = clmer.load(referenced / "run")
    files = predict.files_of([str(referenced / "p0angry.csv")], trained.modalities)
    windows = predict.windows_of(trained, predict.read_recording(trained, files, rate=FS))
    known = {name: array[:5] for name, array in windows.arrays.items()}
    counts: list[int] = []

    def counted(modalities: Any, arrays: Any, *rest: Any) -> dict[str, np.ndarray]:
        counts.append(len(next(iter(arrays.values()))))
        return linear_features(modalities, arrays, *rest)

    monkeypatch.setattr(clmer.pipeline.split.model, "linear_features", counted)
    live = clmer.Live(trained, reference=6 if seconds else known)
    found = live.push(np.round(signals(1), 6))
    assert counts == [5] + [1] * sum(window.status == "ok" for window in found)
    assert len(counts) > 5


def test_zero_phase_is_refused_unless_accepted(tmp_path: Path) -> None:
    root = write_study(tmp_path, face=False)
    trained = clmer.load(train(root, "--filter", "type"))
    with pytest.raises(ConfigError, match="needs what comes later"):
        clmer.Live(trained)
    live = clmer.Live(trained, accept_mismatch=True)
    assert "live signals differ" in live.notes[0]
    assert len(live.push(signals(0))) == 23
