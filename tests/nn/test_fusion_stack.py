"""Several models of one shape in one pass give what each gives alone."""

from __future__ import annotations

import pytest
import torch

from clmer.nn.fusion import Fusion, FusionStack

SIZES = {"token_length": 6, "dim": 8, "heads": 2, "cross_layers": 2, "memory_layers": 1}
INPUTS = {"eeg": (5, 4), "ecg": (1, 4), "au": (2, 7)}


def models(names, count=4, **sizes):
    torch.manual_seed(0)
    inputs = {name: INPUTS[name] for name in names}
    return [Fusion(inputs, 3, **(SIZES | sizes)).eval() for _ in range(count)]


@pytest.mark.parametrize("names", [("eeg",), ("eeg", "ecg"), ("eeg", "ecg", "au")])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_stack_gives_what_each_gives(names, batch):
    members = models(names)
    x = {name: torch.randn(batch, *INPUTS[name]) for name in names}
    if len(names) > 1:
        x["eeg"][-1] = torch.nan  # a window that lacks it
    with torch.no_grad():
        want = torch.stack([member(x) for member in members])
    torch.testing.assert_close(FusionStack(members)(x), want, rtol=1e-5, atol=1e-6)


def test_members_stay_what_they_are():
    members = models(("eeg", "ecg"))
    before = [p.clone() for p in members[0].parameters()]
    FusionStack(members)
    assert all(p.requires_grad for p in members[0].parameters())
    for p, old in zip(members[0].parameters(), before, strict=True):
        assert torch.equal(p, old)


def test_a_stack_follows_its_members():
    members = models(("eeg", "ecg"), count=2)
    x = {name: torch.randn(1, *INPUTS[name]) for name in ("eeg", "ecg")}
    stack = FusionStack(members)
    before = stack(x)
    with torch.no_grad():
        members[1].classifier.bias.add_(1.0)
    torch.testing.assert_close(
        stack(x) - before, torch.tensor([0.0, 1.0])[:, None, None].expand(2, 1, 3)
    )
    members[0].load_state_dict(members[1].state_dict())
    after = stack(x)
    torch.testing.assert_close(after[0], after[1])
    with torch.no_grad():
        torch.testing.assert_close(after[1], members[1](x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            lambda: models(("eeg", "ecg"), dim=16),
            r"shape of unify\.eeg\.positions of models\[4\]: found \[6, 16\]",
        ),
        (lambda: models(("eeg", "ecg"), cross_layers=3), r"shape of .*: found .*, expected"),
        (lambda: models(("eeg", "ecg"), heads=4), r"heads of models\[4\]: found 4, expected 2"),
        (
            lambda: models(("ecg", "eeg")),
            "order of inputs of .*: found ecg, eeg, expected eeg, ecg",
        ),
        (lambda: models(("eeg", "au")), r"inputs of models\[4\]: found .*au.*, expected .*ecg"),
    ],
)
def test_models_that_differ_are_refused(others, said):
    with pytest.raises(ValueError, match=said):
        FusionStack([*models(("eeg", "ecg")), *others()])


def test_no_models_are_refused():
    with pytest.raises(ValueError, match="found no models, expected one or more"):
        FusionStack([])
