"""One training step: as it is, under autocast, and captured (on a GPU)."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer.cli import main
from clmer.nn import ContrastiveModel, Encoder, Fusion
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
