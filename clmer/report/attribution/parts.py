"""The parts of windows that can be exchanged: modalities, electrodes, bands, action units, ..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from clmer.data.face.rows import AU_NAMES, LANDMARK_COLUMNS
from clmer.data.face.windows import FACE_ROWS
from clmer.data.store.store import Modality
from clmer.features import is_missing
from clmer.features.bands import BANDS
from clmer.pipeline.reference import eeg_rows
from clmer.pipeline.window_features import Band

#: Kinds of parts, in the order in which they are shown.
MODALITY, ELECTRODE, BAND, SIGNAL = "modality", "electrode", "band", "signal"
ACTION_UNIT, REGION = "action unit", "landmark region"
#: Regions of the 68 iBUG landmarks; sides are taken together, since they move together.
REGIONS: Mapping[str, tuple[int, ...]] = {
    "jaw": tuple(range(17)),
    "brows": tuple(range(17, 27)),
    "nose": tuple(range(27, 36)),
    "eyes": tuple(range(36, 48)),
    "mouth": tuple(range(48, 68)),
}
_POINTS = 68


@dataclass(frozen=True)
class Part:
    """A part of the windows of one modality.

    Args:
        kind: what kind of part.
        name: which one.
        modality: whose windows.
        rows: of C, those that it takes.
        band: edges in Hz of what is taken of them; None for all.
    """

    kind: str
    name: str
    modality: str
    rows: tuple[int, ...]
    band: Band | None = None

    def exchanged(self, own: np.ndarray, given: np.ndarray, modality: Modality) -> np.ndarray:
        """Windows with this part of other windows in its place, the rest as it was.

        A band's Fourier coefficients are exchanged, a landmark region is moved to where the rest of
        the face is. Where either window lacks the modality nothing is exchanged.

        Args:
            own: [N, C, T] windows.
            given: [N, C, T] windows that the part is taken from.
            modality: whose windows they are.

        Returns:
            [N, C, T].
        """
        rows, out = np.array(self.rows), own.copy()
        there = np.flatnonzero(~(is_missing(own, modality) | is_missing(given, modality)))
        place = np.ix_(there, rows)
        if self.band is not None:
            out[place] = _band_exchanged(own[place], given[place], modality.fs, self.band)
        elif self.kind == REGION:
            out[place] = _moved(given[there], own[there], rows)
        else:
            out[place] = given[place]
        return out


def _band_exchanged(own: np.ndarray, given: np.ndarray, fs: float, band: Band) -> np.ndarray:
    """Give x - B(x) + B(x'), B the projection on the Fourier coefficients in [low, high) Hz."""
    length = own.shape[-1]
    inside = _bins(length, fs, band)
    spectrum = np.fft.rfft(own)
    spectrum[..., inside] = np.fft.rfft(given)[..., inside]
    return np.fft.irfft(spectrum, n=length).astype(own.dtype)


def _bins(length: int, fs: float, band: Band) -> np.ndarray:
    hz = np.fft.rfftfreq(length, 1 / fs)
    return (hz >= band[0]) & (hz < band[1])


def _moved(given: np.ndarray, own: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A region's rows, on each axis and in each frame at the same place beside the other points."""
    axis = np.arange(given.shape[1]) // _POINTS
    others = np.setdiff1d(np.arange(given.shape[1]), rows)
    moved = given[:, rows].copy()
    for each in np.unique(axis[rows]):
        rest = others[axis[others] == each]
        shift = own[:, rest].mean(1) - given[:, rest].mean(1)  # [N, T]
        moved[:, axis[rows] == each] += shift[:, None]
    return moved


def parts_of(modalities: Mapping[str, Modality], lengths: Mapping[str, int]) -> list[Part]:
    """All parts of these modalities.

    Args:
        modalities: by name.
        lengths: T, samples of a window, by modality.
    """
    found = [
        part
        for name, modality in modalities.items()
        for part in _parts_of_one(modality, lengths[name])
    ]
    order = (MODALITY, ELECTRODE, BAND, SIGNAL, ACTION_UNIT, REGION)
    return sorted(found, key=lambda part: order.index(part.kind))


def _parts_of_one(modality: Modality, length: int) -> Iterator[Part]:
    name, channels = modality.name, modality.channels
    yield Part(MODALITY, name, name, tuple(range(len(channels))))
    eeg = eeg_rows(modality)
    for row, channel in enumerate(channels if modality.kinds else ()):
        yield Part(ELECTRODE if row in eeg else SIGNAL, channel, name, (row,))
    bands = BANDS if eeg else {}
    for band, edges in bands.items():
        if edges[1] <= modality.fs / 2 and _bins(length, modality.fs, edges).any():
            title = f"{band}, {edges[0]:g}-{edges[1]:g} Hz"
            yield Part(BAND, title, name, tuple(eeg), edges)
    if channels == FACE_ROWS["au"]:
        for unit in AU_NAMES:
            rows = (row for row, channel in enumerate(channels) if channel.startswith(f"{unit}_"))
            yield Part(ACTION_UNIT, unit, name, tuple(rows))
    if channels == LANDMARK_COLUMNS:
        for region, points in REGIONS.items():
            rows = (axis * _POINTS + point for axis in range(3) for point in points)
            yield Part(REGION, region, name, tuple(rows))
