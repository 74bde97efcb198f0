"""Options of what encoders learn: the objective of stage 1, its views, and stage 2's part in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clmer.errors import ConfigError
from clmer.options import option

if TYPE_CHECKING:
    from clmer.pipeline.config import ModelConfig

#: Heading on the command line.
MODEL = "model and training (unset: the preset's values)"
#: What `objective` may be beside "auto", and what `encoders` may be.
OBJECTIVES = ("paper", "pooled", "spectral", "neighbour")
ENCODERS = ("frozen", "finetune", "scratch")


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """What encoders learn, and when.

    Args:
        objective: what stage 1 minimises, see `clmer.pipeline.objectives`: "paper" (Eq.
            1-4), "pooled", "spectral", "neighbour", or "auto", by each modality's kind of signal.
        view_scale, view_both, view_jitter, view_pieces: as in `clmer.nn.views.Views`; None for the
            objective's own.
        view_rotation: the same; only signals with three channels per sensor are turned.
        encoders: in stage 2 "frozen", "finetune" (trained with the classifier) or "scratch" (the
            same from a random start; stage 1 is left out).
    """

    objective: str = option(
        "auto",
        help="what stage 1 minimises: the paper's Eq. 1-4; NT-Xent on features pooled over time, "
        "with one person's windows as negatives; the same on log power over time (spectral), also "
        "with a window's neighbour as its other view; or by the kind of signal (auto)",
        group=MODEL,
        choices=("auto", *OBJECTIVES),
    )
    view_scale: tuple[float, float] | None = option(
        None,
        help="mean and sd of the factor by which a view's channels are multiplied (default: the "
        "objective's; 1,0.1 or 1,1)",
        metavar="MEAN,SD",
        group=MODEL,
    )
    view_both: bool | None = option(
        None,
        help="scale the second view as well (default: the objective's)",
        group=MODEL,
    )
    view_jitter: tuple[float, float] | None = option(
        None,
        help="sd of the noise in the first and in the second view (default: 0.05,0.3)",
        metavar="SD,SD",
        group=MODEL,
    )
    view_pieces: int | None = option(
        None,
        help="pieces of the second view in random order, at most; 1 keeps the order of time "
        "(default: the objective's)",
        metavar="N",
        group=MODEL,
        least=1,
        most=1000,
    )
    view_rotation: float = option(
        0.0,
        help="sd, in degrees, of a turn of the axes of signals with three each",
        metavar="DEG",
        group=MODEL,
        least=0,
        most=180,
    )
    encoders: str = option(
        "frozen",
        help="in stage 2: as stage 1 left them, trained on with the classifier, or trained from a "
        "random start without stage 1",
        group=MODEL,
        choices=ENCODERS,
    )


def check_encoders(config: ModelConfig) -> None:
    """Refuse views out of range, and encoders that nothing trains or reads.

    Raises:
        ConfigError: there are some.
    """
    for name in ("view_scale", "view_jitter"):
        pair = getattr(config, name)
        sds = pair[1 if name == "view_scale" else 0 :] if pair else ()
        if pair and not (all(map(math.isfinite, pair)) and min(sds) >= 0):
            raise ConfigError(
                f"`{name}`: found {pair[0]:g},{pair[1]:g}, expected two numbers, and standard "
                "deviations of 0 or more"
            )
    if config.encoders == "finetune" and not config.contrastive:
        raise ConfigError(
            "`encoders=finetune`: it trains on what stage 1 left; it needs the contrastive stage "
            "(or take `encoders=scratch`)"
        )
    if config.encoders != "frozen" and (config.tokens == "spectrum" or not config.fusion):
        raise ConfigError(
            f"`encoders={config.encoders}`: stage 2 trains the encoders by their tokens; it needs "
            "`fusion=True` and `tokens=channel` or `tokens=time`"
        )
