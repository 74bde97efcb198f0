"""Which of a run's models answers: the one that is named, or the one that scored best."""

from __future__ import annotations

from pathlib import Path

from clmer.evaluation.kinds import KINDS, kind_of
from clmer.evaluation.verdict import WHOM, best_model
from clmer.json_files import MAYBE
from clmer.pipeline.run.load import kept_models
from clmer.pipeline.run.scores import results_in
from clmer.pipeline.run_files import check, damaged
from clmer.text import score_text


def choose_model(folder: Path, wanted: str | None) -> tuple[str | None, list[str]]:
    """The model to load, and what to say of it.

    Args:
        folder: of a run, or a saved model's.
        wanted: by name; None for the best of those that the run kept, of equal ones the first.

    Returns:
        Its name, None where the run's first model is all that can be said (an unfinished run), and
        lines for a person.

    Raises:
        DataError: no run's folder, or damage.
    """
    kept = kept_models(folder)
    path, results = results_in(folder)
    if "models" not in results:
        return wanted, []
    check({"target": "class", **results}, {"target": str, "protocol": str}, path)
    if results.get("target", "class") not in KINDS:
        raise damaged(path, "target", results["target"], " or ".join(KINDS))
    kind = kind_of(results)
    score = {kind.main: {"value": MAYBE, "low": MAYBE}}
    check(results, {"models": [{"name": str, "windows": score}], "classes": [str]}, path)
    check(results.get("not_kept", []), [str], path, "not_kept")
    scores = {m["name"]: m["windows"][kind.main]["value"] for m in results["models"]}
    known = [name for name in kept if name in scores]
    if not known:
        return wanted, []
    name = best_model(results, known) if wanted is None else wanted
    if name not in scores:
        return name, []
    why = "" if wanted or len(kept) == 1 else ", the best that the run kept"
    whom = WHOM.get(results["protocol"], "its test part")
    said = f"{kind.title} {score_text(scores[name])} per window on {whom}"
    others = [f"{each} {score_text(scores[each])}" for each in known if each != name]
    beside = f" ({', '.join(others)})" if others else ""
    lines = [f"model: {name}{why}: {said}{beside}"]
    (low,) = (m["windows"][kind.main]["low"] for m in results["models"] if m["name"] == name)
    if others and not wanted:
        lines.append("note: it was chosen by that score, which is somewhat too good therefore")
    lost = [each for each in results.get("not_kept", ()) if each in scores]
    ahead = best_model(results, [*known, *lost])
    if ahead in lost and not wanted:
        lines.append(
            f"note: {ahead} scored {score_text(scores[ahead])}, but a run keeps no {ahead}: it "
            "cannot answer"
        )
    if low is None or low <= kind.chance(results):
        lines.append("note: that may be chance, and what follows no more than guesses")
    return name, lines
