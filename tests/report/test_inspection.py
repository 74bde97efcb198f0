from __future__ import annotations

import base64
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from clmer import cli
from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError
from clmer.report.inspection.page import GENERATED, PRIVATE, inspect, inspect_synthetic


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
    assert tags.seen.count("img") == 4  # signals, map, face, labels
    assert html.escape(GENERATED) in page
    assert html.escape(PRIVATE) not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    for picture in re.findall(r"base64,([A-Za-z0-9+/=]+)", page):
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        *("Overview", "Signals and spectra", "Channel map", "Face tracking", "Labels"),
        *("What was left out", "Class balance by protocol"),
    ]


def test_losses_and_protocols_are_the_data_sets_own(root: Path, tmp_path: Path) -> None:
    page = inspect("deap", root, task="valence", cache=tmp_path)
    lost = re.search(r"<td>windows: face lost</td><td>(\d+)</td>", page)
    assert lost is not None
    assert int(lost[1]) >= 2
    rows = dict(re.findall(r"<tr><td>(subject|shuffled)</td>(.*?)</tr>", page))
    subject, shuffled = (re.findall("<td>(.*?)</td>", rows[n]) for n in ("subject", "shuffled"))
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
    assert "no such folder" in capsys.readouterr().err
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


def test_recordings_are_looked_for_in_clmer_data(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["deap", "--cache", str(tmp_path / "stores"), "--out", str(tmp_path / "page.html")]
    (tmp_path / "deap").symlink_to(root)
    monkeypatch.setenv("CLMER_DATA", str(tmp_path))
    assert cli.main(["inspect", *out, "--modalities", "physio"]) == 0
    monkeypatch.delenv("CLMER_DATA")
    assert cli.main(["inspect", *out]) == 2
    assert "Give root or set CLMER_DATA" in capsys.readouterr().err


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
    assert "Face tracking" not in page
    assert "Channel map" not in page
    assert "refused" in page  # one recording a class: trial and stimulus cannot be kept apart
