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
"""

from clmer.live.formats import LiveWindow, Recent, StreamCounts, StreamFormat
from clmer.live.session import Live

__all__ = ["Live", "LiveWindow", "Recent", "StreamCounts", "StreamFormat"]
