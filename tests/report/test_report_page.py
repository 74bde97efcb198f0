"""The report page: made from real runs, it says what their files say and holds all of it."""

from __future__ import annotations

import argparse
import base64
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from clmer import cli
from clmer.cli.train import describe
from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError, DataError
from clmer.pipeline.presets import build
from clmer.pipeline.run_folder import read_config
from clmer.report import figures, learned
from clmer.report.command import command
from clmer.report.page import GENERATED, INFLATED, PRIVATE, report
from clmer.report.reading import find_runs, read_predictions, read_run
from clmer.train.job import settings

SMALL = ["--folds", "3", "--threads", "1", "--width", "4", "--dim", "8", "--heads", "2"]
SMALL += ["--cross-layers", "1", "--memory-layers", "1", "--single-layers", "1"]
SMALL += ["--token-length", "5", "--epochs-contrastive", "2", "--epochs-fusion", "2"]
WHOLE = "physio+landmarks+au"
#: A line of two points or more: its path and colour.
CURVE = r'<path d="(M [^"]*L [^"]*)" style="fill: none;[^"]*stroke: (#[0-9a-f]{6})'


class Page(HTMLParser):
    """Headings, links, anchors and table rows of a page whose tags must nest."""

    ALONE = ("meta", "img", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.titles: list[str] = []
        self.rows: list[list[str]] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given["href"] or ""] if "href" in given else []
        self.anchors += [given["id"] or ""] if "id" in given else []
        if tag == "img":
            self.images.append(given)
        if tag in self.ALONE:
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("h2", "h3"):
            self.titles.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """SVG's own: `<path ... />`."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        elif {"h2", "h3"} & set(self.open):
            self.titles[-1] += data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/shuffled, runs/trial and runs/trial-eeg of a small generated DEAP, and their stores."""
    folder = tmp_path_factory.mktemp("report")
    write_deap(folder / "data", people=3, trials=12, seconds=2)
    data = ["train", "deap", "--root", str(folder / "data"), "--cache", str(folder / "cache")]
    for name, options in {
        "shuffled": ["--protocol", "shuffled", "--repeats", "2"],
        "trial": ["--repeats", "1"],
        "trial-eeg": ["--repeats", "1", "--modalities", "eeg", "--no-contrastive"],
    }.items():
        out = ["--out", str(folder / "runs" / name)]
        assert cli.main([*data, *out, *SMALL, *options]) == 0
    return folder


@pytest.fixture(scope="module")
def page(place: Path) -> str:
    return report([place / "runs"], cache=place / "cache")


def results_of(place: Path, name: str) -> dict:
    return json.loads((place / "runs" / name / "results.json").read_text())


def part(page: str, heading: str) -> str:
    """The page from a heading of the second level to the next."""
    return re.split("<h2|</body>", page[page.index(heading) :].replace("<h2", "<H2", 1))[0]


def section(page: str, name: str) -> str:
    """A run's part of the page."""
    return part(page, f'<h2 id="run-{name}">')


def test_every_section_is_there(page: str) -> None:
    seen = Page(page)
    joined = ["Runs", "Scores of all runs", "Tests between runs", "deap, valence, protocol trial"]
    assert seen.titles[: len(joined)] == joined
    inside = ["What was run", "Scores", "Tests between models", "People", "Confusion", "Training"]
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
    assert row[1:4] == ["trial-eeg: eeg", "3", f"{difference:+.3f}"]
    assert "shuffled" not in between


def test_shuffled_scores_are_called_inflated(page: str) -> None:
    assert page.count(INFLATED) == 2  # above all runs, and at its own
    assert INFLATED in section(page, "shuffled")
    assert INFLATED not in section(page, "trial")


def test_the_page_is_private_unless_all_data_were_generated(place: Path, page: str) -> None:
    import html

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
    assert len(lines) == 1 + 2 * 3 + 2 * (2 + 1)  # totals, parts; losses and a score, twice
    assert all(len(line.split("L")) == 2 for line in lines)  # two epochs
    assert training.count("<use ") == 2 * 2


