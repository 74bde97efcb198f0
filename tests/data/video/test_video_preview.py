"""Frames with the points drawn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from clmer.data.video.preview import draw, open_preview


def test_previews_show_the_points_and_are_marked(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    drawn = draw(image, np.array([[5.0, 7.0], [-50, 3], [29.4, 19.2]]))
    assert drawn[7, 5].tolist() == [0, 255, 0]
    assert drawn[19, 29].tolist() == [0, 255, 0]
    assert (drawn[:, :, 1] > 0).sum() == 9 + 4
    assert not image.any()
    assert draw(image, None) is image
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "000007.png").write_text("of an earlier run")
    with open_preview("png", tmp_path / "p", 1.0) as preview:
        for i in range(50):
            preview.add(i + 1, i / 25, image, None)
    assert sorted(path.name for path in (tmp_path / "p").glob("*.png")) == [
        "000001.png",
        "000026.png",
    ]
    assert (tmp_path / "p" / ".gitignore").read_text() == "*\n"
    assert "do not commit" in (tmp_path / "p" / "NOTICE").read_text()


def test_a_film_has_the_points_at_the_clip_s_times(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs the extra video")
    points = np.array([[20.0, 12.0], [21.0, 12.0], [20.0, 13.0], [21.0, 13.0]])
    times = [0.0, 0.04, 0.2, 0.24]
    with open_preview("mp4", tmp_path, 1.0) as preview:
        for i, seconds in enumerate(times):
            image = np.zeros((33, 41, 3), dtype=np.uint8)
            preview.add(i + 1, seconds, image, points if i == 2 else None)
        assert not (tmp_path / "preview.mp4").exists()
    with av.open(str(tmp_path / "preview.mp4")) as container:
        shown = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert [time for time, _ in shown] == pytest.approx(times)
    assert [image.shape for _, image in shown] == [(32, 40, 3)] * 4
    assert [image[12, 20, 1] > 128 for _, image in shown] == [False, False, True, False]
    with pytest.raises(KeyboardInterrupt), open_preview("mp4", tmp_path, 1.0) as preview:  # noqa: PT012
        preview.add(1, 0.0, image, None)
        raise KeyboardInterrupt
    assert sorted(os.listdir(tmp_path)) == [".gitignore", "NOTICE"]
