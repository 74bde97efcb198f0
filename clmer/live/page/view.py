"""The page of a session: figures and tables, brought up to date from the feed."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models.annotations import Legend, LegendItem
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tickers import FixedTicker
from bokeh.models.widgets import Div
from bokeh.plotting import figure
from bokeh.themes import Theme
from jinja2 import Template

from clmer.live.page.feed import Feed
from clmer.live.page.shown import MINUTE_S, SECONDS, Layout, Lines, Shown, ShownWindow, spread

POLL_MS = 100  # from look to look at the feed
_WIDTH, _HEIGHT = 560, 260
_PER_CHANNEL, _TALLEST = 26, 620
#: Told apart with red-green blindness too (Okabe and Ito), on light and on dark.
_OTHERS = ("#d98200", "#009e73", "#c4609a", "#d55e00", "#8f8f2a")
_COLOURS = {"light": ("#0a7abf", *_OTHERS, "#56b4e9"), "dark": ("#56b4e9", *_OTHERS, "#0a7abf")}
_GREY = "#888888"
_DASHES = ("solid", "dashed", "dotted")
_INK = {"light": "#1b1b1b", "dark": "#e6e6e6"}
_FAINT = {"light": "#00000022", "dark": "#ffffff22"}

# The browser alone knows its scheme: it tells the server in the address, once and at each change.
_PAGE = Template("""\
{% extends base %}
{% block preamble %}
<meta name="viewport" content="width=device-width">
<script>
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const tell = () => {
    const scheme = dark.matches ? "dark" : "light";
    if (new URLSearchParams(location.search).get("scheme") !== scheme)
      location.replace("?scheme=" + scheme);
  };
  tell();
  dark.addEventListener("change", tell);
