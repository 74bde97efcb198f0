"""Values of electrodes over the head, drawn by MNE, for light and dark pages alike.

The picture has no ground of its own; outline and numbers are of middle grey, and electrodes' names
have a light rim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

#: Electrodes with a known place; fewer make no map.
LEAST_POSITIONS = 4
#: Of the circle in m, which has the outermost electrodes of the 10-20 system inside.
_RADIUS = 0.107
_GREY = "#888888"
#: Font sizes of electrode names, the first at which none overlap; at the last some are left out.
_NAME_SIZES = (9.0, 8.0, 7.0, 6.0, 5.0)


def _montage() -> Any:
    """Standard positions."""
    import mne

    names = mne.channels.get_builtin_montages()
    return mne.channels.make_standard_montage(
        "colin27_1020" if "colin27_1020" in names else "standard_1020"  # its name before MNE 1.13
    )


def with_position(names: Sequence[str]) -> list[int]:
    """Which of some electrodes have a standard position."""
    places = {name.lower() for name in _montage().ch_names}
    return [number for number, name in enumerate(names) if name.lower() in places]


def draw_head(
    values: np.ndarray,
    names: Sequence[str],
    figure: Figure,
    label: str,
    *,
    shown: Collection[str],
    limits: tuple[float | None, float | None] = (None, None),
) -> list[Text]:
    """Draw values over the head, interpolated between electrodes, with a scale.

    Args:
        values: [E] of the electrodes.
        names: of the E electrodes, each with a standard position.
        figure: where; it has a canvas.
        label: of the scale.
        shown: electrodes whose name is written.
        limits: of the scale; None for the values' own.

    Returns:
        The names that are shown.
    """
    import mne

    info = mne.create_info(list(names), 1.0, "eeg", verbose="error")
    info.set_montage(_montage(), match_case=False, verbose="error")
    axis = figure.subplots()
    written = [name if name in shown else "" for name in names]
    image, _ = mne.viz.plot_topomap(
        values,
        info,
        axes=axis,
        names=written,
        cmap="viridis",
        vlim=limits,
        sphere=_RADIUS,
        show=False,
    )
    for line in axis.lines:  # the head's outline; the sensors are dots in it
        line.set_color(_GREY)
    figure.colorbar(image, label=label, shrink=0.8)
    figure.draw_without_rendering()
    _spread([text for text in axis.texts if text.get_text()])
    return [text for text in axis.texts if text.get_visible() and text.get_text()]


def _spread(names: Sequence[Text]) -> None:
    """Names of a size at which none overlaps; where there is none, without those that do."""
    for name in names:
        name.set_color("black")
        name.set_path_effects([withStroke(linewidth=1.5, foreground="white", alpha=0.8)])
    for size in _NAME_SIZES:
        for name in names:
            name.set_fontsize(size)
        boxes = [name.get_window_extent() for name in names]
        if not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]):
            return
    shown: list[Any] = []
    for name, box in zip(names, boxes, strict=True):
        name.set_visible(not any(box.overlaps(other) for other in shown))
        shown += [box] if name.get_visible() else []
