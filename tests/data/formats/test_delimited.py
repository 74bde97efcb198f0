"""Small tables as spreadsheets, R and pandas save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clmer.data.formats.delimited import MISSING, is_missing, number, read_table
from clmer.errors import DataError

PLAIN = 'name,note,x\nMüller,calm,0.5\nB,"a, b",2\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        ("\n\n" + PLAIN + "\n,,\n ,,\n").encode(),
        PLAIN.replace("0.5\n", "0.5,,\n").replace("x\n", "x,,\n").encode(),
        PLAIN.replace("calm", '" calm "').replace("Müller", "  Müller\u00a0").encode(),
        PLAIN.replace("name", '"name"').replace("calm", '"=""calm"""').encode(),
        ("sep=,\n" + PLAIN).encode(),
        ('"sep=,"\r\n' + PLAIN).encode(),
    ],
)
def test_one_table_however_it_was_saved(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    table = read_table(path)
    assert table.names == ("name", "note", "x")
    assert [cells for _, cells in table.lines()] == [["Müller", "calm", "0.5"], ["B", "a, b", "2"]]
    assert table.notes == ()


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("stated", [False, True])
def test_other_separators(path: Path, separator: str, stated: bool) -> None:
    text = separator.join(["name", "x", "y"]) + "\n" + separator.join(["A", "0,5", "1"]) + "\n"
    path.write_text((f"sep={separator}\n" if stated else "") + text)
    table = read_table(path)
    assert table.lines() == [(2 + stated, ["A", "0,5", "1"])]
    assert table.number("0,5") == 0.5


def test_windows_1252_is_read_and_said(path: Path) -> None:
    path.write_bytes("name,label\nA,fröhlich\n".encode("cp1252"))
    table = read_table(path)
    assert table.lines() == [(2, ["A", "fröhlich"])]
    assert "Windows-1252" in table.notes[0]
    assert "CSV UTF-8" in table.notes[0]


@pytest.mark.parametrize("raw", [b"a,b\n\x81\xff,1\n", b"PK\x03\x04\0\0,", b"\xff\xfea"])
def test_what_is_no_text_is_refused_with_the_encoding(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"table\.csv: text: .*UTF-8.*Save it as CSV UTF-8"):
        read_table(path)


def test_thousands_are_not_taken_for_decimals(path: Path) -> None:
    path.write_text('rate,x\n"1,000","0,5"\n')
    table = read_table(path)
    assert table.number("1,000") is None
    assert (table.number("0,5"), table.number("-12,25"), table.number("1,5e3")) == (
        0.5,
        -12.25,
        1500,
    )
    path.write_text("rate;x\n1.000;0,5\n")
    assert read_table(path).number("1.000") is None  # beside decimal commas
    path.write_text("rate;x\n1.000;0.5\n")
    assert read_table(path).number("1.000") == 1.0


@pytest.mark.parametrize("text", ["1_000", "nan", "inf", "1e999", "0x1", "", "1 000", "٣", "1,5"])
def test_what_is_no_number(text: str) -> None:
    assert number(text) is None


def test_a_typographic_minus_is_one(path: Path) -> None:
    path.write_text("x\n1\n")
    assert read_table(path).number("\u22120.8") == -0.8


def test_an_open_quotation_mark_swallows_no_rows(path: Path) -> None:
    path.write_text('name,x\n"A,1\nB,2\nC,3\n')
    with pytest.raises(DataError, match=r"line 2: found a cell that goes on to line 4"):
        read_table(path)


def test_a_comma_without_quotation_marks_is_named(path: Path) -> None:
    path.write_text("name,x\nA,0,5\n")
    with pytest.raises(DataError, match=r"line 2: found more cells.*decimal comma"):
        read_table(path).lines()


def test_missing_values() -> None:
    spelt = ["n/a", "N/A", "NA", "None", "none", "null", "NULL", "NaN", "-", "--", "?", "#N/A"]
    assert all(map(is_missing, [*spelt, "#NA", "", " ", ".", "missing", "Missing", "<NA>", "–"]))
    assert not any(map(is_missing, ["0", "999", "-999", "no", "neutral", "nan1", "unknown"]))
    assert all(text == text.lower() for text in MISSING)


@pytest.mark.parametrize(
    "cell",
    [
        *("#NV", "#N/D", "#N/V", "#Н/Д", "#WERT!", "#VALEUR!", "#¡VALOR!", "#NOM?", "#CALC!"),
        *("n.d.", "N.A", "na.", "k. A.", "keine Angabe", "not available", "No answer", "nil"),
        *("(null)", "<NULL>", "[n/a]", "()", "NaT", "NA_real_", "1.#QNAN", "-1.#IND00", "+nan"),
        *("\\N", "N\\A", "...", "…", "*", "/", "____", "—", "N／A", "－", "Missing value"),
    ],
)
def test_missing_values_of_other_programs_and_languages(cell: str) -> None:
    assert is_missing(cell)


@pytest.mark.parametrize(
    "cell",
    ["+", "++", ":)", ":-(", "#1", "#sad", "#AB", "-1", ".5", "(a)", "A.", "no", "nd"],
)
def test_words_that_are_values(cell: str) -> None:
    assert not is_missing(cell)
