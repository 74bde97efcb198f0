"""What is refused: inputs that are no clip, with the FFmpeg command that makes one; no package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clmer.errors import DataError

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
_CLIPS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".ts", ".wmv", ".flv", ".mts")
_CLIP = "a video clip"
#: FFmpeg's names of streams without a container; the times that it gives some are its own guess.
RAW = ("h261", "h263", "h264", "hevc", "vvc", "m4v", "mjpeg", "mpegvideo", "obu", "vc1", "rawvideo")
_RATE = "25 stands for the pictures per second"


def folder(path: Path) -> DataError:
    """What to say of a folder in the place of a clip."""
    names = sorted(child for child in path.iterdir() if child.is_file())
    pictures = [child for child in names if child.suffix.lower() in _PICTURES]
    clips = [child for child in names if child.suffix.lower() in _CLIPS]
    if clips and len(clips) >= len(pictures):
        hint = f"Give its clips one by one: {path}/*{clips[0].suffix}."
        return DataError(path, "file", f"a folder with {len(clips)} clips", _CLIP, hint)
    if not pictures:
        return DataError(path, "file", f"a folder with {len(names)} files", _CLIP)
    suffix = pictures[0].suffix
    hint = (
        f"Make one of them: ffmpeg -framerate 25 -pattern_type glob -i '{path}/*{suffix}' "
        f"-pix_fmt yuv444p {path.name}.mp4 ({_RATE})."
    )
    return DataError(path, "file", f"a folder with {len(pictures)} pictures", _CLIP, hint)


def still(path: Path) -> DataError:
    """What to say of a picture, or of a clip that is one."""
    return DataError(
        path,
        "frames",
        "a still picture (1 frame)",
        "a clip of at least 2 frames",
        "A series needs time. Of numbered pictures one is made by ffmpeg -framerate 25 "
        f"-pattern_type glob -i '*{path.suffix}' -pix_fmt yuv444p clip.mp4 ({_RATE}).",
    )


def untimed(path: Path, codec: str) -> DataError:
    """What to say of a raw stream, which states no times."""
    return DataError(
        path,
        "time",
        f"a raw {codec} stream, whose frames have no times",
        "a time per frame",
        f"Put it into a container: ffmpeg -framerate 25 -i {path.name} -c copy "
        f"{path.stem}.mp4 (25 stands for the pictures per second that it was filmed with).",
    )


def without_video(path: Path, container: Any, cover: bool) -> DataError:
    """What to say of a file without moving pictures."""
    others = [stream.type for stream in container.streams if stream.type != "video"]
    if cover:
        what = "an audio file with a cover picture" if "audio" in others else "a cover picture"
        hint = "It has sound only: give the clip that was filmed."
        return DataError(path, "streams", what, "a video", hint)
    kinds = ", ".join(others) or "nothing"
    return DataError(path, "streams", f"{kinds} only", "a video", "Give the clip that was filmed.")


def import_av() -> Any:
    """PyAV, or an error that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise missing_extra("av") from error
    return av


def missing_extra(name: str) -> DataError:
    """What to say where the extra `video` is not installed."""
    return DataError(name, "package", "nothing", "PyAV and MediaPipe", 'pip install "clmer[video]"')
