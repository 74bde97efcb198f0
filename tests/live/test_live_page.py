"""A session's page: what it shows, who can see it, and that the session never waits for it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clmer.errors import ConfigError, DataError
from clmer.live import LiveWindow, Recent, StreamCounts
from clmer.live.page import LivePage, address_of
from clmer.live.page.feed import Feed
from clmer.live.page.shown import Shown, ShownWindow, counted, envelope, spread

pytest.importorskip("bokeh", reason="needs the extra live")
ANY_PORT = "127.0.0.1:0"
CLASSES = ("calm", "tense")


def window(
    stop_s: float,
    values: np.ndarray | None,
    status: str = "ok",
    lost: int = 0,
    latency_s: float = 0.004,
) -> LiveWindow:
    return LiveWindow(stop_s - 4, stop_s, values, status, lost, latency_s)


def signals(now_s: float, samples: np.ndarray) -> Recent:
    """Recent seconds of 2 channels at 100 Hz up to `now_s`; the filter doubles them."""
    times = now_s + (np.arange(500) - 499) / 100
    return Recent(times, samples, times, 2 * samples)


FLAT = np.zeros((2, 500))


@pytest.fixture(scope="module")
def page() -> Iterator[LivePage]:
    units = {"eeg": "uV"}
    with LivePage(
        CLASSES, {"eeg": ("Fp1", "<Cz>")}, units, title="A & B", address=ANY_PORT
    ) as made:
        yield made


def show(page: LivePage, *windows: LiveWindow, **given: Any) -> None:
    """Send one update, as soon as the page takes it."""
    for each in windows:
        page.add_window(each)
    for _ in range(200):
        if page.is_due:
            page.update({"eeg": signals(50.0, FLAT)}, {"headset": StreamCounts()}, **given)
            if not page._waiting:
                return
        time.sleep(0.02)
    pytest.fail("the page takes no update")


def browser(page: LivePage, has: Callable[[Any], bool]) -> Any:
    """What a browser is shown, once it `has` something."""
    from bokeh.client import pull_session

    urllib.request.urlopen(page.url, timeout=10).close()  # for an error where there is one
    opened = pull_session(url=page.url)
    try:
        for _ in range(100):
            now = pull_session(session_id=opened.id, url=page.url)
            now.close()
            if has(now.document):
                return now.document
            time.sleep(0.05)
        pytest.fail(f"not shown: {texts(now.document)}")
    finally:
        opened.close()


def texts(document: Any) -> str:
    from bokeh.models import Div

    return " ".join(div.text for div in document.select({"type": Div}))


def figures(document: Any) -> dict[str, Any]:
    """Figures by the first word of their title."""
    from bokeh.plotting import figure

    found = document.select({"type": figure})
    return {each.title.text.split(":")[0]: each for each in found}


def test_a_window_its_latency_and_lost_samples_are_shown(page: LivePage) -> None:
    rng = np.random.default_rng(0)
    recent = signals(50.0, 10 * rng.standard_normal((2, 500)) + [[5000], [-5000]])
    for each in (
        window(40.0, np.array([0.7, 0.3]), latency_s=0.006),
        window(44.0, None, "no face"),
        window(48.0, np.array([0.2, 0.8]), "interpolated", lost=3, latency_s=0.004),
    ):
        page.add_window(each)
    counts = StreamCounts(received=12345, lost=3, interpolated=3, drift_ppm=-12.4)
    while not page.is_due:
        time.sleep(0.02)
    page.update({"eeg": recent}, {"headset": counts})
    shown = browser(page, lambda document: "tense 0.80" in texts(document))
    said = texts(shown)
    assert "interpolated: 3 samples" in said
    assert "<h1>A &amp; B</h1>" in said
    assert "<td>12,345</td><td class=some>3</td><td>3</td>" in said
    assert "<td>-12</td></tr></tbody></table>" in said
    found = figures(shown)
    assert found["latency"].title.text == "latency: half under 5.0 ms, 99 % under 6.0 ms"
    (values,) = (r.data_source.data for r in found["probability"].renderers[:1])
    np.testing.assert_allclose(values["x"], [-8, -4, 0])
    np.testing.assert_allclose(values["value1"], [0.3, np.nan, 0.8])
    for name, unit, scale in (("eeg as it comes", 100, 1), ("eeg after the filter", 200, 2)):
        assert found[name].title.text == f"{name}: {unit} uV from line to line"
        lines = found[name].renderers[0].data_source.data
        centred = scale * (recent.samples[1] - recent.samples[1].mean()) / unit
        np.testing.assert_allclose(lines["ys"][1], 1 + centred, atol=1e-5)
        np.testing.assert_allclose(lines["xs"][0], recent.times - 50, atol=1e-5)
        assert found[name].yaxis[0].major_label_overrides == {2: "Fp1", 1: "<Cz>"}


@pytest.mark.parametrize(
    ("windows", "given", "said"),
    [
        ([], {"reference_left_s": 34.4}, "reference: 34 s left"),
        ([window(60.0, None, "gap in eeg")], {}, "gap in eeg"),
        ([window(64.0, np.array([0.9, 0.1]))], {"missing": ("cap",)}, "cap: no stream"),
        ([window(68.0, None, "<b>")], {}, "&lt;b&gt;"),
    ],
)
def test_what_there_is_to_say(
    page: LivePage, windows: list[LiveWindow], given: dict[str, Any], said: str
) -> None:
    show(page, *windows, **given)
    shown = browser(page, lambda document: said in texts(document))
    assert "tense" not in texts(shown)
    assert "calm" not in texts(shown)


def test_a_rating_has_no_classes() -> None:
    with LivePage((), {}, {}, address=ANY_PORT) as page:
        page.add_window(window(4.0, np.array(3.25)))
        page.update({}, {})
        shown = browser(page, lambda document: "3.25" in texts(document))
        np.testing.assert_allclose(figures(shown)["rating"].renderers[0].data_source.data["x"], [0])


def test_the_page_brings_nothing_from_elsewhere(page: LivePage) -> None:
    for scheme in ("light", "dark"):
        with urllib.request.urlopen(f"{page.url}?scheme={scheme}", timeout=10) as answer:
            text = answer.read().decode()
        assert "<title>A &amp; B</title>" in text
        assert "prefers-color-scheme: dark" in text
        scripts = re.findall(r'src="([^"]+)"', text)
        assert scripts
        assert [each for each in scripts if not each.startswith(("/static/", page.url))] == []
        assert "https://" not in text


def test_light_and_dark(page: LivePage) -> None:
    from bokeh.client import pull_session

    for scheme, ink in (("light", "#1b1b1b"), ("dark", "#e6e6e6")):
        session = pull_session(url=page.url, arguments={"scheme": scheme})
        assert ink in session.document.select_one({"tags": "heading"}).stylesheets[0]
        session.close()


def test_this_machine_alone_can_see_it(page: LivePage) -> None:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]  # 127.0.0.1


def test_pages_of_others_cannot_look_at_it(page: LivePage) -> None:
    def handshake(origin: str) -> bytes:
        host, port = page.url.split("/")[2].split(":")
        with socket.create_connection((host, int(port)), timeout=10) as to:
            request = (
                f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nOrigin: {origin}\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            to.sendall(request.encode())
            return to.recv(64).split(b"\r\n")[0]

    assert b"403" in handshake("http://elsewhere.example")
    assert b"403 Cross" not in handshake(page.url.rstrip("/"))


def test_the_session_never_waits() -> None:
    """The page's process stands still; windows of meanwhile are shown afterwards."""
    with LivePage(CLASSES, {"eeg": ("Fp1", "Cz")}, {}, address=ANY_PORT) as page:
        os.kill(page._process.pid, signal.SIGSTOP)
        shown, counts = {"eeg": signals(50.0, FLAT)}, {"headset": StreamCounts()}
        took = []
        for i in range(30):
            page.add_window(window(float(i), np.array([0.5, 0.5])))
            page._next_update = 0.0
            before = time.perf_counter()
            page.update(shown, counts)
            took.append(time.perf_counter() - before)
        assert np.median(took) < 0.01
        os.kill(page._process.pid, signal.SIGCONT)
        show(page, window(30.0, np.array([0.1, 0.9])))
        shown = browser(page, lambda document: "tense 0.90" in texts(document))
        data = figures(shown)["probability"].renderers[0].data_source.data
        np.testing.assert_allclose(data["x"], np.arange(31) - 30)


