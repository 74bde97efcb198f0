"""Live: samples in as they come, what a trained run says of each window out.

    live = clmer.Live(clmer.load("runs/x"))
    live.push(samples, timestamps)            # the windows that became complete

session.py    `Live`: windows on the streams' clock, and what is said of them
opening.py    which modality comes from which stream, or why they do not fit
clock.py      timestamps to samples: lost, late and repeated ones, drift, jumps
signals.py    a stream of signals, filtered and resampled as it comes
faces.py      a stream of a face tracker's rows
channels.py   which channels of which stream a run uses
reference.py  what a person is read against
formats.py    what goes in and comes out
defaults.py   of the command line's options
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clmer.live.formats import LiveWindow, Recent, StreamCounts, StreamFormat
    from clmer.live.session import Live

__all__ = ["Live", "LiveWindow", "Recent", "StreamCounts", "StreamFormat"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "clmer.live.session" if name == "Live" else "clmer.live.formats"
    return getattr(import_module(module), name)
