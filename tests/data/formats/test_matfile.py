"""MATLAB 5 files: what SciPy reads, within a budget, and nothing but a DataError otherwise."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clmer.data.formats.matfile import load_cells
from clmer.errors import DataError

LIMIT = 2**20


def cells(*values: object) -> np.ndarray:
    array = np.empty((1, len(values)), dtype=object)
    array[0, :] = values
    return array


VARIABLES: dict[str, Any] = {
    "data": cells(
        *(np.arange(34.0).reshape(2, 17), np.zeros((0, 0)), np.zeros((1, 0)), np.full((3, 2), 7)),
        *(np.array([[1.5, -2]], dtype=np.float32), np.array([[200]], dtype=np.uint8)),
    ),
    "names": cells("10", "N1", "P1é", np.array([[138]])),
    "other": np.ones((5, 5)),
}


def written(compressed: bool, variables: dict[str, Any] = VARIABLES) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def load(path: Path, content: bytes, *names: str) -> Any:
    path.write_bytes(content)
    return load_cells(path, names or ("data", "names"), max_bytes=LIMIT)


@pytest.mark.parametrize("compressed", [False, True])
def test_reads_what_scipy_reads(tmp_path: Path, compressed: bool) -> None:
    content = written(compressed)
    found = load(tmp_path / "a.mat", content)
    expected = scipy.io.loadmat(io.BytesIO(content))
    assert found["data"][0] == (1, 6)
    for mine, theirs in zip(found["data"][1], expected["data"][0], strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_array_equal(mine, theirs)
    assert found["names"][1][:3] == [text.item() for text in expected["names"][0, :3]]
    assert found["names"][1][3].item() == 138
    assert "absent" not in load(tmp_path / "a.mat", content, "data", "absent")


def test_big_endian_files(tmp_path: Path) -> None:
    """As a workstation of another byte order would have written it."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(code: int, shape: tuple[int, int], name: bytes, body: bytes) -> bytes:
        head = element(6, struct.pack(">II", code, 0)) + element(5, struct.pack(">2i", *shape))
        return element(14, head + element(1, name) + body)

    numbers = matrix(6, (1, 2), b"", element(3, struct.pack(">2h", -3, 300)))
    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    content += matrix(1, (1, 1), b"data", numbers)
    found = load(tmp_path / "a.mat", content)["data"][1][0]
    assert found.tolist() == scipy.io.loadmat(io.BytesIO(content))["data"][0, 0].tolist()
    assert found.tolist() == [[-3.0, 300.0]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"data": np.ones((2, 2))}, "class 6, expected a cell array"),
        ({"data": cells(np.array([[1j]]))}, "complex numbers"),
        ({"data": cells({"a": 1})}, "array of class 2"),
        ({"data": cells(cells(1, 2))}, "array of class 1"),
        ({"data": cells(*[0] * 10_001)}, "10001 cells"),
        ({"data": cells(np.ones((400, 400)))}, "of the limit"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, variables: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.mat", written(True, variables))


def test_other_formats_are_named_with_the_way_out(tmp_path: Path) -> None:
    hdf = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(600)
    with pytest.raises(DataError, match=r"MATLAB 7\.3 \(HDF5\).*'-v7'"):
        load(tmp_path / "a.mat", hdf)
    for content in (b"", b"x" * 50, b"PK\x03\x04" + bytes(300), bytes(128)):
        with pytest.raises(DataError, match="no MATLAB 5 header"):
            load(tmp_path / "a.mat", content)
    with pytest.raises(DataError, match="at most"):
        load(tmp_path / "a.mat", bytes(LIMIT + 1))
    with pytest.raises(DataError, match="No such file"):
        load_cells(tmp_path / "b.mat", ("data",), max_bytes=LIMIT)


def test_every_truncation_and_a_flipped_byte_are_noticed(tmp_path: Path) -> None:
    for compressed in (False, True):
        content = written(compressed, {"data": VARIABLES["data"]})
        for length in range(128 + 1, len(content) - 8, 7):
            with pytest.raises(DataError):
                load(tmp_path / "a.mat", content[:length])
    at = len(content) - 20  # in the packed values: zlib's checksum tells
    with pytest.raises(DataError, match="MATLAB 5 stream"):
        load(tmp_path / "a.mat", content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def test_a_small_file_cannot_claim_or_unpack_to_much(tmp_path: Path) -> None:
    bomb = zlib.compress(struct.pack("<II", 14, 2**31) + bytes(64 * 2**20), 9)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    content = header + struct.pack("<II", 15, len(bomb)) + bomb
    with pytest.raises(DataError, match="MATLAB 5 stream"):
        load(tmp_path / "a.mat", content)
    plain = bytearray(written(False, {"data": VARIABLES["data"]}))
    at = plain.index(struct.pack("<2i", 2, 17))
    for claim in ((2**31 - 1, 17), (-1, 17), (2**20, 2**20)):
        plain[at : at + 8] = struct.pack("<2i", *claim)
        with pytest.raises(DataError):
            load(tmp_path / "a.mat", bytes(plain))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damage_gives_a_result_or_a_data_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(written(data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(100, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        found = load(tmp_path / "a.mat", bytes(content))
    except DataError:
        return
    for shape, values in found.values():
        assert len(values) == np.prod(shape)
