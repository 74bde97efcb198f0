"""Decoding: times, damage, pixels, and what is no clip."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import zoom
from support.video_cases import number_of, numbered, write_clip

from clmer.data.video.clips import Reader, frames, variable_rate
from clmer.errors import DataError

av = pytest.importorskip("av", reason="needs the extra video")
X264 = {"crf": "12", "bf": "3"}
TIMES = [40 * k for k in range(50)]


def test_variable_rates_are_said() -> None:
    assert variable_rate(np.arange(9) / 25) == ""
    assert "20 to 60 ms" in variable_rate(np.cumsum([0, 0.02, 0.04, 0.06, 0.04]))


def held(path: Path, matrix: list[list[int]]) -> None:
    """Write into an MP4's track header how the phone was held."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    values = [65536 * value for row in matrix for value in (*row, 0)] + [0, 0, 2**30]
    data[at : at + 36] = np.array(values, dtype=">i4").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "corner"),  # where the stored frame's upper left is shown, and where its upper right
    [
        ([[1, 0], [0, 1]], ("upper left", "upper right")),
        ([[0, 1], [-1, 0]], ("upper right", "lower right")),  # a quarter turn clockwise
        ([[0, -1], [1, 0]], ("lower left", "upper left")),
        ([[-1, 0], [0, -1]], ("lower right", "lower left")),
        ([[-1, 0], [0, 1]], ("upper right", "upper left")),  # a mirrored selfie
        ([[0, -1], [-1, 0]], ("lower right", "upper right")),
    ],
)
def test_frames_are_turned_upright(
    tmp_path: Path, matrix: list[list[int]], corner: tuple[str, str]
) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    stored = np.zeros((64, 96, 3), dtype=np.uint8)
    stored[:32, :48, 0], stored[:32, 48:, 2] = 255, 255  # red upper left, blue upper right
    write_clip(tmp_path / "a.mp4", [stored] * 2, [0, 40])
    held(tmp_path / "a.mp4", matrix)
    image = next(frames(tmp_path / "a.mp4")).image
    assert image.shape == ((64, 96, 3) if matrix[0][0] else (96, 64, 3))
    assert image.flags.c_contiguous
    height, width, _ = image.shape
    for name, colour in zip(corner, (0, 2), strict=True):
        row = height // 4 if name.startswith("upper") else 3 * height // 4
        column = width // 4 if name.endswith("left") else 3 * width // 4
        assert image[row, column, colour] > 200
        assert image[row, column, 2 - colour] < 50


