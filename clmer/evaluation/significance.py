"""Are two models different? Over people: Wilcoxon signed-rank with Holm's correction, the interval
of the difference, and the least difference that so many people could show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from clmer.evaluation.metrics import Predictions, confusion_scores, person_confusions

#: Fewest people with a difference for which a two-sided p < 0.05 is possible.
FEWEST_PEOPLE = 6


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the i-th smallest of m p-values times m - i + 1, monotone."""
    values = np.asarray(p, dtype=np.float64)
    order = values.argsort(kind="stable")
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def fewest_people(tests: int) -> int:
    """Fewest people with whom one of some tests can reach p < 0.05 after Holm's correction.

    n people who all differ the same way have 2 of 2^n patterns of signs.
    """
    people = FEWEST_PEOPLE
    while max(tests, 1) * 2.0 ** (1 - people) >= 0.05:
        people += 1
    return people


def signed_rank(difference: np.ndarray) -> tuple[float | None, str]:
    """Two-sided Wilcoxon signed-rank p over people, or None and the reason why there is none.

    Zero differences are dropped (Wilcoxon's own rule). Differences are rounded to 12 digits first,
    so that ties do not depend on the last bit.
    """
    difference = np.round(np.asarray(difference, dtype=np.float64), 12)
    moved = difference[difference != 0]
    if len(difference) and not len(moved):
        return None, f"no difference in any of {len(difference)} people"
    if len(moved) < FEWEST_PEOPLE:
        return None, (
            f"{len(moved)} of {len(difference)} people differ; "
            f"p < 0.05 needs {FEWEST_PEOPLE} or more"
        )
    return float(stats.wilcoxon(moved).pvalue), ""


def paired_interval(difference: np.ndarray, *, level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval of a mean difference over people, mean -+ t s / sqrt(n).

    Args:
        difference: [n] of each person.
        level: coverage.

    Returns:
        (low, high); None of fewer than two people.
    """
    if len(difference) < 2:
        return None
    t = stats.t.ppf((1 + level) / 2, len(difference) - 1)
    reach = float(t * difference.std(ddof=1) / np.sqrt(len(difference)))
    return float(difference.mean()) - reach, float(difference.mean()) + reach


def least_difference(
    spread: float, people: int, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The least mean difference that a paired t test over so many people would show.

        delta = (t[1 - alpha / 2, n - 1] + t[power, n - 1]) s / sqrt(n)

    Args:
        spread: s, standard deviation over people of their differences.
        people: n.
        alpha: of the two-sided test.
        power: how often a true difference of this size is found.

    Returns:
        delta in the scores' unit; None of fewer than two people, or where they do not differ.

    Source: J. H. Zar, Biostatistical Analysis, minimum detectable difference of the paired t test;
        H. S. Bloom (1995), Minimum detectable effects, Evaluation Review 19(5).
    """
    if people < 2 or spread <= 0:
        return None
    t = stats.t.ppf([1 - alpha / 2, power], people - 1).sum()
    return float(t * spread / np.sqrt(people))


def compare(
    models: Sequence[Predictions], *, score: str = "balanced_accuracy"
) -> list[dict[str, Any]]:
    """Wilcoxon signed-rank tests over people between every pair of models, Holm-corrected.

    Each person contributes the difference of the two models' scores on that person's windows.
    Holm's correction covers the tests that could be computed.

    Returns:
        One dict per pair: a, b, people (number compared), difference (mean over people of a - b),
        low and high (`paired_interval`), least (`least_difference`), p and p_holm (None where not
        computable), reason ("" where computable).
    """
    by_model = {}
    for model in models:
        people, counts = person_confusions(model)
        values = confusion_scores(counts)[score]
        by_model[model.model] = dict(zip(people.tolist(), values.tolist(), strict=True))
    return compare_people(by_model)


def compare_people(by_model: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """As `compare`, from the score of every person (inner key) under every model (outer key)."""
    rows: list[dict[str, Any]] = []
    for a, b in combinations(by_model, 2):
        common = sorted(by_model[a].keys() & by_model[b].keys())
        difference = np.array([by_model[a][s] - by_model[b][s] for s in common])
        p, reason = signed_rank(difference)
        mean = float(difference.mean()) if common else None
        low, high = paired_interval(difference) or (None, None)
        # Rounded as in `signed_rank`: what differs in the last bit only does not differ.
        spread = float(np.round(difference, 12).std(ddof=1)) if len(common) > 1 else 0.0
        row = {"a": a, "b": b, "people": len(common), "difference": mean, "low": low, "high": high}
        row |= {"least": least_difference(spread, len(common)), "p": p, "reason": reason}
        rows.append({**row, "p_holm": None})
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = adjusted
    return rows
