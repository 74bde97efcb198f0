"""A run's result in words: the score, on whom, against what, and what follows from it.

Nothing is computed here that is not in results.json, so that a report of an older run says the
same, as far as its numbers go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from clmer.evaluation.kinds import Kind, kind_of
from clmer.evaluation.results import CONTROLS
from clmer.evaluation.stimuli import stimulus_line
from clmer.text import score_text, signed

#: Whom a score holds for, by protocol.
WHOM = {
    "subject": "people it never saw in training",
    "loso": "people it never saw in training",
    "trial": "new recordings of the people it was trained on",
    "stimulus": "new stimuli, shown to the people it was trained on",
    "block": "other stretches of the recordings it was trained on",
    "shuffled": "windows of the very recordings it was trained on",
    "own": "the test part of your own splits",
}
#: A control that scores so much of the way from chance to the model casts doubt on it.
_DOUBT = 0.5


class Pair(NamedTuple):
    """A model against another, person by person; positive where the first is better."""

    difference: float | None
    low: float | None
    high: float | None
    least: float | None
    people: int

    @property
    def is_seen(self) -> bool:
        """Whether chance between these people is an unlikely reason for the difference."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def verdict(results: Mapping[str, Any]) -> list[str]:
    """What a run's results come to, a sentence or two each.

    Args:
        results: of `clmer.evaluation.results.build_results`, or read from results.json.

    Returns:
        At least one; of a run without scores that there are none.
    """
    if "models" not in results:
        return ["No scores: the run trained encoders only, which nothing was tested with."]
    return [
        _score(results),
        *_inflated(results),
        *stimulus_line(results.get("stimuli")),
        *_chance(results),
        *_others(results),
        *_baseline(results),
        *_not_kept(results),
        *_limits(results),
    ]


def best_model(results: Mapping[str, Any], kept: Collection[str]) -> str:
    """The model that scored best; of equal ones the first, so that a model under study goes first.

    Args:
        results: with scores.
        kept: names of the models that can be used, one of them in the results.
    """
    main = kind_of(results).main
    models = [model for model in results["models"] if model["name"] in kept]
    scores = {model["name"]: model["windows"][main]["value"] for model in models}
    return max(scores, key=lambda name: -2.0 if scores[name] is None else scores[name])


