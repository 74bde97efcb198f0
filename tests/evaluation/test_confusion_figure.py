"""The confusion figure: a picture whose panels are the models."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from support.results_cases import CLASSES

from clmer.evaluation.confusion_figure import confusion_figure, confusion_png
from clmer.evaluation.metrics import Predictions


def test_the_picture_has_a_panel_per_model_and_the_same_bytes_each_time(
    models: list[Predictions],
) -> None:
    drawn = confusion_png(models[:2], CLASSES)
    assert drawn == confusion_png(models[:2], CLASSES)
    with (
        Image.open(io.BytesIO(drawn)) as two,
        Image.open(io.BytesIO(confusion_png(models[:1], CLASSES))) as one,
    ):
        assert np.asarray(two.convert("L")).std() > 10
        assert one.size[0] < two.size[0]


def test_panels_say_shares_counts_and_balanced_accuracy(models: list[Predictions]) -> None:
    (panel, *_) = confusion_figure(models, CLASSES).axes
    eeg = models[0]
    hits = int(((eeg.y == 0) & (eeg.predicted == 0)).sum())
    assert panel.texts[0].get_text().endswith(f"\n{hits}")
    assert panel.get_title().startswith("eeg\nbalanced accuracy 0.")
    assert [label.get_text() for label in panel.get_yticklabels()] == list(CLASSES)
