"""The process of a session's page: Bokeh's server, fed by a queue."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback

from clmer.live.page.feed import Feed
from clmer.live.page.shown import Layout
from clmer.live.page.view import POLL_MS, View

_PARENT_MS = 1000  # between two looks at the process that started this one
#: Hosts that stand for all addresses of a machine.
_EVERYWHERE = ("0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "::1")


def serve(layout: Layout, host: str, port: int, source: Any, answers: Any) -> None:
    """Run the server until the session ends.

    Args:
        layout: of the page.
        host: where it listens.
        port: there; 0 for any free one.
        source: the queue of `Shown`.
        answers: a queue that gets ("port", number) or ("error", text).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the session's
    for name in ("bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.ERROR)
    feed = Feed(source)
    try:
        sockets, port = bind_sockets(host, port)
    except OSError as error:
        answers.put(("error", error.strerror or str(error)))
        return

    def open_page(document: Document) -> None:
        View(layout, feed, document)

    application = Application(FunctionHandler(open_page))
    tornado = BokehTornado({"/": application}, extra_websocket_origins=_origins(host, port))
    http, loop = HTTPServer(tornado), IOLoop.current()
    http.add_sockets(sockets)
    BaseServer(loop, tornado, http).start()
    session = multiprocessing.parent_process()

    def leave_with_session() -> None:
        if session is not None and not session.is_alive():
            loop.stop()

    PeriodicCallback(leave_with_session, _PARENT_MS).start()
    PeriodicCallback(feed.poll, POLL_MS).start()  # whether or not a browser looks
    loop.add_callback(answers.put, ("port", port))
    loop.start()


def _origins(host: str, port: int) -> list[str]:
    """Pages that may talk to the server: its own, by the names that a browser knows it by."""
    if host in _EVERYWHERE:
        return ["*"]
    names = {host, "localhost"} if host in _LOOPBACK else {host}
    return [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in sorted(names)]
