"""`clmer video`: options, OpenFace, and when a series is done again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.video_cases import make_face, run

from clmer.data.choices.video import OPENFACE
from clmer.data.video import record
from clmer.data.video.preview import open_preview, preview_folder
from clmer.data.video.table import TableWriter


def test_options_that_cannot_be_met(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLMER_FACE_MODEL", raising=False)
    monkeypatch.setenv("PATH", "")
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        (("a.mp4", *out), "face_landmarker.task"),
        (("a.mp4", *out, "--model", tmp_path / "absent.task"), "absent.task: --model"),
        (("a.mp4", "b/a.avi", *out), "one name a clip"),
        (("a.mp4", *out, "--jobs", 0), "--jobs"),
        (("a.mp4", *out, "--preview", "png", "--every", -1), "--every"),
        (("a.mp4", *out, "--preview", "mp4", "--every", 2), "--every: found 2.0"),
        (("a.mp4", *out, "--faces", 0), "--faces"),
        (("a.mp4", *out, "--with", "openface", "--faces", 2), "--faces: found --with openface"),
        (("a.mp4", *out, "--hog"), "--hog"),
        (("a.mp4", *out, "--with", "openface", "--preview"), "--preview"),
        (("a.mp4", *out, "--with", "openface"), "OpenFace 2's program"),
        (("a.mp4", "--out", __file__, "--with", "openface"), "--out"),
    ):
        code, text = run(capsys, *arguments)
        assert code == 2
        assert message in text


_FAKE = """#!/bin/sh
# what FeatureExtraction does with -f CLIP -out_dir DIR -of NAME
while [ $# -gt 0 ]; do case $1 in
  -f) f=$2;; -out_dir) d=$2;; -of) n=$2;; -hogalign) hog=1;; esac; shift; done
grep -q broken "$f" && { echo "Could not open the video" >&2; exit 1; }
[ "$hog" ] && echo 1 > "$d/$n.hog"
cp "$f" "$d/$n.csv"
"""


@pytest.fixture
def openface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for OpenFace on the PATH whose "clips" are the CSVs that it will write."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / OPENFACE).write_text(_FAKE)
    (folder / OPENFACE).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with TableWriter(tmp_path / "good.avi") as table:
        for i in range(10):
            table.add(i / 25, make_face(i), 1)
        table.finish()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_with_openface_and_resumed(
    openface: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    (openface / "broken.avi").write_text("broken")
    clips = [openface / "good.avi", openface / "broken.avi", openface / "absent.avi"]
    command = ("--out", openface / "out", "--with", "openface", "--jobs", count)
    code, text = run(capsys, *clips, *command)
    assert code == 2
    assert "10 frames, a face in 10" in text
    assert "exit code 1 Could not open the video" in text
    assert "absent.avi: file: found nothing" in text
    assert sorted(os.listdir(openface / "out")) == ["good.csv", "good.source.json"]
    code, text = run(capsys, clips[0], *command)
    assert code == 0
    assert "skipped" in text
    os.utime(clips[0], (0, 0))
    code, text = run(capsys, clips[0], *command)
    assert "done again, mtime_ns changed" in text
    assert "10 frames" in text
    assert "10 frames" in run(capsys, clips[0], *command, "--overwrite")[1]


def test_a_hog_file_stays_with_its_series(
    openface: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = openface / "good.avi", openface / "out"
    command = (clip, "--out", out, "--with", "openface")
    assert "done again" not in run(capsys, *command, "--hog")[1]
    assert (out / "good.hog").read_text() == "1\n"
    assert "skipped" in run(capsys, *command)[1]  # more than was asked for
    clip.write_text(clip.read_text() + "\n")
    assert "done again, size, mtime_ns changed" in run(capsys, *command)[1]
    assert not (out / "good.hog").exists()
    assert "done again, it has no HOG file" in run(capsys, *command, "--hog")[1]
    assert (out / "good.hog").is_file()


def test_a_series_of_unknown_origin_is_not_replaced(
    openface: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (openface / "out").mkdir()
    own = openface / "out" / "good.csv"
    own.write_text("my own")
    command = (openface / "good.avi", "--out", own.parent, "--with", "openface")
    code, text = run(capsys, *command)
    assert code == 2
    assert "good.csv: file: found a CSV without good.source.json" in text
    assert own.read_text() == "my own"
    assert "10 frames" in run(capsys, *command, "--overwrite")[1]


def test_what_makes_a_finished_series_another_one(tmp_path: Path) -> None:
    clip, model, other = tmp_path / "a.mp4", tmp_path / "m.task", tmp_path / "n.task"
    for path, text in ((clip, "clip"), (model, "model"), (other, "other")):
        path.write_text(text)
    csv, made = tmp_path / "out.csv", tmp_path / "made"
    source = record.describe(clip, "mediapipe", model)

    def why(source: dict[str, object], *, hog: bool = False, partial: bool = False) -> str | None:
        return record.outdated(csv, source, hog=hog, partial=partial)

    for whole, reason in ((True, None), (False, "it is part of a truncated or damaged clip")):
        made.write_text("rows")
        record.place(made, csv, source | {"whole": whole})
        assert why(source) == reason
        assert why(source, partial=True) is None
    (tmp_path / "copy.task").write_text("model")
    assert why(record.describe(clip, "mediapipe", tmp_path / "copy.task"), partial=True) is None
    assert why(record.describe(clip, "mediapipe", other)) == "model_sha256 changed"
    assert why(record.describe(clip, "openface", None)) == "tracker, model_sha256 changed"
    csv.unlink()
    assert why(source) == "it is not there"


def test_a_preview_that_is_gone_or_of_other_times_is_made_again(tmp_path: Path) -> None:
    clip, csv, made = tmp_path / "a.mp4", tmp_path / "out.csv", tmp_path / "made"
    clip.write_text("clip")
    made.write_text("rows")
    source = record.describe(clip, "openface", None)
    record.place(made, csv, source | {"whole": True, "preview": "png", "every": 1.0})

    def why(preview: str, every: float | None = None) -> str | None:
        return record.outdated(csv, source, hog=False, partial=False, preview=preview, every=every)

    assert why("png", 1.0) == "it has no png preview"
    with open_preview("png", preview_folder(csv), 1.0) as preview:
        preview.add(1, 0.0, np.zeros((4, 4, 3), dtype=np.uint8), None)
    assert why("png", 1.0) is None
    assert why("png", 2.0) == "every changed"
    assert why("mp4") == "it has no mp4 preview"
    assert why("") is None


def test_a_kill_while_a_series_is_put_in_place_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, csv, made, hog = (tmp_path / name for name in ("a.mp4", "out.csv", "made", "hog"))
    for path in (clip, made, hog):
        path.write_text(path.name)
    source = record.describe(clip, "openface", None)
    record.place(made, csv, source | {"whole": True}, hog)
    made.write_text("new")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        record.place(made, csv, source | {"whole": True})
    assert record.outdated(csv, source, hog=False, partial=False) == "it is not there"
    assert not csv.with_suffix(".hog").exists()


def test_openface_without_a_face(openface: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TableWriter(openface / "empty.avi") as table:
        for i in range(10):
            table.add(i / 25, None, 0)
        table.finish()
    code, text = run(
        capsys, openface / "empty.avi", "--out", openface / "out", "--with", "openface"
    )
    assert code == 3
    assert "no face found" in text
    assert os.listdir(openface / "out") == []
