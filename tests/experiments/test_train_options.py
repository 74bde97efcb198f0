"""Options as a dict, and as words of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.experiment_cases import SMALL, setup

from clmer.cli.options.experiments import read_words
from clmer.errors import ConfigError
from clmer.experiments import leakage
from clmer.experiments.cells import plan
from clmer.experiments.runner import command
from clmer.experiments.specs import EXPERIMENTS
from clmer.experiments.train_options import config_of, words_of


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_the_words_of_a_cell_are_read_as_its_options(name, tmp_path):
    protocols = leakage.PROTOCOLS if name == "leakage" else ("",)
    for cell in plan(EXPERIMENTS[name], "deap", setup(tmp_path), protocols).cells.values():
        dataset, *words = words_of(cell.dataset, cell.options)
        assert dataset == "deap"
        assert read_words(words) == dict(cell.options)
        assert config_of(dataset, read_words(words)) == cell.config


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--cache here", {"cache": "here"}),
        ("--cache=here", {"cache": "here"}),
        ("--cac here", {"cache": "here"}),
        ("--scale -1,1 --threshold -0.5", {"scale": (-1, 1), "threshold": -0.5}),
        ("--batch-size 12 --model svm,mult", {"batch": 12, "models": ("svm", "mult")}),
        ("--no-permuted --graph", {"permuted": False, "graph": True}),
        ("--synthetic --control xor:eeg,au --people 3 --generator-seed 1",
         {"synthetic": True, "control": "xor:eeg,au", "people": 3, "generator_seed": 1}),
        ("--embedding-dropout 0.1 --resume", {"embedding_dropout": 0.1, "resume": True}),
        ("", {}),
    ],
)  # fmt: skip
def test_words_are_options_however_they_are_written(words, options):
    read = read_words(words.split())
    assert read == options
    assert read_words(words_of("deap", read)[1:]) == options


@pytest.mark.parametrize(
    ("word", "message"),
    [("--bogus", "unrecognized arguments: --bogus"), ("--dim=x", "invalid int value: 'x'")],
)
def test_other_words_are_refused(word, message):
    with pytest.raises(ConfigError, match=f"clmer train: .*{message}"):
        read_words([word])


def test_the_users_options_stand_before_an_experiments_and_behind_a_rows(tmp_path):
    own = setup(tmp_path, {"contrastive": False, "permuted": True, "cache": "here"})
    cells = plan(EXPERIMENTS["fig4"], "deap", own, ("trial",)).cells.values()
    assert [cell.cache for cell in cells] == [Path("here")]
    assert [(c.config.contrastive, c.config.permuted) for c in cells] == [(True, True)]


def test_a_cell_has_the_threads_that_the_user_says(tmp_path):
    def threads(options):
        own = setup(tmp_path)
        own = type(own)(own.source, options=options)
        (cell,) = plan(EXPERIMENTS["fig4"], "deap", own, ("trial",)).cells.values()
        line = command(cell, tmp_path, 1)
        return read_words(line[line.index("clmer.train") + 2 :])["threads"]

    assert threads({**SMALL, "threads": 8}) == 8
    assert threads({}) == 1
