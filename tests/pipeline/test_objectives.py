"""The objective of each kind of signal, and views as the options ask."""

from __future__ import annotations

import pytest

from clmer.data.store.store import Modality
from clmer.nn import Encoder
from clmer.nn.encoder import SpectralEncoder
from clmer.nn.views import Views
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import build_encoder
from clmer.pipeline.objectives import AUTO, VIEWS, describe, objective_of, signal_kind, views_of


def modality(name: str, *kinds: str, channels: int = 3) -> Modality:
    return Modality(name, channels, 128.0, tuple(f"c{i}" for i in range(channels)), kinds)


@pytest.mark.parametrize(
    ("each", "kind"),
    [
        (modality("acc", "acc", "acc", "acc"), "motion"),
        (modality("phone", "acc", "gyro", "other"), "motion"),
        (modality("x"), "motion"),
        (modality("physio", "eeg", "ecg", "gsr"), "physiology"),
        (modality("watch", "acc", "ppg", "acc"), "physiology"),
        (modality("landmarks"), "face"),
        (modality("au", "other", "other", "other"), "motion"),  # a manifest's own signals
    ],
)
def test_the_kind_of_a_signal_decides_where_nothing_is_asked(each: Modality, kind: str) -> None:
    assert signal_kind(each) == kind
    assert objective_of(ModelConfig(), each) == AUTO[kind]
    assert objective_of(ModelConfig(objective="paper"), each) == "paper"


def test_views_are_the_objectives_but_for_what_is_asked() -> None:
    acc = modality("acc", "acc", "acc", "acc")
    assert views_of(ModelConfig(objective="paper"), acc) == Views() == VIEWS["paper"]
    asked = ModelConfig(
        objective="pooled",
        view_scale=(2.0, 1.1),
        view_both=False,
        view_jitter=(0.0, 0.8),
        view_pieces=1,
        view_rotation=20.0,
    )
    assert views_of(asked, acc) == Views((2.0, 1.1), False, (0.0, 0.8), 1, 20.0)
    assert views_of(asked, modality("landmarks")).rotation == 0


def test_objectives_in_words() -> None:
    modalities = {each.name: each for each in (modality("acc", "acc", "acc", "acc"), modality("x"))}
    assert describe(ModelConfig(objective="pooled"), modalities) == "pooled"
    mixed = {**modalities, "au": modality("au"), "eeg": modality("eeg", "eeg", "eeg", "eeg")}
    words = describe(ModelConfig(), mixed)
    for name in mixed:
        assert name in words or len(set(AUTO.values())) == 1


def test_some_objectives_read_log_power() -> None:
    eeg = modality("eeg", "eeg", "eeg", "eeg")
    for objective in ("spectral", "neighbour"):
        config = ModelConfig(objective=objective)
        assert isinstance(build_encoder(config, eeg, 640), SpectralEncoder)
    assert type(build_encoder(ModelConfig(objective="pooled"), eeg, 640)) is Encoder
