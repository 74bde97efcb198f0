"""What a session with a trained run records and shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    values_of,
)

from clmer import predict
from clmer.data.formats.biosignal import open_biosignal
from clmer.live import Live, LiveWindow
from clmer.live.page import LivePage
from clmer.live.record import Recorder
from clmer.pipeline.run.trained import TrainedRun

T0 = 500.0


def session(
    study: Path, live: Live, take: Callable[[str, np.ndarray, np.ndarray, list[LiveWindow]], None]
) -> list[LiveWindow]:
    """A recording of the study and its face as they would come; `take` is told of every chunk."""
    x, face = np.round(signals(0), 6), face_frames(study / "p0calm-face.csv")
    data = {
        "device": (x, T0 + np.arange(x.shape[1]) / FS),
        "face": (face, T0 + np.arange(face.shape[1]) / FPS),
    }
    found = []
    for name, samples, times in chunks(data, 0.1):
        windows = live.push(samples, times, name)
        take(name, samples, times, windows)
        found += windows
    return found


def test_a_recorded_session_is_predicted_as_it_was(
    live_study: Path, live_run: TrainedRun, tmp_path: Path
) -> None:
    pytest.importorskip("pyxdf", reason="needs the extra xdf")
    streams = streams_of(live_run)
    with Recorder(tmp_path / "p9.xdf", streams, live_run.classes) as recorder:

        def take(
            name: str, samples: np.ndarray, times: np.ndarray, windows: list[LiveWindow]
        ) -> None:
            recorder.add(name, samples, times)
            for window in windows:
                recorder.add_window(window)

        said = session(live_study, Live(live_run, streams), take)
    xdf, face = recorder.paths
    assert open_biosignal(xdf).channels == (*EEG, *ECG)
    files = predict.files_of([str(xdf)], live_run.modalities)
    recording = predict.with_face(live_run, predict.read_recording(live_run, files), str(face))
    windows = predict.windows_of(live_run, recording)
    assert len(said) == len(windows.start_s) > 20
    again = live_run.predict_proba(windows.arrays)
    np.testing.assert_allclose(values_of(said), again, atol=1e-5)


def test_a_session_is_shown(
    live_study: Path, live_run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page gets both signals before and after the filter, and what became of the streams."""
    live, page = Live(live_run, streams_of(live_run)), object.__new__(LivePage)
    page._modalities, page._next_update = ("eeg", "ecg"), 0.0
    shown = []
    monkeypatch.setattr(page, "update", lambda *given, **more: shown.append((given, more)))
    session(live_study, live, lambda *chunk: page.show(live, ["cap"]))
    (recent, counts), more = shown[-1]
    assert more == {"reference_left_s": 0.0, "missing": ["cap"]}
    assert counts["device"].received == signals(0).shape[1]
    newest = np.round(signals(0), 6)[:, -round(5 * FS) :]
    np.testing.assert_allclose(recent["eeg"].samples[:, -1000:], newest[:3, -1000:], rtol=1e-6)
    np.testing.assert_allclose(recent["ecg"].samples[:, -1000:], newest[3:, -1000:], rtol=1e-6)
    assert np.abs(recent["eeg"].prepared).max() < 1000  # without the offset