def test_updates_are_few() -> None:
    now = [100.0]
    page = object.__new__(LivePage)
    sent: list[Any] = []
    page._queue = SimpleNamespace(full=lambda: False, put_nowait=sent.append)
    page._waiting, page._next_update = [], 0.0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("clmer.live.page.time.monotonic", lambda: now[0])
        for i in range(100):
            now[0] = 100 + i / 100
            page.update({}, {})
    assert 4 <= len(sent) <= 6


_SESSION = """
import sys, time
from clmer.live import LiveWindow, Recent, StreamCounts
from clmer.live.page import LivePage
if __name__ == "__main__":
    page = LivePage((), {}, {}, address="127.0.0.1:0")
    print(page.url, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_session_leaves_no_server(tmp_path: Path) -> None:
    script = tmp_path / "session.py"
    script.write_text(_SESSION)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        urllib.request.urlopen(url, timeout=10).close()
        process.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the server still answers")


def test_an_address_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DataError, match=f"{address}: page: found .*in use") as raised:
            LivePage((), {}, {}, address=address)
    assert "Take another port" in str(raised.value)


def test_without_bokeh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clmer.live.page.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r'bokeh: package: .* pip install "clmer\[live\]"'):
        LivePage((), {}, {})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("8080", ("127.0.0.1", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        ("lab-pc", ("lab-pc", 5006)),
        ("[::1]:5006", ("::1", 5006)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert address_of(text) == found


@pytest.mark.parametrize("text", ["lab-pc:", "lab-pc:http", "99999", "lab-pc:-1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ConfigError, match="page: found"):
        address_of(text)


def test_an_envelope_keeps_every_peak_in_order() -> None:
    rng = np.random.default_rng(0)
    times, values = np.arange(5003) / 1000, rng.standard_normal((3, 5003))
    values[1, 3333], values[2, 4444] = 50.0, -50.0
    lines = envelope(times, values)
    assert len(lines.times) <= 420
    assert (np.diff(lines.times) > 0).all()
    assert lines.values.shape == (3, len(lines.times))
    for channel, at, value in ((1, 3.333, 50.0), (2, 4.444, -50.0)):
        near = np.abs(lines.times - at) < 0.03
        assert value in lines.values[channel, near]
    rising = envelope(times, np.arange(5003.0)[None])
    assert (np.diff(rising.values[0]) > 0).all()
    few = envelope(times[:300], values[:, :300])
    np.testing.assert_array_equal(few.values, values[:, :300].astype(np.float32))


def test_lines_are_apart_by_a_round_number() -> None:
    wave = np.sin(np.linspace(0, 60, 500))
    assert spread(np.stack([10 * wave, 10 * wave, 900 * wave])) == 20
    assert spread(np.stack([3 * wave, np.full(500, np.nan)])) == 10
    assert (
        spread(np.zeros((2, 5))) == spread(np.full((2, 5), np.nan)) == spread(np.zeros((0, 5))) == 1
    )


def test_a_feed_keeps_a_minute() -> None:
    import queue

    source: queue.Queue[Shown] = queue.Queue()
    feed = Feed(source)
    feed.poll()
    assert feed.count == 0
    for i in range(100):
        said = ShownWindow.of(window(float(i), np.array([0.5, 0.5])))
        source.put(Shown({}, (said,), {"headset": counted(StreamCounts())}, 0.0, ()))
    feed.poll()
    assert feed.count == 100
    assert [feed.windows[0].stop_s, feed.windows[-1].stop_s] == [39.0, 99.0]
    for stop_s in (5.0, 6.0):  # the streams' clock jumped back
        said = ShownWindow.of(window(stop_s, np.array([0.5, 0.5])))
        source.put(Shown({}, (said,), {"headset": counted(StreamCounts())}, 0.0, ()))
    feed.poll()
    assert [each.stop_s for each in feed.windows] == [5.0, 6.0]
