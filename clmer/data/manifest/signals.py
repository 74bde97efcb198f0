"""The signal that a row of a manifest names: a recording, a table, or an `.npy`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from clmer.data import units
from clmer.data.channels import QUANTITY, SERVICE, as_kind, fits, kind_of_name
from clmer.data.formats import suffix_of
from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.tables.foreign import FaceTableError
from clmer.data.manifest.row import Row
from clmer.data.recording import Signal
from clmer.data.service_channels import check_no_service
from clmer.data.timeline import Timeline
from clmer.data.units import OURS, wrong_unit
from clmer.errors import DataError

#: Hz that signals are brought to, which decides how near to its start a part must begin.
_FINEST = 128.0


def read_signal(row: Row, without: Collection[str] = ()) -> Signal:
    """The signal that a row names, from its start to its stop.

    Args:
        row: of a modality that is no face.
        without: names (`channels.canonical`) of channels that are left out unless the row names
            them.

    Raises:
        DataError: the file cannot be read, or lacks a channel.
    """
    suffix = suffix_of(row.path)
    if suffix == ".npy":
        return _read_npy(row)
    try:
        file = open_biosignal(row.path, row.rate)
    except FaceTableError as error:
        where = f"modality in line {row.line} of the manifest" if row.line else "modality"
        expected = "face, for a face tracker's table"
        raise DataError(row.path, where, row.modality, expected, error.hint) from error
    start_s, stop_s = row.span(file.duration_s, 1 / file.fs if file.fs else 0.0)
    channels = file.select(row.modality, row.channels, kind=row.kind, without=without)
    return file.signal(channels, start_s, stop_s, unit=row.unit)


def _of_modality(row: Row, signal: Signal) -> Signal:
    """The channels that a modality takes out of a table of named columns.

    Raises:
        DataError: none of its type.
    """
    need = row.kind or as_kind(row.modality)
    if row.kind:
        return replace(signal, kinds=(row.kind,) * len(signal.kinds))
    keep = [i for i, kind in enumerate(signal.kinds) if kind == need] if need else []
    if not need or len(keep) == len(signal.kinds):
        return signal
    if keep and not row.channels:
        return signal.select(need)
    found = ", ".join(f"{c} ({k})" for c, k in zip(signal.channels, signal.kinds, strict=True))
    raise DataError(
        row.path,
        f"channels of modality {row.modality}",
        found,
        f"channels of type {need}",
        "State the type in the manifest's column kind where the file's names do not tell it.",
    )


def _read_npy(row: Row) -> Signal:
    if row.rate is None:
        raise DataError(
            row.path, "rate", "none", "samples per second in the manifest's column rate"
        )
    try:
        array: np.ndarray = np.lib.format.open_memmap(row.path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        with row.path.open("rb") as file:
            packed = file.read(2) == b"PK"
        raise DataError(
            row.path,
            "array",
            "an .npz, which holds several arrays" if packed else error,
            "an .npy of numbers [channels, samples]",
            "Save the array of samples alone, with numpy.save." if packed else "",
        ) from error
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] > array.shape[1] or array.dtype.kind not in "fiu":
        raise DataError(
            row.path,
            "array",
            f"shape {array.shape} of {array.dtype}",
            "real numbers [channels, samples], more samples than channels",
            _other_shape(array),
        )
    names = row.channels or tuple(f"ch{i + 1}" for i in range(len(array)))
    if len(names) != len(array):
        raise DataError(
            row.path,
            "channels",
            f"{len(array)} rows",
            f"{len(names)}: {' '.join(names)}" + (" as in the manifest" if row.line else ""),
            "An array's rows are all used, in their order: save it with these alone.",
        )
    line = Timeline.continuous(row.rate, array.shape[1])
    start_s, stop_s = row.span(line.duration_s, 1 / row.rate)
    part = line.part(start_s, stop_s, _FINEST)
    piece = part.pieces[0]
    data = np.array(array[:, piece.first : piece.stop], np.float64)
    if not np.isfinite(data).all():
        channel, sample = np.argwhere(~np.isfinite(data))[0]
        raise DataError(
            row.path,
            names[channel],
            f"{data[channel, sample]} at {(piece.first + sample) / row.rate:.3f} s",
            "finite numbers",
            "Interpolate the gap, or leave that part out with start_s and stop_s.",
        )
    kinds = _kinds_of_array(row, names)
    untold = [not row.channels or kind_of_name(name) == "unknown" for name in names]
    if not row.kind:
        check_no_service(row.path, data, names, kinds, untold)
    unit = _unit_of_array(row, data, kinds)
    signal = Signal(data, row.rate, names, kinds, unit, timeline=part.shifted())
    signals = [i for i, kind in enumerate(kinds) if kind == (as_kind(row.modality) or kind)]
    return signal if row.kind or len(signals) == len(kinds) else _of_modality(_unnamed(row), signal)


def _other_shape(array: np.ndarray) -> str:
    """What to do with an array of another shape or of other numbers."""
    if array.ndim == 2 and array.dtype.kind in "fiu" and array.size:
        return "It looks like [samples, channels]: save its transpose, array.T."
    if array.ndim == 3:
        return "Save each trial as an array of its own, and name it in a row of the manifest."
    return ""


def _unnamed(row: Row) -> Row:
    """The same row; an array's names say what its rows are, not which of them are wanted."""
    return replace(row, channels=())


def _kinds_of_array(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """The type of each of an array's rows: as stated, by its name, or the modality's.

    Raises:
        DataError: a row whose name tells that it is no signal, such as a trigger.
    """
    default = row.kind or as_kind(row.modality) or "other"
    if row.kind:
        return (default,) * len(names)
    told = [kind_of_name(name) if row.channels else "unknown" for name in names]
    service = [f"{n} ({k})" for n, k in zip(names, told, strict=True) if k in SERVICE[:-1]]
    if service:
        raise DataError(
            row.path,
            f"channels in line {row.line} of the manifest",
            ", ".join(service),
            "names of signals",
            "Save the array without those rows; or, if a name misleads, state the true type in the "
            "column kind.",
        )
    return tuple(default if kind == "unknown" else kind for kind in told)


def _unit_of_array(row: Row, data: np.ndarray, kinds: Sequence[str]) -> str:
    """Bring an array's numbers to our unit, in place, and name it.

    Raises:
        DataError: an unknown unit.
    """
    need = {QUANTITY.get(kind) for kind in kinds}
    if not row.unit:
        quantity = need.pop() if len(need) == 1 else None
        return OURS[quantity] if quantity else "mixed"
    unit = units.parse(row.unit)
    for kind in dict.fromkeys(kinds):
        if unit is None or not (units.is_bare(unit) or fits(kind, unit.quantity)):
            where = f"unit in line {row.line} of the manifest" if row.line else "unit"
            raise wrong_unit(row.path, where, row.unit, kind)
    assert unit is not None
    data *= unit.factor
    return unit.ours