# --- times ---
def seen(path: Path, count: int = 50) -> tuple[list[float], list[int], Reader]:
    """Times and numbers of the frames, and the reader with its notes."""
    reader = Reader(path)
    given = [(frame.seconds, number_of(frame.image, count)) for frame in reader.frames()]
    return [time for time, _ in given], [number for _, number in given], reader


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.ts", "a.mov"])
def test_reordered_pictures_come_as_they_are_shown(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    unit = Fraction(1, 25) if name == "a.avi" else Fraction(1, 90000)
    write_clip(path, numbered(50), TIMES, "libx264", unit=unit, options=X264)
    times, numbers, reader = seen(path)
    assert times == pytest.approx(np.array(TIMES) / 1000, abs=1e-3)
    assert np.abs(np.array(numbers) - np.arange(50)).max() <= 1
    assert (np.diff(numbers) >= 0).all()
    assert not reader.damage
    assert any("order of showing" in note for note in reader.notes) == (name == "a.avi")


@pytest.mark.parametrize("codec", ["mpeg4", "msmpeg4v3", "mjpeg"])
def test_avi_of_old_codecs(tmp_path: Path, codec: str) -> None:
    options = {"bf": "2"} if codec == "mpeg4" else {"q:v": "3"}
    if codec == "mjpeg":
        options["strict"] = "unofficial"
    write_clip(
        tmp_path / "a.avi", numbered(50), TIMES, codec, unit=Fraction(1, 25), options=options
    )
    times, numbers, reader = seen(tmp_path / "a.avi")
    assert times == pytest.approx(np.array(TIMES) / 1000)
    assert (np.diff(numbers) >= 0).all()
    assert not reader.damage


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("late_s", [0.0, 1.5])
def test_times_count_from_the_file_s_start(tmp_path: Path, name: str, late_s: float) -> None:
    path = tmp_path / name
    times_ms = [40 * k + 1000 * late_s for k in range(25)]
    unit = Fraction(1, 90000)
    write_clip(path, numbered(25), times_ms, "libx264", unit=unit, options=X264, sound_s=3)
    times, _, reader = seen(path, 25)
    assert times == pytest.approx(np.array(times_ms) / 1000, abs=0.03)  # the sound's priming
    assert any("starts at 1.5" in note for note in reader.notes) == (late_s > 0)


def trim(path: Path, seconds: float) -> None:
    """Write into an MP4's edit list that what comes before is not shown."""
    data = bytearray(path.read_bytes())
    at, movie, media = data.index(b"elst") + 12, data.index(b"mvhd"), data.index(b"mdhd")
    scale = struct.unpack(">I", data[movie + 16 : movie + 20])[0]
    unit = struct.unpack(">I", data[media + 16 : media + 20])[0]
    length, start = struct.unpack(">Ii", data[at : at + 8])
    new = struct.pack(">Ii", length - round(seconds * scale), start + round(seconds * unit))
    data[at : at + 8] = new
    path.write_bytes(data)


@pytest.mark.parametrize("bframes", ["0", "2"])
def test_a_trimmed_clip_is_whole(tmp_path: Path, bframes: str) -> None:
    options = {"crf": "12", "g": "50", "bf": bframes}
    path = tmp_path / "a.mp4"
    write_clip(path, numbered(50), TIMES, "libx264", unit=Fraction(1, 12800), options=options)
    trim(path, 1.2)
    times, numbers, reader = seen(path)
    assert times == pytest.approx(np.arange(20) / 25, abs=1e-3)
    assert abs(numbers[0] - 30) <= 1
    assert not reader.damage


def test_times_that_go_back_are_an_error(tmp_path: Path) -> None:
    for name, first_ms in (("a.ts", 9000), ("b.ts", 1000)):
        times = [first_ms + 40 * k for k in range(20)]
        write_clip(tmp_path / name, numbered(20), times, "mpeg2video", unit=Fraction(1, 25))
    joined = (tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes()
    (tmp_path / "c.ts").write_bytes(joined)
    with pytest.raises(DataError, match=r"times that do not go back.*ffmpeg -i c.ts"):
        list(frames(tmp_path / "c.ts"))


def test_gaps_are_said_with_their_place() -> None:
    times = np.r_[np.arange(9), np.arange(30, 39)] / 25
    assert "40 to 880 ms between frames (longest from 0.32 s)" in variable_rate(times)
    assert "0 to 40 ms" in variable_rate(np.array([0, 0, 0, 0.04]))


# --- pixels ---
@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(16, 15), (144, 188)),  # PAL DV, 4:3: 176 wide
        (Fraction(8, 9), (162, 176)),
        (Fraction(2), (144, 352)),
        (Fraction(1), (144, 176)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_pixels_are_made_square(
    tmp_path: Path, name: str, aspect: Fraction, shape: tuple[int, int]
) -> None:
    unit = Fraction(1, 25)
    write_clip(tmp_path / name, numbered(3, 144, 176), TIMES[:3], unit=unit, aspect=aspect)
    reader = Reader(tmp_path / name)
    assert [frame.image.shape[:2] for frame in reader.frames()] == [shape] * 3
    assert any("made square" in note for note in reader.notes) == (aspect != 1)


def test_a_turned_clip_s_pixels_are_made_square_before_it_is_turned(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", numbered(2), TIMES[:2], aspect=Fraction(4, 3))
    held(tmp_path / "a.mp4", [[0, 1], [-1, 0]])
    assert next(frames(tmp_path / "a.mp4")).image.shape == (128, 64, 3)


@pytest.mark.parametrize(("height", "width"), [(128, 192), (96, 192)])
def test_a_picture_whose_size_changes_is_brought_to_the_first_one_s(
    tmp_path: Path, height: int, width: int
) -> None:
    for name, first_ms, shape in (("a", 1000, (64, 96)), ("b", 1400, (height, width))):
        times = [first_ms + 40 * k for k in range(10)]
        path = tmp_path / f"{name}.ts"
        write_clip(path, numbered(10, *shape), times, "mpeg2video", unit=Fraction(1, 25))
    joined = (tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes()
    (tmp_path / "c.ts").write_bytes(joined)
    reader = Reader(tmp_path / "c.ts")
    shapes = [frame.image.shape[:2] for frame in reader.frames()]
    assert shapes[:9] == [(64, 96)] * 9  # the decoder drops the last one before the change
    assert shapes[-10:] == [(64, 96) if height == 128 else (height, width)] * 10
    assert any(f"size changes to {width} x {height} at 0.40 s" in note for note in reader.notes)


def test_interlaced_pictures_are_said(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1"}
    write_clip(tmp_path / "a.mp4", numbered(6), TIMES[:6], "libx264", options=options)
    _, _, reader = seen(tmp_path / "a.mp4", 6)
    assert [note[:10] for note in reader.notes] == ["interlaced"]


def test_absurd_pixels_are_an_error(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", numbered(2), TIMES[:2], aspect=Fraction(12))
    with pytest.raises(DataError, match=r"pixel aspect: found 12.*-aspect"):
        next(frames(tmp_path / "a.mp4"))


# --- damage ---
def damaged(path: Path, size: int, place: float = 0.5) -> None:
    """Zeros in a clip."""
    data = bytearray(path.read_bytes())
    start = round(place * len(data))
    data[start : start + size] = bytes(size)
    path.write_bytes(data)


def test_a_damaged_clip_gives_the_same_pictures_each_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = zoom(rng.integers(0, 255, (40, 40, 3)).astype(float), (7.5, 7.5, 1), order=1)
    images = [np.roll(image.astype(np.uint8), k % 5, axis=1) for k in range(30)]
    write_clip(tmp_path / "a.mp4", images, TIMES[:30], "libx264", options={"g": "10"})
    damaged(tmp_path / "a.mp4", (tmp_path / "a.mp4").stat().st_size // 20)

    def read() -> tuple[list[bytes], str]:
        reader = Reader(tmp_path / "a.mp4")
        return [frame.image.tobytes() for frame in reader.frames()], str(reader.damage)

    once = read()
    assert once[1]
    assert all(read() == once for _ in range(25))


@pytest.mark.parametrize(
    ("name", "codec", "options", "share"),
    [
        ("a.avi", "libx264", {"crf": "12", "g": "25", "bf": "3"}, 0.05),
        ("a.mp4", "libx264", {"crf": "12", "g": "25"}, 0.005),
        ("a.mp4", "libx264", {"crf": "12", "g": "25"}, 0.05),
        ("a.mkv", "libx264", {"crf": "12", "g": "25"}, 0.05),
        ("a.ts", "libx264", {"crf": "12", "g": "25"}, 0.01),
        ("a.avi", "mpeg4", {}, 0.05),
        ("a.webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "400k"}, 0.05),
    ],
)
def test_damage_in_the_middle_is_an_error_and_what_decodes_is_kept(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], share: float
) -> None:
    path, unit = tmp_path / name, Fraction(1, 25 if name == "a.avi" else 1000)
    images = numbered(100, 192, 256, noise=9)
    write_clip(path, images, [40 * k for k in range(100)], codec, unit=unit, options=options)
    assert not Reader(path).damage
    damaged(path, round(share * path.stat().st_size))
    with pytest.raises(DataError, match=r"frames: found .* s\b.*expected a whole clip.*`partial`"):
        list(frames(path))
    times, numbers, reader = seen(path, 100)
    assert reader.damage
    assert (np.diff(times) > 0).all()
    if name == "a.webm":  # of one cluster: the rest cannot be found
        assert "header states 4.0" in str(reader.damage)
        return
    assert len(times) > 70
    assert times[-1] == pytest.approx(3.96, abs=0.01)
    assert np.abs(np.array(numbers) - np.array(times) * 25)[-20:].max() <= 1


def test_all_is_decoded_behind_a_picture_that_the_decoder_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    options = {"crf": "23", "g": "100", "bf": "0"}
    images = numbered(50, 192, 256, noise=3)
    write_clip(path, images, TIMES, "libx264", unit=Fraction(1, 12800), options=options)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    start, size = packets[20]
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    times, _, reader = seen(path)
    assert len(times) > 35  # the decoder also leaves out some that refer to it
    assert 0.8 not in np.round(times, 3)
    assert times[-1] == pytest.approx(1.96)
    assert "1 that cannot be decoded, near 0." in str(reader.damage)


@pytest.mark.parametrize("sound_s", [0.0, 7.0])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.flv", "flv1")],
)
def test_a_clip_cut_at_its_end(tmp_path: Path, name: str, codec: str, sound_s: float) -> None:
    if name in ("a.webm", "a.avi") and sound_s:
        pytest.skip("AAC does not go into it")
    path, unit = tmp_path / name, Fraction(1, 25 if name == "a.avi" else 1000)
    options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx" else {}
    times = [40 * k for k in range(100)]
    write_clip(
        path, numbered(100, noise=60), times, codec, unit=unit, options=options, sound_s=sound_s
    )
    if sound_s:
        assert not Reader(path).damage  # a sound that goes on longer is no damage
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=r"header states [47]\.\d+ s"):
        list(frames(path))
    assert 5 < len(seen(path, 100)[0]) < 90


def test_a_clip_is_read_on_in_the_next_cluster(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_clip(
        path,
        numbered(100, noise=60),
        [40 * k for k in range(100)],
        "libx264",
        options={"crf": "23", "g": "12"},
        container_options={"cluster_time_limit": "400"},
    )
    damaged(path, 9000)
    times, _, reader = seen(path, 100)
    assert times[-1] == pytest.approx(3.96)
    assert reader.damage or "variable" in variable_rate(np.array(times))


# --- what is no clip ---
def test_what_is_no_clip_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(DataError) as error:
            next(frames(path))
        return str(error.value)

    image = numbered(1)[0]
    (tmp_path / "pngs").mkdir()
    (tmp_path / "clips").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"")
    for k in range(3):
        (tmp_path / "pngs" / f"{k}.png").write_bytes(b"")
    text = message(tmp_path / "pngs")
    assert "a folder with 3 pictures" in text
    assert "ffmpeg -framerate 25 -pattern_type glob -i" in text
    assert "a folder with 1 clips" in message(tmp_path / "clips")
    assert "a folder with 0 files" in message(tmp_path / "empty")

    for name, codec, form in (
        ("pi.h264", "libx264", "h264"),
        ("pi.m4v", "mpeg4", "m4v"),
        ("pi.264", "libx264", "h264"),
    ):
        write_clip(tmp_path / name, numbered(10), TIMES[:10], codec, format=form)
        text = message(tmp_path / name)
        assert "whose frames have no times" in text
        assert f"ffmpeg -framerate 25 -i {name} -c copy pi.mp4" in text

    for name, codec, form in (("a.jpg", "mjpeg", "image2"), ("a.png", "png", "image2")):
        with av.open(str(tmp_path / name), "w", format=form, options={"update": "1"}) as output:
            stream = output.add_stream(codec, rate=25)
            stream.height, stream.width = image.shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            output.mux(stream.encode(None))
        assert "a still picture" in message(tmp_path / name)
    write_clip(tmp_path / "one.mp4", [image], [0])
    assert "a still picture (1 frame)" in message(tmp_path / "one.mp4")


@pytest.mark.parametrize("film", [False, True])
def test_a_cover_is_no_film(tmp_path: Path, film: bool) -> None:
    image, path = numbered(1)[0], tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=25)
        cover.height, cover.width = image.shape[:2]
        cover.pix_fmt, cover.disposition = "yuvj420p", av.stream.Disposition.attached_pic
        moving = output.add_stream("mpeg4", rate=25) if film else None
        if moving:
            moving.height, moving.width, moving.pix_fmt = 48, 80, "yuv420p"
        sound = output.add_stream("aac", rate=48000, layout="mono")
        output.mux(cover.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(cover.encode(None))
        for picture in numbered(5, 48, 80) if moving else ():
            output.mux(moving.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 48000
        output.mux([*sound.encode(frame), *sound.encode(None)])
        if moving:
            output.mux(moving.encode(None))
    if film:
        assert [frame.image.shape for frame in frames(path)] == [(48, 80, 3)] * 5
        return
    with pytest.raises(DataError, match="an audio file with a cover picture"):
        next(frames(path))
