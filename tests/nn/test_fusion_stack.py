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


def test_models_of_several_shapes_are_refused():
    with pytest.raises(ValueError, match="several shapes"):
        FusionStack([*models(("eeg", "ecg")), *models(("eeg", "ecg"), dim=16)])
