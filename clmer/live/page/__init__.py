"""A page of a live session, in a process of its own: signals, probabilities, latency, lost samples.

    page = LivePage(("calm", "tense"), {"eeg": ("Fp1", "Fp2")}, {"eeg": "uV"})
    print(page.url)
    for window in live.push(samples, times):
        page.add_window(window)
    page.show(live)                          # as often as one likes: 5 times a second it does so

The server is Bokeh's (extra `live`). What is shown goes to it by a queue that is never waited for:
while the server is busy, updates are left out, and windows go with the next one.

    __init__.py   `LivePage`, what the session calls
    shown.py      what goes over the queue, thinned to what a screen shows
    server.py     the process: Bokeh's server
    feed.py       what came over the queue so far
    view.py       the page itself: figures and tables
"""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from clmer.errors import ConfigError, DataError
from clmer.live.defaults import PAGE_ADDRESS
from clmer.live.formats import LiveWindow, Recent, StreamCounts
from clmer.live.page.shown import (
    SECONDS,
    Layout,
    Shown,
    ShownWindow,
    counted,
    thinned,
)
from clmer.live.session import Live

__all__ = ["LivePage", "address_of"]

_EVERY_S = 0.2  # from update to update
_START_S = 30.0  # for the server to come up
_END_S = 3.0
_MOST_WINDOWS = 1000  # that wait for a server that is busy


def address_of(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT", "HOST" or "PORT"; port 0 is any free one.

    Raises:
        ConfigError: neither.
    """
    default, _, default_port = PAGE_ADDRESS.rpartition(":")
    host, colon, port = text.rpartition(":") if ":" in text else ("", "", text)
    if not colon and not text.isdigit():
        host, port = text, default_port
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"page: found {text!r}, expected HOST:PORT, such as {PAGE_ADDRESS}")
    return host.strip("[]") or default, int(port)


class LivePage:
    """A session's page; as a context it ends the server.

    Args:
        classes: names of a window's values; none of a rating.
        channels: names by modality of the signals that are shown.
        units: by modality.
        title: of the page.
        address: "HOST:PORT" that the server listens to. Beyond 127.0.0.1 everybody in the network
            can watch.

    Attributes:
        url: where a browser on this machine finds the page.
        seconds: of the signals that are shown.

    Raises:
        ConfigError: no such address.
        DataError: Bokeh is not installed, or the address is not free.
    """

    seconds = SECONDS

    def __init__(
        self,
        classes: Sequence[str],
        channels: Mapping[str, Sequence[str]],
        units: Mapping[str, str],
        *,
        title: str = "clmer live",
        address: str = PAGE_ADDRESS,
    ) -> None:
        host, port = address_of(address)
        if find_spec("bokeh") is None:
            raise DataError("bokeh", "package", "nothing", "Bokeh", 'pip install "clmer[live]"')
        layout = Layout(
            title=title,
            classes=tuple(classes),
            channels={name: tuple(names) for name, names in channels.items()},
            units=dict(units),
        )
        from clmer.live.page.server import serve

        self._modalities = tuple(layout.channels)
        context = multiprocessing.get_context("spawn")
        self._queue: Any = context.Queue(maxsize=2)
        answers: Any = context.Queue()
        self._process = context.Process(
            target=serve,
            args=(layout, host, port, self._queue, answers),
            name="clmer page",
            daemon=True,
        )
        self._process.start()
        self._waiting: deque[ShownWindow] = deque(maxlen=_MOST_WINDOWS)
        self._next_update = 0.0
        self.url = self._started(answers, host, port)

    def __enter__(self) -> LivePage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_due(self) -> bool:
        """Whether it is time for an update."""
        return time.monotonic() >= self._next_update

    def add_window(self, window: LiveWindow) -> None:
        """Show a window from the next update on."""
        self._waiting.append(ShownWindow.of(window))

    def show(self, live: Live, missing: Sequence[str] = ()) -> None:
        """`update` with what a session has, where one is due.

        Args:
            live: the session; its signals of the page's modalities are shown.
            missing: names of streams that are not there at the moment.
        """
        if self.is_due:
            signals = {name: live.recent(name, self.seconds) for name in self._modalities}
            left_s = live.reference_left_s
            self.update(signals, live.counts, reference_left_s=left_s, missing=missing)

    def update(
        self,
        signals: Mapping[str, Recent],
        counts: Mapping[str, StreamCounts],
        *,
        reference_left_s: float = 0.0,
        missing: Sequence[str] = (),
    ) -> None:
        """Show the newest state; nothing happens before `is_due`, or while the server is busy.

        Args:
            signals: by modality the last `seconds` before and after the filter.
            counts: by stream what became of its samples.
            reference_left_s: seconds of the reference still to come.
            missing: names of streams that are not there at the moment.
        """
        if not self.is_due:
            return
        self._next_update = time.monotonic() + _EVERY_S
        if self._queue.full():
            return
        shown = Shown(
            signals={name: thinned(recent) for name, recent in signals.items()},
            windows=tuple(self._waiting),
            counts={name: counted(each) for name, each in counts.items()},
            reference_left_s=reference_left_s,
            missing=tuple(missing),
        )
        try:
            self._queue.put_nowait(shown)
        except queue.Full:
            return
        self._waiting.clear()

    def close(self) -> None:
        """End the server; browsers keep what they show."""
        self._process.terminate()
        self._process.join(_END_S)
        self._queue.cancel_join_thread()
        self._queue.close()

    def _started(self, answers: Any, host: str, port: int) -> str:
        """The address of the page, once its server listens."""
        until = time.monotonic() + _START_S
        problem = "no answer"
        while time.monotonic() < until:
            try:
                said, value = answers.get(timeout=0.2)
            except queue.Empty:
                if self._process.is_alive():
                    continue
                problem = f"a server that ended (exit code {self._process.exitcode})"
                break
            if said == "port":
                shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
                return f"http://{f'[{shown}]' if ':' in shown else shown}:{value}/"
            problem = value
            break
        self.close()
        raise DataError(
            f"{host}:{port}", "page", problem, "an address that is free", "Take another port, or 0."
        )
