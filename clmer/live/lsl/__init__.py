"""LabStreamingLayer: streams found by name, read in chunks, and taken up again when they drop.

[source] = open_sources(["Headset"], timeout_s=10)
live = clmer.Live(trained, {source.name: source.format})
while True:
    samples, times = source.pull()  # [C, n] and [n] seconds on this machine's LSL clock
    windows = live.push(samples, times)
"""

from clmer.live.lsl.events import Event
from clmer.live.lsl.find import open_sources
from clmer.live.lsl.predictions import PredictionsOutlet
from clmer.live.lsl.source import Source

__all__ = ["Event", "PredictionsOutlet", "Source", "open_sources"]
