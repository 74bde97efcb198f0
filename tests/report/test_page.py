"""The report page: made from real runs, it says what their files say, all of it."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.report_cases import WHOLE, Page, part, results_of, section

from clmer import cli
from clmer.report import figures
from clmer.report.page import GENERATED, INFLATED, PRIVATE, report
from clmer.report.reading import read_run

#: A line of two points or more: its path and colour.
CURVE = r'<path d="(M [^"]*L [^"]*)" style="fill: none;[^"]*stroke: (#[0-9a-f]{6})'


def test_every_section_is_there(page: str) -> None:
    seen = Page(page)
    joined = ["Runs", "Scores of all runs", "Tests between runs"]
    joined.append("deap, valence, protocol trial, reference none")
    assert seen.titles[: len(joined)] == joined
    inside = [
        "Verdict",
        "What was run",
        "Scores",
        "Tests between models",
        "People",
        "Confusion",
        "Training",
    ]
    drawn = ["Attention between modalities", "Contrastive features"]
    runs = [["shuffled", *inside, *drawn], ["trial", *inside, *drawn], ["trial-eeg", *inside]]
    assert seen.titles[len(joined) :] == [title for run in runs for title in run]
    assert "Not drawn" not in page


def test_nothing_comes_from_outside(page: str) -> None:
    seen = Page(page)
    assert "<script" not in page
    assert "url(" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert {link.removeprefix("#") for link in seen.links} <= set(seen.anchors)
    assert all(link.startswith("#") for link in seen.links)
    for image in seen.images:
        assert image["alt"]
        kind, content = (image["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")


def test_scores_are_those_of_results_json(page: str, place: Path) -> None:
    rows = Page(page).rows
    for name in ("shuffled", "trial", "trial-eeg"):
        for model in results_of(place, name)["models"]:
            for level in ("windows", "recordings"):
                score = model[level]["balanced_accuracy"]
                shown = f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
                accuracy = f"{model[level]['accuracy']['value']:.3f}"
                joined = [row for row in rows if row[0] == name and row[2:3] == [model["name"]]]
                assert any(row[3] == shown and row[6] == accuracy for row in joined)
                own = [row for row in Page(section(page, name)).rows if row[0] == model["name"]]
                assert any(row[1] == shown and row[4] == accuracy for row in own)


def test_people_and_confusion_are_those_of_results_json(page: str, place: Path) -> None:
    results = results_of(place, "trial")
    rows = Page(section(page, "trial")).rows
    for i, person in enumerate(results["models"][0]["people"]):
        found = next(row for row in rows if row[0] == person["subject"])
        fine, whole = person["balanced_accuracy"], person["recording_balanced_accuracy"]
        assert found[1:4] == [
            str(person["windows"]),
            str(person["recordings"]),
            f"{fine:.3f} / {whole:.3f}",
        ], i
    counts = results["models"][0]["windows"]["confusion"]
    low = next(row for row in rows if row[0] == "low")
    assert low[1:] == [f"{n / sum(counts[0]):.2f}{n}" for n in counts[0]]


def test_runs_of_one_protocol_are_compared_over_their_people(page: str, place: Path) -> None:
    between = part(page, "<h2>Tests between runs")
    row = next(row for row in Page(between).rows if row[0] == f"trial: {WHOLE}")
    values = [
        {
            p["subject"]: p["balanced_accuracy"]
            for p in results_of(place, name)["models"][0]["people"]
        }
        for name in ("trial", "trial-eeg")
    ]
    difference = np.mean([values[0][person] - values[1][person] for person in values[0]])
    assert row[1:3] == ["trial-eeg: eeg", "3"]
    assert row[3].split(" [")[0] == f"{difference:+.3f}"
    assert "shuffled" not in between


def test_shuffled_scores_are_called_inflated(page: str) -> None:
    assert page.count(INFLATED) == 2  # above all runs, and at its own
    assert INFLATED in section(page, "shuffled")
    assert INFLATED not in section(page, "trial")


def test_the_page_is_private_unless_all_data_were_generated(place: Path, page: str) -> None:
    assert html.escape(PRIVATE) in page
    made = read_run(place / "runs" / "trial")
    assert made.config["synthetic"] is None  # read like real recordings, from --root
    copy = place / "generated" / "run"
    shutil.copytree(place / "runs" / "trial-eeg", copy)
    described = json.loads((copy / "config.json").read_text())
    described["config"]["synthetic"] = {"control": "none", "people": 3, "seed": 0}
    (copy / "config.json").write_text(json.dumps(described))
    assert GENERATED in report([copy], cache=place / "cache", shows_learned=False)


def test_curves_end_where_the_log_does_and_mark_what_was_kept(page: str) -> None:
    training = section(page, "trial").split("<h3>Training</h3>")[1].split("<h3>")[0]
    titles = re.findall(r"<h4>(.*?) <small>", training)
    assert titles == ["contrastive", WHOLE, "permuted"]
    lines = [d for d, colour in re.findall(CURVE, training) if colour in figures.COLOURS[:3]]
    assert len(lines) == 1 + 3 + 2 * (2 + 1)  # totals, parts; losses and a score, twice
    assert all(len(line.split("L")) == 2 for line in lines)  # two epochs
    assert training.count("<use ") == 2 * 2


def test_an_unfinished_run_is_listed_as_such(place: Path, tmp_path: Path) -> None:
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "data.json"):
            shutil.copy(place / "runs" / "trial" / file, tmp_path / name)
    log = (place / "runs" / "trial" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "late" / "metrics.jsonl").write_text("".join(log[:3]) + log[3][:20])
    page = report([tmp_path], cache=place / "cache")
    states = {row[0]: row[5] for row in Page(page).rows if row[0] in ("early", "late")}
    assert states["early"] == "unfinished: no epoch was logged"
    assert states["late"] == f"unfinished: last logged split1/{WHOLE}, epoch 1"
    assert "--resume continues it" in section(page, "late")
    assert re.search(CURVE, section(page, "late"))


def test_a_run_of_encoders_alone_has_no_scores(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "encoders"
    shutil.copytree(place / "runs" / "trial", copy)
    results = results_of(place, "trial")
    few = {key: results[key] for key in ("bayes", "data")}
    (copy / "results.json").write_text(json.dumps(few))
    page = report([copy], cache=place / "cache")
    assert "the run trained encoders only" in page


def test_the_command_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = ["--cache", str(place / "cache")]
    assert cli.main(["report", str(place / "runs" / "trial-eeg"), *cache]) == 0
    assert "report.html: open it in a browser" in capsys.readouterr().out
    assert Page((tmp_path / "report.html").read_text()).titles[0] == "trial-eeg"
    assert cli.main(["report", str(place / "nowhere"), "--out", "other.html"]) == 2
    assert "nowhere: run: found no such folder" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path), "--out", "other.html"]) == 2
    assert "no config.json in it or below" in capsys.readouterr().err
    assert not (tmp_path / "other.html").exists()
    assert (
        cli.main(["report", str(place / "runs"), "--out", str(tmp_path / "absent" / "page.html")])
        == 2
    )
    assert "found no folder" in capsys.readouterr().err
