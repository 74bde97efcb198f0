"""Tables of samples as devices and people write them: CSV, TSV, text; and arrays by name.

| module | |
|---|---|
| `layout` | where header, units and rows are, separator, decimal sign |
| `rows` | the numbers |
| `times` | rate and lost samples, by a column of times or a counter |
| `profiles` | devices: OpenBCI, Muse, Mind Monitor, Emotiv, Shimmer, BITalino, Polar |
| `empatica` | the folder of an E4 |
| `foreign` | tables that come in another way |
| `table` | puts these together |
| `arrays` | `.mat` and `.npz` |
"""

from __future__ import annotations

from pathlib import Path

from clmer.data.formats.mne_files.readers import stands_alone, suffix_of
from clmer.data.formats.tables import empatica
from clmer.data.formats.tables.arrays import open_arrays
from clmer.data.formats.tables.empatica import is_session
from clmer.data.formats.tables.layout import read_layout
from clmer.data.formats.tables.source import TableFile
from clmer.data.formats.tables.table import open_table

#: Suffixes of text, and of arrays.
TEXT = (".csv", ".tsv", ".txt", ".dat")
ARRAYS = (".mat", ".npz")
SUFFIXES = (*TEXT, *ARRAYS)


def is_table(path: Path) -> bool:
    """Whether `open_numbers` opens a file, or a folder."""
    if path.is_dir():
        return is_session(path)
    return suffix_of(path) in SUFFIXES and not (suffix_of(path) == ".dat" and stands_alone(path))


def open_numbers(path: Path, rate: float | None = None) -> TableFile:
    """Open a table, arrays, or an Empatica folder, whichever it is by its suffix and content.

    Args:
        path: the file, or the folder.
        rate: samples per second, where somebody states it.

    Raises:
        DataError: it is none of samples, is damaged, or nothing tells the rate.
    """
    if path.is_dir():
        return empatica.open_folder(path)
    if path.suffix.lower() in ARRAYS:
        return open_arrays(path, rate)
    layout = read_layout(path)
    head = empatica.header(layout)
    return empatica.open_file(layout, *head) if head else open_table(layout, rate)


__all__ = ["ARRAYS", "SUFFIXES", "TEXT", "TableFile", "is_session", "is_table", "open_numbers"]
