"""BIDS' channels.tsv: names, types, units and status of the channels of the recording beside it."""

from __future__ import annotations

import csv
from pathlib import Path

from clmer.data.recording import KINDS
from clmer.errors import DataError

#: BIDS' types of channels (channels.tsv) -> ours; the rest are no signal of a body.
TYPES = {
    **{kind.upper(): kind for kind in KINDS},
    **dict.fromkeys(("SEEG", "ECOG", "DBS"), "ieeg"),
    **dict.fromkeys(("HEOG", "VEOG"), "eog"),
    **dict.fromkeys(("EYEGAZE", "PUPIL"), "other"),
    **dict.fromkeys(("ACCEL", "ACC"), "acc"),
    **{"EDA": "gsr", "BVP": "ppg", "TRIG": "trigger", "REF": "ref", "SYSCLOCK": "time"},
    **dict.fromkeys(("AUDIO", "ADC", "DAC"), "trigger"),
    **dict.fromkeys(("MEGMAG", "MEGGRADAXIAL", "MEGGRADPLANAR", "MEGREFMAG"), "meg"),
}


def table_path(path: Path) -> Path:
    """Where BIDS' channels.tsv of a recording is, or would be."""
    return path.with_name(f"{path.name.partition('.')[0].rpartition('_')[0]}_channels.tsv")


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """BIDS' channels.tsv beside a recording, by channel name; empty where there is none.

    Raises:
        DataError: it is there and cannot be read.
    """
    table = table_path(path)
    if "_" not in path.name or not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(table, "table", error, "a tab-separated channels.tsv") from error
    if rows and not {"name", "type"} <= set(rows[0]):
        raise DataError(table, "header", ", ".join(map(str, rows[0])), "name, type, units, ...")
    return {
        row["name"].strip(): {k: (v or "").strip() for k, v in row.items() if k} for row in rows
    }
