"""Face tables that went through a spreadsheet, R or pandas, and damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from support.face_cases import FPS, Csv, person, text

from clmer.data.face import read_face
from clmer.errors import DataError

PLAIN = text(person(60))
SEMICOLONS = text(person(60), ";")


def with_quotes(plain: str) -> str:
    head, _, body = plain.partition("\n")
    return ",".join(f'"{" " * bool(i)}{n}"' for i, n in enumerate(head.split(", "))) + "\n" + body


@pytest.mark.parametrize(
    "content",
    [
        SEMICOLONS.replace(".", ","),
        "sep=;\n" + SEMICOLONS.replace(".", ","),
        "sep=;\r\n" + SEMICOLONS.replace("\n", "\r\n"),
        "\ufeff" + SEMICOLONS.replace(".", ","),
        "\ufeffsep=;\n" + SEMICOLONS,
        text(person(60), "\t").replace(".", ","),
        text(person(60), " ").replace(".", ","),
        "\n".join(
            ",".join(f'"{c}"' for c in line.split(";")) for line in SEMICOLONS.split("\n")[:-1]
        ).replace(".", ","),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        ("\ufeff" + SEMICOLONS.replace(".", ",")).encode("utf-16-le"),
        "\n" + PLAIN,
        with_quotes(PLAIN),
        PLAIN + ("," * 242 + "\n") * 3,
        PLAIN + "\n\n",
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", ",\n"),
        "\n".join(line + (";" if i else "") for i, line in enumerate(SEMICOLONS.split("\n")[:-1])),
    ],
    ids=[
        *("semicolons", "sep", "sep crlf", "bom", "bom sep", "tabs", "spaces", "quoted", "crlf"),
        *("cr", "utf-16", "utf-16-le", "utf-16-be", "bom utf-16", "empty first line", "quotes"),
        *("empty rows", "empty lines", "no line end", "trailing", "trailing rows"),
    ],
)
def test_tables_saved_again_hold_the_same_numbers(face_csv: Csv, content: str | bytes) -> None:
    face = read_face(face_csv(content))
    expected = read_face(face_csv(PLAIN))
    np.testing.assert_array_equal(face.landmarks, expected.landmarks)
    np.testing.assert_array_equal(face.au_intensity, expected.au_intensity)
    assert (face.fps, len(face.valid), face.notes) == (FPS, 60, ())


@pytest.mark.parametrize(
    "missing",
    [
        *("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "#NV", "<NA>"),
        *("-nan(ind)", "-1.#IND", "1.#QNAN", '""', '"NA"', "-nan"),
    ],
)
@pytest.mark.parametrize("separator", [",", ", ", ";"])
def test_ways_to_write_a_missing_number(face_csv: Csv, missing: str, separator: str) -> None:
    lines = text(person(60), separator).split("\n")
    cells = lines[6].split(separator)
    cells[20] = missing
    lines[6] = separator.join(cells)
    face = read_face(face_csv("\n".join(lines)), max_gap_s=0.0)
    assert np.flatnonzero(~face.valid).tolist() == [5]


@pytest.mark.parametrize("write", ["{h:02d}:{m:02d}:{s:06.3f}", "{m}:{s:06.3f}"])
def test_times_as_a_clock_shows_them(face_csv: Csv, write: str) -> None:
    rows = text(person(60), ",").splitlines()
    for k in range(1, len(rows)):
        cells = rows[k].split(",")
        seconds = float(cells[2])
        cells[2] = write.format(h=0, m=int(seconds // 60), s=seconds % 60)
        rows[k] = ",".join(cells)
    face = read_face(face_csv("\n".join(rows) + "\n"))
    assert (face.fps, face.notes) == (FPS, ())


def test_truth_values_of_r_and_pandas(face_csv: Csv) -> None:
    lines = PLAIN.split("\n")
    rows = [line.split(", ") for line in lines[1:-1]]
    for i, row in enumerate(rows):
        row[4] = "FALSE" if i < 3 else "TRUE"
    face = read_face(face_csv("\n".join([lines[0], *map(", ".join, rows)])))
    assert np.flatnonzero(~face.valid).tolist() == [0, 1, 2]


def change_cell(content: str, separator: str, line: int, cell: str) -> str:
    lines = content.split("\n")
    cells = lines[line - 1].split(separator)
    cells[20] = cell
    lines[line - 1] = separator.join(cells)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (change_cell(PLAIN, ", ", 12, "0,98"), r"line 12: found 244 cells, expected 243.*comma"),
        (change_cell(PLAIN, ", ", 12, "1, 2"), r"line 12: found 244 cells"),
        (change_cell(SEMICOLONS, ";", 12, "1;2"), r"line 12: found 244 cells"),
        (change_cell(SEMICOLONS, ";", 12, "1,234.5"), r"line 12, X_15: found '1,234\.5'.*thousand"),
        (change_cell(SEMICOLONS, ";", 12, "1.234.5"), r"line 12, X_15: .*thousand"),
        (
            change_cell(SEMICOLONS, ";", 12, "1,5"),
            r"line 12, X_15: found a comma in a number, and a",
        ),
        (
            change_cell(SEMICOLONS.replace(".", ","), ";", 12, "1.5"),
            r"and a point in line 12, X_15",
        ),
        (change_cell(PLAIN, ", ", 12, "1_5"), r"line 12, X_15: found '1_5', expected a number"),
        (change_cell(PLAIN, ", ", 12, "twelve"), r"line 12, X_15: found 'twelve'"),
        (PLAIN + PLAIN, r"line 62, timestamp: found 'timestamp'.*Split it there"),
        ("\n".join(f'"{line}"' for line in PLAIN.split("\n")), "each line as one quoted cell"),
        (change_cell("sep=,\n" + PLAIN, ", ", 13, "twelve"), r"line 13, X_15"),
        (change_cell("\n\n" + PLAIN, ", ", 14, "twelve"), r"line 14, X_15"),
        (change_cell(PLAIN.replace("\n", "\n\n", 1), ", ", 13, "twelve"), r"line 13, X_15"),
        (PLAIN.replace("\n3, ", "\n", 1), r"line 4: found 242 cells.*empty where there is no"),
        ("\n".join(f"{i}, {s}" if i else s for i, s in enumerate(PLAIN.split("\n"))), "row.names"),
    ],
)
def test_errors_name_the_line_of_the_file(face_csv: Csv, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_face(face_csv(content))
    assert "truncated" not in str(caught.value)


def test_a_cut_row_is_called_truncated(face_csv: Csv) -> None:
    with pytest.raises(DataError, match=r"line 61: found \d+ cells in the last row.*truncated"):
        read_face(face_csv(PLAIN[:-400]))


def test_a_name_twice(face_csv: Csv) -> None:
    lines = text(person(60)).split("\n")
    doubled = [lines[0] + ", X_0", *(line + ", 1" for line in lines[1:-1])]
    with pytest.raises(DataError, match="header, X_0: found two columns of that name"):
        read_face(face_csv("\n".join(doubled)))
    same = [f"{line}, {line.split(', ')[5]}" for line in lines[:-1]]
    assert read_face(face_csv("\n".join(same))).valid.all()


def test_text_that_is_not_used_may_be_anything(face_csv: Csv) -> None:
    lines = text(person(60), ",").split("\n")
    rows = [b"input," + lines[0].encode()]
    rows += ["Größe, 1.mp4".encode("cp1252").join([b'"', b'",']) + r.encode() for r in lines[1:-1]]
    np.testing.assert_array_equal(
        read_face(face_csv(b"\n".join(rows))).landmarks, read_face(face_csv(PLAIN)).landmarks
    )
