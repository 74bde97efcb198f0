"""Random numbers of a fit: the same as torch's own for a seed, and none of the caller's."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from clmer.nn import CrossModalAttention, Fusion
from clmer.nn.dropout import Dropout
from clmer.nn.random_state import drawing_from, drawn_from, seeded

SEED = 2**62 + 1


def weights() -> list[torch.Tensor]:
    """First weights of modules that draw in every way there is."""
    modules = [
        nn.Linear(7, 3),
        nn.Conv1d(3, 4, 5),
        nn.TransformerEncoderLayer(8, 2),
        CrossModalAttention(8, 2, batch_first=True),
        Fusion({"eeg": (4, 9), "face": (2, 5)}, 2, token_length=3, dim=8, heads=2),
    ]
    drawn = [torch.rand(3), torch.randn(2, 2), torch.randint(9, (4,)), torch.randperm(5)]
    drawn += [torch.randint(-5, 9, (4,)), torch.empty(3).normal_(), torch.empty(3).uniform_(1, 2)]
    return [*drawn, *(p.detach() for module in modules for p in module.parameters())]


def test_weights_are_those_of_the_seed_and_the_caller_draws_on() -> None:
    torch.manual_seed(SEED)
    expected = weights()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with drawn_from(seeded(SEED)):
        found = weights()
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["dropout", "attention", "fusion"])
def test_dropout_is_that_of_the_seed_and_the_caller_draws_on(kind: str) -> None:
    x = torch.randn(4, 6, 8)
    if kind == "dropout":
        module, inputs = Dropout(0.5), (x,)
    elif kind == "attention":
        module, inputs = CrossModalAttention(8, 2, dropout=0.5, batch_first=True), (x, x, x)
    else:
        module = Fusion({"eeg": (6, 8), "face": (6, 8)}, 2, token_length=3, dim=8, heads=2)
        inputs = ({"eeg": x, "face": x},)

    def run() -> torch.Tensor:
        out = module(*inputs)
        return out[0] if isinstance(out, tuple) else out

    torch.manual_seed(SEED)
    expected = run()
    before = torch.get_rng_state()
    with drawing_from(seeded(SEED)):
        assert torch.equal(run(), expected)
        assert not torch.equal(run(), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_draw_apart() -> None:
    found: dict[int, list[torch.Tensor]] = {}

    def draw(seed: int) -> None:
        with drawn_from(seeded(seed)):
            found[seed] = [torch.rand(100) for _ in range(200)]

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
        torch.rand(50)
    for thread in threads:
        thread.join()
    for seed, drawn in found.items():
        torch.manual_seed(seed)
        assert all(torch.equal(each, torch.rand(100)) for each in drawn)
