"""`PrepareOptions`: what windows are made of a data set, the same words for every caller.

The command line, `clmer.data.load` and a run's configuration take their options from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from clmer.data.choices import FACES
from clmer.errors import ConfigError
from clmer.options import check, option

#: What `filter` may be.
FILTERS = ("type", "paper", "causal")


@dataclass(frozen=True)
class PrepareOptions:
    """Options of a preparation, see `clmer.data.store.prepare.prepare`.

    Args:
        modalities: names of signals and of `FACE_TOKENS`; a signal type such as "eeg" takes those
            channels out of a signal that mixes types. Empty for the data set's default.
        window_s: length of a window in seconds; None for the data set's default.
        stride_s: seconds from window to window; None for the window, without overlap.
        filter: "type" filters by signal type, "paper" puts the paper's one band on every channel,
            both forwards and backwards (zero phase); "causal" filters by type forwards alone,
            as `clmer live` does.
        bridge_s: seconds of samples that were lost at most and are interpolated, a single sample
            at any rate; what is longer stays a pause, which no window crosses. 0 for none.
        fps: frames per second that the face is resampled to.
        face: "raw" keeps landmarks in the camera's frame, "aligned" removes the head's motion.
        labels: whose labels, out of the data set's `labels`; "" for its default.
        mobilevit: folder of MobileViT-S's weights; "" for random ones.

    Raises:
        ConfigError: a value out of range, or a modality named twice.
    """

    modalities: tuple[str, ...] = option(
        (),
        help="e.g. physio,landmarks,au (default: all of the data set)",
        flag="--modalities",
        metavar="A,B,...",
    )
    window_s: float | None = option(
        None,
        help="window length in seconds",
        flag="--window",
        metavar="S",
        above=0,
        below=math.inf,
    )
    stride_s: float | None = option(
        None, help="window step (the window)", flag="--stride", metavar="S", above=0, below=math.inf
    )
    filter: str = option(
        "type",
        help="band by signal type (default), the paper's one band on every channel, or by signal "
        "type from past samples alone, as clmer live filters (causal)",
        choices=FILTERS,
    )
    bridge_s: float = option(
        0.025,
        help="lost samples that are interpolated, up to S seconds (or one sample); 0: none",
        flag="--bridge",
        metavar="S",
        least=0,
        below=math.inf,
    )
    fps: float = option(
        25.0,
        help="frames per second that the face is resampled to",
        flag="",
        above=0,
        below=math.inf,
    )
    face: str = option(
        "raw",
        help="landmarks as tracked (raw, default), or without the head's motion (aligned)",
        choices=FACES,
    )
    labels: str = option(
        "",
        help="amigos: the video's own valence and arousal (stimulus, default), the person's "
        "ratings (self), or the annotators' (external)",
        metavar="WHOSE",
    )
    mobilevit: str = option(
        "", help="MobileViT-S's weights for the modality mobilevit", metavar="DIR"
    )

    def __post_init__(self) -> None:
        if isinstance(self.modalities, str):
            raise ConfigError(
                f"`modalities`: found the text {self.modalities!r}, expected a sequence of names"
            )
        object.__setattr__(self, "modalities", tuple(self.modalities))
        if len(set(self.modalities)) < len(self.modalities):
            raise ConfigError(
                f"`modalities`: found {','.join(self.modalities)}, expected each name once"
            )
        check(self)