def simple_baseline(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best of the linear models that are fitted beside a run's own; None without any."""
    names = _linear(results)
    return _model(results, best_model(results, names)) if names else None


def _linear(results: Mapping[str, Any]) -> list[str]:
    """Names of the linear models that are fitted beside a run's own."""
    known = {*results["main"], *CONTROLS}
    return [m["name"] for m in results["models"] if m["name"] not in known and " + " in m["name"]]


def pair_of(results: Mapping[str, Any], one: str, other: str) -> Pair | None:
    """The comparison of two models, its sign such that positive is better for the first."""
    better = kind_of(results).better
    for row in results["comparisons"]:
        if {row["a"], row["b"]} != {one, other} or row["difference"] is None:
            continue
        sign = better if row["a"] == one else -better
        difference, least, people = sign * row["difference"], row.get("least"), row["people"]
        if row.get("low") is None or row.get("high") is None:
            return Pair(difference, None, None, least, people)
        low, high = sorted((sign * row["low"], sign * row["high"]))
        return Pair(difference, low, high, least, people)
    return None


def _model(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(model for model in results["models"] if model["name"] == name)


def _score(results: Mapping[str, Any]) -> str:
    """The first model's score, on whom, and its interval."""
    kind, first = kind_of(results), results["main"][0]
    score = _model(results, first)["windows"][kind.main]
    whom = WHOM.get(results["protocol"], f"the test part of {results['protocol']}")
    people = _people(results["people"])
    said = f"On {whom}, {first} gets a {kind.title} of {score_text(score['value'])} per window"
    if score["value"] is None:
        said = f"On {whom}, no {kind.title} of {first} could be computed"
    if score["low"] is None:
        return f"{said}; from {people} no interval can be computed."
    low, high = score_text(score["low"]), score_text(score["high"])
    return f"{said} (95 % interval over {people}: {low} to {high})."


def _inflated(results: Mapping[str, Any]) -> list[str]:
    """What is wrong with windows that are assigned at random."""
    if results["protocol"] != "shuffled":
        return []
    return [
        "This score is inflated, and holds for nothing new: neighbouring windows of one recording "
        "are in training and in test. `protocol=subject` tests on new people."
    ]


def _chance(results: Mapping[str, Any]) -> list[str]:
    """Whether that is more than knowing nothing gives, and what permuted labels got."""
    kind, first = kind_of(results), results["main"][0]
    score, chance = _model(results, first)["windows"][kind.main], kind.chance(results)
    said = f"Chance is {score_text(chance)}{_guess(results)}"
    if score["low"] is None or results["protocol"] == "shuffled":
        lines = [f"{said}."]
    elif score["low"] > chance:
        lines = [f"{said}, below the interval: the signals tell {_task(results)}."]
    elif score["high"] < chance:
        lines = [f"{said}, above the interval: the model is wrong more often than a coin."]
    else:
        lines = [f"{said}, inside the interval: nothing shows that the signals tell "
                 f"{_task(results)}."]  # fmt: skip
    return lines + _permuted(results, score["value"], chance)


def _guess(results: Mapping[str, Any]) -> str:
    """Of ratings the error of the model, and of always saying the training part's mean."""
    kind = kind_of(results)
    names = [model["name"] for model in results["models"]]
    if results["classes"] or kind.guess not in names:
        return ""
    found = (_model(results, name) for name in (kind.guess, results["main"][0]))
    mean, own = (score_text(model["windows"]["rmse"]["value"]) for model in found)
    return f" (the training mean, whose error, RMSE, is {mean}; the model's is {own})"


def _permuted(results: Mapping[str, Any], value: float | None, chance: float) -> list[str]:
    """A doubt, where labels that say nothing score nearly as well."""
    kind = kind_of(results)
    found = [m for m in results["models"] if m["name"] == "permuted labels"]
    score = found[0]["windows"][kind.main]["value"] if found else None
    if value is None or score is None or value - chance <= 0.02:
        return []
    if score - chance < _DOUBT * (value - chance):
        return []
    return [
        f"Beware: trained on permuted labels it still gets {score_text(score)}. It may recognise "
        "people or recordings instead; test it under a stricter protocol."
    ]


def _others(results: Mapping[str, Any]) -> list[str]:
    """Of several models under study the best, where it is not the first."""
    kind, first = kind_of(results), results["main"][0]
    best = best_model(results, results["main"])
    if best == first:
        return []
    score = _model(results, best)["windows"][kind.main]["value"]
    return [f"Of all {len(results['main'])} models under study {best} scored highest: "
            f"{score_text(score)}."]  # fmt: skip


def _not_kept(results: Mapping[str, Any]) -> list[str]:
    """Of a best model that is not kept, which one answers in its place."""
    lost = set(results.get("not_kept", ()))
    names = [*results["main"], *_linear(results)]
    best = best_model(results, names)
    if best not in lost:
        return []
    said = f"A run keeps no {best}, which scored highest"
    if kept := [name for name in names if name not in lost]:
        return [f"{said}: new recordings are answered by {best_model(results, kept)}, the best of "
                "those that it keeps."]  # fmt: skip
    return [f"{said}: it has no model for new recordings."]


def _task(results: Mapping[str, Any]) -> str:
    classes = results["classes"]
    if not classes:
        return f"something of {results['task']}"
    return f"{', '.join(classes[:-1])} and {classes[-1]} apart"


def _baseline(results: Mapping[str, Any]) -> list[str]:
    """The first model against the best simple one, and what to do with it."""
    kind, first = kind_of(results), results["main"][0]
    other = simple_baseline(results)
    if other is None:
        return []
    name, score = other["name"], other["windows"][kind.main]["value"]
    said = f"The best simple baseline, {name}, gets {score_text(score)}."
    pair = pair_of(results, first, name)
    if pair is None or pair.difference is None:
        return [said]
    if pair.difference == 0 and not pair.least:
        none = "no network was trained" if results.get("classifier") == "linear" else ""
        said += f" Both are the same for everyone: {none or 'the network added nothing to it'}."
        return [said, *_useless(results, first)]
    return [f"{said} {_compared(kind, pair)}", *_advice(results, first, name, pair)]


def _compared(kind: Kind, pair: Pair) -> str:
    """The paired difference, and whether it could have been seen."""
    said = f"Person by person the model's {kind.tested_of} is {_way(kind, pair.difference or 0.0)}"
    if pair.low is None or pair.high is None:
        return f"{said}; with {_people(pair.people)} that cannot be told from chance."
    said += f" on average (95 % interval {signed(pair.low)} to {signed(pair.high)})"
    least = "" if pair.least is None else f"{score_text(pair.least)} or more"
    if pair.is_seen:
        return f"{said}: more than chance between {_people(pair.people)}."
    return (
        f"{said}: no difference that {_people(pair.people)} could show, which is {least} "
        "(80 % power)."
    )


def _way(kind: Kind, difference: float) -> str:
    """Which model is better, and by how much: "better by 0.020"."""
    size = score_text(abs(difference))
    if size == score_text(0.0):
        return "neither better nor worse"
    return f"{'better' if difference > 0 else 'worse'} by {size}"


def _advice(results: Mapping[str, Any], first: str, name: str, pair: Pair) -> list[str]:
    """What follows of the difference."""
    if pair.is_seen and (pair.difference or 0.0) < 0:
        return [
            f"{name} does better here: use it, or try more people, a reference of each person's "
            "own (`reference`), or `classifier=corrected`, which begins as such a model."
        ]
    if pair.is_seen:
        return [f"{first} does better here: use it."]
    if useless := _useless(results, first):
        return useless
    ahead = best_model(results, (first, name))
    said = "higher" if ahead != first else "no lower"
    return [f"Either can be used; {ahead} scored {said} here."]


def _useless(results: Mapping[str, Any], first: str) -> list[str]:
    """What to try where the score may be chance."""
    kind = kind_of(results)
    low = _model(results, first)["windows"][kind.main]["low"]
    if low is None or low > kind.chance(results):
        return []
    return [
        "Do not rely on it before it is clearly above chance: try more people or recordings, a "
        "reference of each person's own (`reference`), or other modalities."
    ]


def _limits(results: Mapping[str, Any]) -> list[str]:
    """What else bounds the score: protocol, one person, a reference, generated recordings."""
    lines = []
    if results["people"] == 1:
        lines.append("One person was tested: nothing follows for anybody else.")
    reference = str(results.get("reference", {}).get("kind", "none"))
    if reference == "all":
        lines.append(
            "Every person's windows were read against all they have, those tested included: a new "
            "person has to be recorded as a whole first."
        )
    elif reference != "none":
        lines.append(
            f"It holds for people of whom a reference ({reference}) is known: a new one needs it "
            "too."
        )
    if "(synthetic)" in results["dataset"]:
        lines.append(
            "The recordings are generated: this says what the generator put into them, and nothing "
            "of people."
        )
    return lines


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"