def asked(line: str) -> dict:
    """The configuration that a command asks for, without where the recordings are."""
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "clmer.train"]
    parser = argparse.ArgumentParser()
    describe(parser)
    given = vars(parser.parse_args(words[3:]))
    elsewhere = ("command", "cache", "out", "resume", "threads", "synthetic", "root")
    elsewhere += ("people", "control", "generator_seed")
    config = build(given.pop("dataset"), {k: v for k, v in given.items() if k not in elsewhere})
    return json.loads(json.dumps(settings(config)))


def test_the_command_asks_for_the_same_run(place: Path) -> None:
    for run in find_runs([place / "runs"]):
        wanted = {name: value for name, value in run.config.items() if name != "data"}
        assert f"--root {place / 'data'}" in command(run.config)
        assert asked(command(run.config)) == {**wanted, "root": ""}


def test_the_command_names_every_option_that_differs() -> None:
    options = {"models": ["clmer", "svm"], "permuted": False, "batch": 8, "window_s": 2.0}
    options |= {
        "stride_s": 0.5,
        "task": "arousal",
        "members": 2,
        "device": "cpu",
        "preset": "paper",
    }
    made = {"control": "xor:physio,au", "people": 3, "seed": 1}
    config = json.loads(json.dumps(settings(build("deap", {**options, "synthetic": made}))))
    line = command(config)
    assert "--synthetic --control xor:physio,au --people 3 --generator-seed 1" in line
    assert asked(line) == {**config, "synthetic": None}
    assert "--epochs-fusion" not in line
    with pytest.raises(ConfigError, match="found 'unheard-of'"):
        command({**config, "dataset": "unheard-of"})


def test_a_run_from_before_an_option_has_its_default(place: Path, tmp_path: Path) -> None:
    described = json.loads((place / "runs" / "trial" / "config.json").read_text())
    assert described["config"].pop("models") == ["clmer"]
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert read_config(tmp_path).models == ("clmer",)
    assert "--model" not in command(read_run(tmp_path).config).split()


def test_attention_maps_are_in_units_of_uniform_attention(place: Path) -> None:
    from clmer.pipeline import trained

    run = read_run(place / "runs" / "trial")
    sample = learned.read_sample(run, place / "cache")
    model = trained.load(run.path, split="split1")
    maps = learned.class_maps(model, model.fusion, sample)
    assert len(maps) == 6
    weights = model.attention(sample.windows)
    names = list(model.modalities)
    for (asking, answering), found in maps.items():
        assert found.shape == (2, 5, 5)
        np.testing.assert_allclose(found.mean(2), 1, rtol=1e-5)
        each = weights[names[asking], names[answering]].mean((0, 2))  # [N, Lq, Lk]
        expected = [each[sample.y == c].mean(0) * 5 for c in (0, 1)]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_sample_is_the_first_splits_test_part(place: Path) -> None:
    run = read_run(place / "runs" / "shuffled")
    sample = learned.read_sample(run, place / "cache")
    results = results_of(place, "shuffled")
    assert len(sample.y) == sample.of == results["splits"][0]["test"]
    assert sample.windows["physio"].shape == (len(sample.y), 40, 128)
    predictions = read_predictions(run.path / "predictions.csv", results["classes"])
    first = predictions[0]
    assert first.model == WHOLE
    np.testing.assert_array_equal(sample.y, first.y[first.split == results["splits"][0]["name"]])


def test_neighbours_come_from_other_recordings() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    recording = np.repeat(np.arange(12), 5)
    apart = rng.standard_normal((60, 4)) + 50 * group[:, None]
    near, chance = learned.neighbours(apart, group, recording)
    assert near == 1
    assert chance == pytest.approx(25 / 55)
    copies = rng.standard_normal((12, 4))[recording] + 1e-3 * rng.standard_normal((60, 4))
    near, _ = learned.neighbours(copies, recording, recording)
    assert near == 0  # a window's copies are its own recording
    assert np.isnan(learned.neighbours(apart[:5], group[:5], recording[:5])).all()


def test_features_are_embedded_the_same_every_time_whatever_their_number() -> None:
    rng = np.random.default_rng(0)
    features = learned.standard(np.c_[rng.standard_normal((40, 6)), np.ones(40)])
    assert features.shape == (40, 6)
    np.testing.assert_array_equal(learned.embed(features), learned.embed(features))
    for few in (1, 2, 4):
        assert learned.embed(features[:few]).shape == (few, 2)