</script>
<style>
  :root { color-scheme: light dark; }
  body { background: #ffffff; margin: 1rem !important; }
  @media (prefers-color-scheme: dark) { body { background: #16181c; } }
</style>
{% endblock %}
""")
_STYLE = """
:host { font: 15px/1.45 system-ui, sans-serif; color: INK; }
h1 { font-size: 1.25rem; margin: 0; font-weight: 600; }
h2 { font-size: 1rem; margin: .6rem 0 .2rem; font-weight: 600; }
.now { font-size: 2rem; line-height: 1.2; margin: .3rem 0 0; font-variant-numeric: tabular-nums; }
.why { opacity: .75; margin: 0; min-height: 1.45em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .9rem .15rem 0; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
thead th { font-weight: normal; opacity: .75; }
tbody tr { border-top: 1px solid FAINT; }
tbody th { font-weight: normal; }
td.some { color: WARN; }
"""
_WARN = {"light": "#b45309", "dark": "#f0a020"}
_BAD = ("lost", "repeated", "late", "gaps", "clock_jumps")


class View:
    """The page in one browser: fills its document, and keeps it up to date.

    Args:
        layout: what stays.
        feed: what changes.
        document: the browser's.
    """

    def __init__(self, layout: Layout, feed: Feed, document: Document) -> None:
        self._layout, self._feed, self._seen = layout, feed, 0
        scheme = _scheme(document)
        style, colours = _styled(scheme), _COLOURS[scheme]
        document.theme = _theme(scheme)
        document.title, document.template = layout.title, _PAGE
        self._head = Div(stylesheets=[style], width=_WIDTH, tags=["heading"])
        self._table = Div(stylesheets=[style], width=_WIDTH)
        self._said = Said(layout.classes, colours)
        self._traces = {
            (modality, place): Traces(
                f"{modality} {word}", names, layout.units.get(modality, ""), colours[0]
            )
            for modality, names in layout.channels.items()
            for place, word in enumerate(("as it comes", "after the filter"))
        }
        for pair in (
            (column(self._head, self._said.latency), self._said.figure),
            *(
                (self._traces[modality, 0].figure, self._traces[modality, 1].figure)
                for modality in layout.channels
            ),
            (self._table,),
        ):
            document.add_root(row(*pair, styles={"flex-wrap": "wrap"}))
        self._head.text = self._heading("waiting for the first window", "")
        document.add_periodic_callback(self._refresh, POLL_MS)

    def _refresh(self) -> None:
        shown = self._feed.newest
        if self._feed.count == self._seen or shown is None:
            return
        self._seen = self._feed.count
        for modality, pair in shown.signals.items():
            for place, lines in enumerate(pair):
                self._traces[modality, place].draw(lines)
        windows = list(self._feed.windows)
        self._said.draw(windows)
        self._head.text = self._heading(*self._now(shown, windows))
        self._table.text = _counts(shown.counts)

    def _heading(self, now: str, why: str) -> str:
        title, now, why = map(html.escape, (self._layout.title, now, why))
        return f"<h1>{title}</h1><p class=now>{now}</p><p class=why>{why}</p>"

    def _now(self, shown: Shown, windows: Sequence[ShownWindow]) -> tuple[str, str]:
        """What is said at the moment, and what there is to say about it."""
        if shown.missing:  # what was last said is over
            return ", ".join(f"{name}: no stream" for name in shown.missing), ""
        if shown.reference_left_s > 0:
            return f"reference: {shown.reference_left_s:.0f} s left", ""
        if not windows:
            return "waiting for the first window", ""
        last = windows[-1]
        if not last.values:
            return last.status, ""
        why = "" if last.status == "ok" else f"{last.status}: {last.lost} samples"
        if not self._layout.classes:
            return f"{last.values[0]:.2f}", why
        best = int(np.argmax(last.values))
        return f"{self._layout.classes[best]} {last.values[best]:.2f}", why


class Traces:
    """The newest seconds of a modality's channels, one below the other.

    Args:
        title: of the figure.
        channels: C names.
        unit: of the samples.
        colour: of the lines.
    """

    def __init__(self, title: str, channels: Sequence[str], unit: str, colour: str) -> None:
        self._title, self._unit = title, unit
        self._offsets = np.arange(len(channels), 0, -1, dtype=np.float64)
        height = min(90 + _PER_CHANNEL * max(len(channels), 3), _TALLEST)
        self.figure = _figure(title, height, x_range=(-SECONDS, 0), y_range=(0, len(channels) + 1))
        self.figure.yaxis.ticker = FixedTicker(ticks=self._offsets.tolist())
        named = zip(self._offsets.astype(int).tolist(), channels, strict=True)
        self.figure.yaxis.major_label_overrides = dict(named)
        self._source = ColumnDataSource({"xs": [], "ys": []})
        self.figure.multi_line("xs", "ys", source=self._source, color=colour, line_width=1)

    def draw(self, lines: Lines) -> None:
        """Replace the lines; each is shown around its mean."""
        if not len(lines.times):
            self._source.data = {"xs": [], "ys": []}
            return
        counted = np.maximum(np.isfinite(lines.values).sum(axis=1, keepdims=True), 1)
        centred = lines.values - np.nansum(lines.values, axis=1, keepdims=True) / counted
        step = spread(centred)
        at = (lines.times - lines.times[-1]).astype(np.float32)
        rows = centred / step + self._offsets[:, None]
        self._source.data = {"xs": [at] * len(rows), "ys": list(rows.astype(np.float32))}
        self.figure.title.text = f"{self._title}: {step:g} {self._unit} from line to line"


class Said:
    """What was said over the last minute, and how long it took.

    Args:
        classes: names of a window's values; none of a rating.
        colours: of the lines.
    """

    def __init__(self, classes: Sequence[str], colours: Sequence[str]) -> None:
        self._classes = list(classes) or ["rating"]
        is_rating = not classes
        probabilities = {} if is_rating else {"y_range": (-0.04, 1.04)}
        self.figure = _figure(
            "rating" if is_rating else "probability",
            _HEIGHT + 140,
            x_range=(-MINUTE_S, 0),
            **probabilities,
        )
        self._values = ColumnDataSource({"x": [], **{name: [] for name in self._keys}})
        items = []
        for i, key in enumerate(self._keys):
            style = {
                "color": colours[i % len(colours)],
                "line_dash": _DASHES[i // len(colours) % len(_DASHES)],
                "line_width": 2,
            }
            line = self.figure.line("x", key, source=self._values, **style)
            dots = self.figure.scatter(
                "x", key, source=self._values, size=4, color=style["color"], line_color=None
            )
            items.append(LegendItem(label=self._classes[i], renderers=[line, dots]))
        if not is_rating:
            self.figure.add_layout(Legend(items=items, orientation="horizontal"), "below")
        self._none = ColumnDataSource({"x": [], "y": []})
        self.figure.scatter(
            "x", "y", source=self._none, marker="x", size=7, color=_GREY
        )  # windows without an answer
        self.latency = _figure("latency", _HEIGHT, x_range=(-MINUTE_S, 0))
        self.latency.y_range.start = 0
        self.latency.yaxis.axis_label = "ms"
        self._latency = ColumnDataSource({"x": [], "y": []})
        self.latency.scatter("x", "y", source=self._latency, size=4, color=colours[0])

    @property
    def _keys(self) -> list[str]:
        return [f"value{i}" for i in range(len(self._classes))]

    def draw(self, windows: Sequence[ShownWindow]) -> None:
        """Replace the lines; a window without an answer is a gap in them."""
        if not windows:
            return
        at = np.array([window.stop_s for window in windows]) - windows[-1].stop_s
        values = np.full((len(windows), len(self._classes)), np.nan)
        for i, window in enumerate(windows):
            if window.values:
                values[i] = window.values
        answered = np.isfinite(values).all(axis=1)
        self._values.data = {"x": at, **dict(zip(self._keys, values.T, strict=True))}
        bottom = 0.0 if not answered.any() or len(self._classes) > 1 else np.nanmin(values)
        self._none.data = {"x": at[~answered], "y": np.full((~answered).sum(), bottom)}
        took = 1000 * np.array([window.latency_s for window in windows])
        self._latency.data = {"x": at[answered], "y": took[answered]}
        if answered.any():
            p50, p99 = np.percentile(took[answered], [50, 99])
            self.latency.title.text = f"latency: half under {p50:.1f} ms, 99 % under {p99:.1f} ms"


def _figure(title: str, height: int, **given: Any) -> Any:
    made = figure(
        title=title, width=_WIDTH, height=height, tools="", toolbar_location=None, **given
    )
    made.xaxis.axis_label = "s before now"
    return made


def _counts(counts: Mapping[str, Mapping[str, float]]) -> str:
    """The table of what became of each stream's samples."""
    if not counts:
        return ""
    names = list(next(iter(counts.values())))
    heads = "".join(f"<th>{_words(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{html.escape(stream or 'stream')}</th>{''.join(_cells(of))}</tr>"
        for stream, of in counts.items()
    )
    return (
        f"<h2>samples of each stream</h2><table><thead><tr><th></th>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _words(name: str) -> str:
    return "drift, ppm" if name == "drift_ppm" else name.replace("_", " ")


def _cells(of: Mapping[str, float]) -> Iterator[str]:
    for name, value in of.items():
        some = " class=some" if name in _BAD and value else ""
        rounded = round(value)
        text = f"{rounded:+d}" if name == "drift_ppm" and rounded else f"{rounded:,d}"
        yield f"<td{some}>{text}</td>"


def _scheme(document: Document) -> str:
    """The browser's scheme, "light" or "dark", as it told it in the address."""
    context: Any = document.session_context
    told = context.request.arguments.get("scheme", [b""]) if context else [b""]
    return "dark" if told[0] == b"dark" else "light"


def _styled(scheme: str) -> str:
    style = _STYLE.replace("INK", _INK[scheme]).replace("FAINT", _FAINT[scheme])
    return style.replace("WARN", _WARN[scheme])


def _theme(scheme: str) -> Theme:
    ink, faint = _INK[scheme], _FAINT[scheme]
    axis = {
        "axis_line_color": faint,
        "major_tick_line_color": faint,
        "minor_tick_line_color": None,
        "major_label_text_color": ink,
        "axis_label_text_color": ink,
        "axis_label_text_font_style": "normal",
    }
    return Theme(
        json={
            "attrs": {
                "Plot": {
                    "background_fill_color": None,
                    "border_fill_color": None,
                    "outline_line_color": None,
                },
                "Axis": axis,
                "Grid": {"grid_line_color": faint},
                "Title": {"text_color": ink, "text_font_style": "normal"},
                "Legend": {
                    "background_fill_color": None,
                    "border_line_color": None,
                    "label_text_color": ink,
                },
            }
        }
    )
