"""One training step: as it is, under autocast, and captured (on a GPU)."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer.cli import main
from clmer.nn import ContrastiveModel, Encoder, Fusion
from clmer.nn.views import Views
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.stages.contrastive import (
    ADAM,
    ContrastiveModels,
    can_be_captured,
    contrastive_losses,
)
from clmer.pipeline.stages.step import GraphedStep, TrainStep, adam

SHAPES = {"physio": (4, 16), "au": (2, 7)}
ROWS = 12


def fusion(device: str = "cpu", dropout: float = 0.1) -> Fusion:
    torch.manual_seed(0)
    dropouts = dict.fromkeys(
        ("attention_dropout", "relu_dropout", "residual_dropout", "embedding_dropout"), dropout
    )
    sizes = {"token_length": 5, "dim": 12, "heads": 3, "cross_layers": 1, "memory_layers": 1}
    return Fusion(SHAPES, 2, **sizes, **dropouts).to(device)  # type: ignore[arg-type]


def fusion_step(
    model: Fusion, graph: bool = False, clip: float = 0.8, amp: bool = False
) -> TrainStep:
    device = next(model.parameters()).device
    torch.manual_seed(1)
    x = {name: torch.randn(ROWS, *shape).to(device) for name, shape in SHAPES.items()}
    y = (torch.arange(ROWS) % 2).to(device)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in x.items()})
        return {"loss": F.cross_entropy(logits, y[rows]), "logits": logits.float().mean()}

    return TrainStep(model, adam(model, lr=1e-3, graph=graph), losses, clip, amp)


def test_a_step_is_forward_backward_clip_and_adam() -> None:
    ours, theirs = fusion(), fusion()
    step, other = fusion_step(ours, clip=0.01), fusion_step(theirs)
    optimizer = torch.optim.Adam(theirs.parameters(), 1e-3)
    generator = torch.Generator()
    for rows in torch.arange(ROWS).split(4):
        torch.manual_seed(2)
        found = step(rows, generator)
        assert not found["loss"].requires_grad
        torch.manual_seed(2)
        loss = other.losses(rows, generator)["loss"]
        optimizer.zero_grad()
        loss.backward()
        assert nn.utils.clip_grad_norm_(theirs.parameters(), 0.01) > 0.01
        optimizer.step()
        torch.testing.assert_close(found["loss"], loss.detach())
    for mine, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-6)


def test_autocast_lowers_the_forward_and_leaves_the_weights() -> None:
    model, same = fusion(dropout=0.0), fusion(dropout=0.0)
    generator, rows = torch.Generator(), torch.arange(ROWS)
    seen = []
    model.classifier.register_forward_hook(lambda _, inputs, out: seen.append(out.dtype))
    lowered = fusion_step(model, amp=True)(rows, generator)["loss"]
    exact = fusion_step(same)(rows, generator)["loss"]
    assert seen == [torch.bfloat16]
    assert 0 < (lowered - exact).abs() < 0.05
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_contrastive_stage_runs_under_autocast() -> None:
    torch.manual_seed(0)
    model = ContrastiveModel(Encoder(4, 64, width=8))
    x = torch.randn(ROWS, 4, 64)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return dict(model(x[rows], generator))

    step = TrainStep(model, adam(model, lr=3e-4), losses, amp=True)
    found = [
        float(step(torch.arange(ROWS), torch.Generator().manual_seed(0))["loss"]) for _ in range(8)
    ]
    assert found[-1] < found[0]


def contrastive(device: str = "cpu", **views: float) -> ContrastiveModels:
    torch.manual_seed(0)
    models = {
        name: ContrastiveModel(Encoder(6, length, width=8), views=Views(**views))  # type: ignore[arg-type]
        for name, length in (("eeg", 64), ("au", 25))
    }
    return ContrastiveModels(models).to(device)


def contrastive_step(model: ContrastiveModels, graph: bool) -> TrainStep:
    torch.manual_seed(1)
    device = next(model.parameters()).device
    x = {name: torch.randn(ROWS, 6, n).to(device) for name, n in (("eeg", 64), ("au", 25))}
    losses = contrastive_losses(model, x, Ranks(), captured=True)
    return TrainStep(model, adam(model, graph=graph, **ADAM), losses)


def test_stage_1_draws_its_steps_where_a_graph_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each modality's own t, from the generator, without its number."""
    models, seen = contrastive(), []
    whole = ContrastiveModel.forward

    def forward(self: ContrastiveModel, x: Tensor, generator: torch.Generator, t, shard):  # type: ignore[no-untyped-def]
        seen.append(t)
        return whole(self, x, generator, t, shard)

    monkeypatch.setattr(ContrastiveModel, "forward", forward)
    x = {name: torch.randn(4, 6, n) for name, n in (("eeg", 64), ("au", 25))}
    for captured in (False, True):
        models(x, torch.Generator().manual_seed(0), None, {}, None, captured)
    assert seen[:2] == [None, None]
    assert all(t.dim() == 0 and t.dtype == torch.int64 for t in seen[2:])


def test_what_a_graph_cannot_hold_runs_as_it_is() -> None:
    assert can_be_captured(contrastive(), Ranks())
    assert not can_be_captured(contrastive(rotation=20.0), Ranks())


@pytest.mark.gpu
def test_a_captured_step_of_stage_1_is_the_step() -> None:
    """The same draws, of views, steps and dropout, from the device's generator."""
    step, graphed = (contrastive_step(contrastive("cuda"), graph) for graph in (False, True))
    captured, generator = GraphedStep(graphed, 5), torch.Generator("cuda")
    found: list[list[float]] = []
    for number in range(6):
        rows = torch.randperm(ROWS, device="cuda")[:5]
        losses = []
        for each in (step, captured):
            torch.cuda.manual_seed(number)
            losses.append(each(rows, generator)["loss"].clone())
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)
        found.append([float(each) for each in losses])
    assert len({each[1] for each in found}) == 6
    for mine, plain in zip(graphed.model.parameters(), step.model.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-2, atol=1e-4)


def test_a_graph_needs_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "deap", "--synthetic", "--device", "cpu", "--graph"]) == 2
    assert "--graph: found --device cpu, expected a GPU" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_captured_step_is_the_step() -> None:
    eager, captured = fusion("cuda", 0.0), fusion("cuda", 0.0)
    step, graphed = fusion_step(eager), GraphedStep(fusion_step(captured, graph=True), 5)
    generator = torch.Generator("cuda")
    for epoch in range(3):
        for rows in torch.randperm(ROWS, device="cuda").split(5):  # the last one holds two
            want, got = step(rows, generator), graphed(rows, generator)
            torch.testing.assert_close(got["loss"], want["loss"], rtol=1e-4, atol=1e-5)
        for optimizer in (step.optimizer, graphed.step.optimizer):  # a plateau, as fit has them
            torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0).step(float(epoch))
    for mine, plain in zip(captured.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
def test_a_captured_step_draws_afresh_and_by_the_seed() -> None:
    model = fusion("cuda", 0.3)
    model.train()
    start = copy.deepcopy(model.state_dict())
    rows, generator = torch.arange(ROWS, device="cuda"), torch.Generator("cuda")
    found = []
    for _ in range(2):
        model.load_state_dict(start)
        graphed = GraphedStep(fusion_step(model, graph=True), ROWS)
        torch.manual_seed(3)
        found.append([float(graphed(rows, generator)["loss"]) for _ in range(3)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 3