def test_without_store_or_weights_the_page_says_so(place: Path, tmp_path: Path) -> None:
    run = place / "runs" / "trial"
    page = report([run], cache=tmp_path)
    assert page.count("Not drawn") == 2
    assert "prepared store: found no such folder" in page
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("models"))
    page = report([copy], cache=place / "cache")
    assert page.count("Not drawn") == 2
    assert "Not drawn" not in report([run], cache=tmp_path, shows_learned=False)


def test_an_unfinished_run_is_listed_as_such(place: Path, tmp_path: Path) -> None:
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "data.json"):
            shutil.copy(place / "runs" / "trial" / file, tmp_path / name)
    log = (place / "runs" / "trial" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "late" / "metrics.jsonl").write_text("".join(log[:3]) + log[3][:20])
    page = report([tmp_path], cache=place / "cache")
    states = {row[0]: row[4] for row in Page(page).rows if row[0] in ("early", "late")}
    assert states["early"] == "unfinished: no epoch was logged"
    assert states["late"] == f"unfinished: last logged split1/{WHOLE}, epoch 1"
    assert "--resume continues it" in section(page, "late")
    assert re.search(CURVE, section(page, "late"))


def test_a_run_of_encoders_alone_shows_their_probe(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "encoders"
    shutil.copytree(place / "runs" / "trial", copy)
    results = results_of(place, "trial")
    few = {key: results[key] for key in ("probe", "bayes", "data")}
    (copy / "results.json").write_text(json.dumps(few))
    page = report([copy], cache=place / "cache")
    assert "encoders only" in page
    row = next(row for row in Page(page).rows if row[0] == "physio")
    assert row[1:3] == [f"{results['probe']['physio'][k]:.3f}" for k in ("trained", "random")]


@pytest.mark.parametrize(
    ("place_in_file", "value", "said"),
    [
        (("models", 0, "windows", "accuracy", "value"), "high", r"models\[0\]\.windows\.accuracy"),
        (("models", 1, "windows", "confusion"), [[1]], r"models\[1\]\.windows\.confusion"),
        (("models", 0, "people", 1, "subject"), 7, r"people\[1\]\.subject: found 7, expected text"),
        (("classes",), None, "classes: found null, expected a list"),
        (("shared_groups",), True, "shared_groups: found true, expected a whole number"),
    ],
)
def test_a_damaged_results_json_is_named_with_the_field(
    place: Path, tmp_path: Path, place_in_file: tuple, value: object, said: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(place / "runs" / "trial", copy)
    results = results_of(place, "trial")
    inner = results
    for key in place_in_file[:-1]:
        inner = inner[key]
    inner[place_in_file[-1]] = value
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"results\.json: .*" + said):
        read_run(copy)


def test_missing_fields_lines_and_columns_are_named(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(place / "runs" / "trial", copy)
    results = results_of(place, "trial")
    (copy / "results.json").write_text(json.dumps(results)[:100])
    with pytest.raises(DataError, match=r"results\.json: JSON"):
        read_run(copy)
    del results["models"][0]["people"]
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"models\[0\]\.people: found nothing"):
        read_run(copy)
    shutil.copy(place / "runs" / "trial" / "results.json", copy)
    (copy / "metrics.jsonl").write_text('{"stage": "a", "epoch": 0, "loss": 1}\nnonsense\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2"):
        read_run(copy)
    (copy / "predictions.csv").write_text("subject,recording\n")
    with pytest.raises(DataError, match=r"predictions\.csv: columns: found no start_s, split"):
        read_predictions(copy / "predictions.csv", results["classes"])


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


def test_runs_of_one_name_are_told_apart(place: Path, tmp_path: Path) -> None:
    for parent in ("one", "two"):
        shutil.copytree(place / "runs" / "trial-eeg", tmp_path / parent / "run")
    (tmp_path / "mobilevit").mkdir()
    (tmp_path / "mobilevit" / "config.json").write_text("{}")  # of a model, no run
    runs = find_runs([tmp_path, tmp_path / "one" / "run"])
    assert [run.name for run in runs] == ["one/run", "two/run"]
