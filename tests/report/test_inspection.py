from __future__ import annotations

import base64
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from clmer import cli
from clmer.data.recording import FaceSeries, Signal
from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError
from clmer.report.inspection.figures import Track, scalp, timeline, tracking
from clmer.report.inspection.page import GENERATED, PRIVATE, inspect, inspect_synthetic
from clmer.report.inspection.people import lost_text


class Tags(HTMLParser):
    """Checks that tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_deap(tmp_path_factory.mktemp("deap") / "data", people=6, trials=4, seconds=3)
    csv = root / "face" / "s01" / "s01_trial01.csv"
    header, *rows = csv.read_text().splitlines()
    at = [name.strip() for name in header.split(",")].index("success")
    for number in range(30, len(rows)):
        cells = rows[number].split(",")
        cells[at] = " 0"
        rows[number] = ",".join(cells)
    csv.write_text("\n".join([header, *rows, ""]))
    return root


def test_the_page_holds_everything_itself(root: Path, tmp_path: Path) -> None:
    page = inspect("deap", root, task="valence", filter="paper", cache=tmp_path)
    tags = Tags(page)
    assert tags.seen.count("img") == 1  # the first person's map; the other figures are SVG
    assert tags.seen.count("details") == 6  # a block per person
    assert page.count("<details open") == 0
    assert page.count('<details name="person" open>') == 1
    assert html.escape(GENERATED) in page
    assert html.escape(PRIVATE) not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#m[0-9a-f]{10}")', page)
    for picture in re.findall(r"base64,([A-Za-z0-9+/=]+)", page):
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        *("Overview", "Labels", "What was left out", "Class balance by protocol", "People")
    ]
    for number in range(1, 7):
        assert f"<b>s{number:02d}</b>4 recordings, " in page
    assert re.search(r"Face: 0\.0% of \d+ frames lost\.", page)


def test_losses_and_protocols_are_the_data_sets_own(root: Path, tmp_path: Path) -> None:
    page = inspect("deap", root, task="valence", cache=tmp_path)
    lost = re.search(r"<td>windows: face lost</td><td>(\d+)</td>", page)
    assert lost is not None
    assert int(lost[1]) >= 2
    rows = dict(re.findall(r"<tr><td[^>]*>(subject|shuffled)</td>(.*?)</tr>", page))
    subject, shuffled = (
        re.findall("<td[^>]*>(.*?)</td>", rows[n]) for n in ("subject", "shuffled")
    )
    assert subject[-1] == "0"
    assert int(shuffled[-1]) > 0
    windows = int(re.search(r"<td>windows</td><td>(\d+) of 1 s", page)[1])  # type: ignore[index]
    counts = [sum(map(int, cell.split(" / "))) for cell in shuffled[:3]]
    assert sum(counts) == windows == 6 * 4 * 3 - int(lost[1])


def test_the_command(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], clmer_data: Path
) -> None:
    out = tmp_path / "page.html"
    base = ["deap", "--cache", str(tmp_path / "stores"), "--out", str(out)]
    assert cli.main(["inspect", *base, "--root", str(tmp_path / "nowhere")]) == 2
    assert "--root: found no folder" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(["inspect", *base, "--root", str(root), "--modalities", "physio,au"]) == 0
    assert "it shows no people" in capsys.readouterr().out
    Tags(out.read_text())
    assert (
        cli.main(
            [
                "inspect",
                "deap",
                "--root",
                str(root),
                "--out",
                str(tmp_path / "absent" / "page.html"),
            ]
        )
        == 2
    )
    assert "found no folder" in capsys.readouterr().err


def test_options_are_named_and_generated_recordings_are_deleted(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="`window_s`: found -1"):
        inspect("deap", root, window_s=-1.0)
    with pytest.raises(ConfigError, match="`task`: found nothing"):
        inspect("deap", root, task="")
    with pytest.raises(ConfigError, match="`synthetic`: generates .*, not manifest"):
        inspect_synthetic("manifest")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    page = inspect_synthetic("man2", modalities=("physio",))
    assert html.escape(GENERATED) in page
    assert "<h1>man2: what is in it</h1>" in page
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_recordings_are_looked_for_in_clmer_data(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["deap", "--cache", str(tmp_path / "stores"), "--out", str(tmp_path / "page.html")]
    (tmp_path / "deap").symlink_to(root)
    monkeypatch.setenv("CLMER_DATA", str(tmp_path))
    assert cli.main(["inspect", *out, "--modalities", "physio"]) == 0
    monkeypatch.delenv("CLMER_DATA")
    assert cli.main(["inspect", *out]) == 2
    assert "Give --root or set CLMER_DATA" in capsys.readouterr().err


def test_a_data_set_without_faces_or_ratings(tmp_path: Path) -> None:
    fs, lines = 128, ["subject,trial,label,modality,path,rate,channels"]
    rng = np.random.default_rng(0)
    for person in range(4):
        for label in ("calm", "<angry>"):
            name = f"p{person}-{label.strip('<>')}.npy"
            np.save(tmp_path / name, rng.standard_normal((2, 4 * fs)))
            lines.append(f"p{person},{label},{label},gsr,{name},{fs},a;b")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    page = inspect("manifest", tmp_path, cache=tmp_path / "stores")
    Tags(page)
    assert "&lt;angry&gt;" in page
    assert html.escape(PRIVATE) in page
    assert "<angry>" not in page
    assert "Face:" not in page
    assert "10-20 positions" not in page
    assert page.count("as recorded</h3>") == 4  # a recording of each person
    assert page.count("as recorded</text>") == 4
    assert "refused" in page  # one recording a class: trial and stimulus cannot be kept apart


def test_figures_have_no_ground_and_text_of_the_page_s_colour(root: Path, tmp_path: Path) -> None:
    """So that they can be read on light and dark pages."""
    page = inspect("deap", root, task="valence", cache=tmp_path)
    assert "prefers-color-scheme: dark" in page
    assert "svg text { fill: currentColor" in page
    for drawn in re.findall(r"<svg.*?</svg>", page, re.S):
        assert not re.search(r"fill: #(fff|FFF)|fill: white|stroke: #000000", drawn)
    (content,) = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    image = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA")
    assert image.getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_the_face_s_lost_frames_are_said_and_drawn() -> None:
    valid = np.ones(200, dtype=bool)
    valid[20:25], valid[100:145] = False, False
    zeros = np.zeros((200, 17), dtype=np.float32)
    face = FaceSeries(25.0, None, zeros, zeros, valid)
    assert lost_text(face) == (
        "Face: 25.0% of 200 frames lost (red), the longest time for 1.80 s from 4.00 s on."
    )
    whole = tracking(FaceSeries(25.0, None, zeros, zeros, np.ones(200, dtype=bool)))
    assert "#d55e00" in tracking(face)
    assert "#d55e00" not in whole


def test_electrode_names_do_not_overlap() -> None:
    import mne

    names = mne.channels.make_standard_montage("biosemi64").ch_names
    data = np.random.default_rng(0).normal(0, 10, (64, 1280))
    figure = Figure(figsize=(7.2, 6))
    FigureCanvasAgg(figure)
    signal = Signal(data, 128.0, tuple(names), ("eeg",) * 64)
    shown = scalp(signal, list(range(64)), figure)
    boxes = [name.get_window_extent() for name in shown]
    assert len(boxes) > 48
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_timeline_shows_the_labels_under_the_signal_and_what_was_left_out() -> None:
    start_s = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 9.0])  # a gap of 2 s, and another recording
    values = np.ones((6, 128)) * np.arange(6)[:, None]
    labels = np.array([0, 0, 1, 1, -1, 0])
    drawn = timeline(
        [Track("eeg, Cz (eeg)", "uV", values)],
        *(start_s, 1.0, labels, ["#112233", "#445566"], {0.0: "p/1", 9.0: "p/2"}),
    )
    assert "eeg, Cz (eeg)" in drawn
    assert drawn.index("eeg, Cz") < drawn.index(">label<")
    single = timeline([], start_s[:1], 1.0, labels[:1], ["#112233"], {0.0: "p/1"})
    assert single.count("fill: #112233") == 1
    rated = timeline([], start_s, 1.0, labels + 0.5, [], {0.0: "p/1"})
    assert ">label<" in rated
    spans = [(c, len(re.findall(f"fill: {c}", drawn))) for c in ("#112233", "#445566")]
    assert spans == [("#112233", 2), ("#445566", 2)]  # 0-2 s and 9-10 s; 2-3 s and 5-6 s
