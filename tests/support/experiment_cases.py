"""Small trainings that tests of experiments make, on generated recordings."""

from __future__ import annotations

import re

from clmer import cli
from clmer.data.synthetic import write_deap
from clmer.experiments.cells import Setup, plan
from clmer.experiments.output import write
from clmer.experiments.scores import collect
from clmer.experiments.sheets import VIEWS
from clmer.experiments.specs import EXPERIMENTS
from clmer.experiments.train_options import words_of

SMALL = {"folds": 3, "threads": 1, "width": 4, "dim": 8, "heads": 2, "cross_layers": 1}
SMALL |= {"memory_layers": 1, "single_layers": 1, "epochs_contrastive": 1, "epochs_fusion": 2}
SMALL |= {"device": "cpu"}


def generated(tmp_path_factory):
    """A generated DEAP of 3 people x 12 trials x 2 s, and room for a cache and run folders."""
    folder = tmp_path_factory.mktemp("deap")
    write_deap(folder / "data", people=3, trials=12, seconds=2)
    return folder


def setup(root, options=None, **fields):
    return Setup(source={"root": str(root)}, options=SMALL | (options or {}), **fields)


def small(deap, **options):
    """Two modalities, one task, two splits."""
    fields = {"tasks": ("valence",), "modalities": ("physio", "au"), "lengths": (5, 20)}
    return setup(deap / "data", {"cache": str(deap / "cache"), **options}, **fields, repeats=2)


def train(cells, folder):
    """Make cells in this process, which imports once."""
    for name, cell in cells.items():
        if not (folder / name / "results.json").exists():
            options = {**cell.options, "out": folder / name}
            assert cli.main(["train", *words_of(cell.dataset, options)]) == 0


def show(deap, name, made, tmp_path):
    """Make what an experiment needs of `made`'s rows, and write its sheet."""
    each = plan(EXPERIMENTS[name], "deap", small(deap), ("",))
    wanted = {line.cell.name: line.cell for line in each.lines if line.row.key in made}
    train(wanted, deap / "cells")
    sheet = VIEWS[each.experiment.view](each, collect(each, deap / "cells", {}))
    files = {path.suffix: path for path in write(sheet, tmp_path, "the command")}
    return sheet, files


def well_formed(path):
    text = path.read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert text.count("<table") == text.count("</table>") > 0
    return text
