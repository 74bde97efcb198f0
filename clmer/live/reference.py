"""What a person is read against, live: given, or their first seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np

from clmer.errors import ConfigError
from clmer.pipeline.options.reference import ALL, NONE
from clmer.pipeline.reference import LEAST, PersonReference
from clmer.pipeline.reference_rows import check_given, how_to_record
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.split.windows import Windows


class LiveReference:
    """The reference of a run, and what the run says of windows against it.

    Args:
        trained: the run.
        given: seconds of windows that are taken first, windows from before, what
            `trained.known_person` made of such, or None.

    Raises:
        ConfigError: a reference is missing or not asked for, or seconds that hold too few windows.
        ValueError: windows that do not fit the run or are too few, or what another run made.
    """

    def __init__(
        self, trained: TrainedRun, given: float | Windows | PersonReference | None
    ) -> None:
        self._trained = trained
        self._known: PersonReference | None = None
        self.left_s = 0.0
        kind = trained.config.reference
        if kind == ALL:
            raise ConfigError(
                f"`reference={ALL}`: in training everyone's windows were read against all that "
                "they have, which is not known live. Train with `reference=LABEL:SECONDS`"
            )
        if kind != NONE and (given is None or isinstance(given, str)):
            found = "none" if given is None else f"the text {given!r}"
            raise ConfigError(
                f"`reference`: found {found}, expected a number, so many first seconds of the "
                f"session, or windows from before: {how_to_record(kind)} (`reference={kind}` in "
                "training)"
            )
        if not isinstance(given, int | float | Real):  # NumPy's numbers are Real alone
            check_given(kind, given)
            if isinstance(given, PersonReference):
                for split in trained.splits.values():
                    given.of(split)
                self._known = given
            elif given is not None:
                self._known = trained.known_person(given)
            return
        if kind == NONE:
            check_given(kind, {})
        seconds = float(given)
        length_s = trained.config.window_s or 0.0
        stride_s = trained.config.stride_s or length_s
        least_s = length_s + (LEAST - 1) * stride_s
        if not least_s <= seconds < math.inf:
            raise ConfigError(
                f"`reference`: found {seconds:g} s, expected at least {least_s:g} s ({LEAST} "
                f"windows): {how_to_record(kind)}"
            )
        self.left_s = seconds
        self._first_s = length_s - stride_s
        self._step_s = stride_s
        self._taken: list[Mapping[str, np.ndarray]] = []

    def add(self, window: Mapping[str, np.ndarray]) -> None:
        """Take a window [1, C, T] by modality as part of it."""
        self._taken.append(window)
        self.left_s -= self._step_s if len(self._taken) > 1 else self._step_s + self._first_s
        if self.left_s < self._step_s - 1e-6:  # no more windows fit
            self.left_s = 0.0
            names = self._taken[0]
            taken = {n: np.concatenate([each[n] for each in self._taken]) for n in names}
            self._known = self._trained.known_person(taken)
            self._taken = []

    def values(self, window: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the run says of a window [1, C, T] by modality: probabilities, or a rating (0-d)."""
        ask = self._trained.predict_proba if self._trained.classes else self._trained.predict
        return np.asarray(ask(window, reference=self._known)[0])
