"""The model card of a saved model: README.md, as Hugging Face's Hub reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.registry import DATASETS
from clmer.errors import ConfigError
from clmer.evaluation.kinds import kind_of
from clmer.evaluation.verdict import WHOM, simple_baseline, verdict
from clmer.pipeline.options.reference import NONE
from clmer.pipeline.share.saved import SavedModel
from clmer.text import score_text

#: Rows of the table beside the model's own and the best simple baseline's.
_PERMUTED = "permuted labels"
_USE = """\
For research on recordings of people who agreed to it: to compare methods, to look at how far such
signals tell such classes, to build on. An answer is a guess whose score stands above, not what a
person feels.

Not for decisions about a person: no diagnosis, no hiring, grading, insuring, policing or watching.
It is no medical device. In the European Union systems that infer emotions at work and in education
are forbidden but for medical and safety reasons (AI Act, Article 5)."""
_LIMITS = (
    "The scores hold for people, devices and tasks like those of the data, prepared in the same "
    "way; elsewhere it has to be tested again.",
    "A probability is what the model says, not how often it is right.",
    "Weights can tell something of the people that a model was trained on, such as whether "
    "somebody took part. Names, files and scores of single people are not in this folder.",
)


def model_card(
    model: SavedModel, *, license: str = "other", about_data: str = "", source: str = ""
) -> str:
    """README.md of a saved model.

    Args:
        model: what is saved.
        license: of the weights, as the Hub spells it ("cc-by-nc-4.0", ...); "other" where none is
            stated.
        about_data: what to say of the recordings: which, their version, their licence.
        source: what `clmer.load` is given; "" for the folder's path.

    Raises:
        ConfigError: the licence is no identifier.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ConfigError(
            f"`license`: found {license!r}, expected an identifier of the Hub such as "
            "cc-by-nc-4.0, apache-2.0 or other"
        )
    front = _yaml(_front(model, license))
    return "\n".join(["---", *front, "---", "", *_text(model, license, about_data, source), ""])


# --- for programs -----------------------------------------------------------------------------
def _front(model: SavedModel, license: str) -> dict[str, Any]:
    """The YAML at the top."""
    modalities = next(iter(model.splits.values())).tokenizer.modalities
    kinds = {kind for each in modalities.values() for kind in each.kinds}
    tags = ["clmer", "emotion-recognition", "biosignals", *sorted({*modalities, *kinds})]
    front: dict[str, Any] = {
        "library_name": "clmer",
        "license": license,
        "tags": [re.sub(r"[^a-z0-9]+", "-", tag.lower()).strip("-") for tag in tags],
    }
    if license == "other":
        front["license_name"] = "not-stated"
    if model.scores is None or _is_part(model):
        return front
    kind, config = kind_of(model.scores), model.config
    row = _row(model.scores, model.name)
    if row is None or row["windows"][kind.main]["value"] is None:
        return front
    metric = f"{kind.title} per window, {_protocol(config.protocol_name)}"
    known = row["windows"][kind.main]
    if known["low"] is not None:
        low, high = score_text(known["low"]), score_text(known["high"])
        metric += f"; 95 % interval over {model.scores['people']} people {low} to {high}"
    result = {
        "task": {"type": "other", "name": _task(model)},
        "dataset": {"name": _data_name(model), "type": config.dataset},
        "metrics": [{"type": kind.main, "value": known["value"], "name": metric}],
    }
    front["metrics"] = [kind.main]
    front["model-index"] = [{"name": _title(model), "results": [result]}]
    return front


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of YAML: mappings, sequences, and scalars as JSON has them."""
    lines = []
    items = value.items() if isinstance(value, Mapping) else [(None, each) for each in value]
    for key, each in items:
        head = f"{indent}-" if key is None else f"{indent}{key}:"
        if isinstance(each, (Mapping, list)) and each:
            inner = _yaml(each, f"{indent}  ")
            if key is None:  # "- name: ..." on one line
                lines += [f"{head} {inner[0].lstrip()}", *inner[1:]]
            else:
                lines += [head, *inner]
        else:
            lines.append(f"{head} {json.dumps(each, ensure_ascii=False)}")
    return lines


# --- for people -------------------------------------------------------------------------------
def _text(model: SavedModel, license: str, about_data: str, source: str) -> list[str]:
    """What stands below the YAML, paragraph by paragraph."""
    return [
        f"# {_title(model)}",
        "",
        *_what(model),
        "",
        "## How to load it",
        "",
        *_how(model, source or "path/to/this/folder"),
        "",
        "## What it takes",
        "",
        *_inputs(model),
        "",
        "## Scores",
        "",
        *_scores(model),
        "",
        "## Intended use",
        "",
        _USE,
        "",
        "## Limits",
        "",
        *[f"- {line}" for line in _limits(model)],
        "",
        "## Data",
        "",
        *_data(model, about_data),
        "",
        "## Licence of the weights",
        "",
        "None was stated: ask whoever shares them." if license == "other" else f"`{license}`",
    ]


def _what(model: SavedModel) -> list[str]:
    """What the model is, a paragraph."""
    config = model.config
    if not model.name:
        what = "Encoders trained without labels (CLMER's stage 1)"
    elif config.target == "rating":
        what = f"A model of the rating `{config.task}`"
    else:
        classes = ", ".join(f"`{name}`" for name in next(iter(model.splits.values())).classes)
        what = f"A classifier of `{config.task}` ({classes})"
    count = len(model.splits)
    several = (
        f"It is the mean of {count} models, one of each split of the protocol, which together were "
        "trained on everyone of the data set."
        if count > 1
        else f"It is the model of one split, {next(iter(model.splits))}."
    )
    return [
        f"{what}, from windows of {_and([*config.modalities])}, trained with CLMER (the Python "
        f"package clmer). {several}"
    ]


def _how(model: SavedModel, source: str) -> list[str]:
    """Lines that load it and ask it."""
    reference = model.config.reference != NONE
    call = "trained.encode(windows)" if not model.name else "trained.predict(windows"
    if model.name:
        call += ", reference=rest)" if reference else ")"
    lines = ["```python", "import clmer", "", f'trained = clmer.load("{source}")']
    lines.append("trained.modalities  # channels, rates and units of what it takes")
    if reference:
        lines.append("# rest: windows of the same person's reference, prepared alike")
    lines += [f"{call}  # windows: {{name: array [N, channels, samples]}}", "```"]
    if model.name:
        names = model.config.modalities
        files = [f"{name}=FILE" for name in names if name not in FACE_TOKENS]
        files += ["--face FACE"] if len(files) < len(names) else []
        files += ["--reference REST"] if reference else []
        lines += [
            "",
            f"`clmer predict {source} {' '.join(files)} --out said.csv` takes a recording,",
        ]
        lines.append("prepares it as the training data were, and answers for every window.")
    return lines


def _inputs(model: SavedModel) -> list[str]:
    """Channels, rates, windows and filters."""
    tokenizer = next(iter(model.splits.values())).tokenizer
    config, filters = model.config, (model.scores or {}).get("filter", {})
    lines = ["| modality | channels | rate | samples per window | unit |", "|---|---|---|---|---|"]
    for name, each in tokenizer.modalities.items():
        many = each.channels if len(each.channels) <= 40 else (*each.channels[:3], "...")
        channels = f"{len(each.channels)}: {' '.join(many)}"
        lines.append(
            f"| {name} | {_escaped(channels)} | {each.fs:g} Hz | {tokenizer.lengths[name]} | "
            f"{each.unit or '-'} |"
        )
    bands = ", ".join(f"{kind} {band}" for kind, band in filters.items())
    lines += [
        "",
        f"Windows of {config.window_s:g} s, a new one every {config.stride_s:g} s; "
        f"`filter={config.filter}`{f' ({bands})' if bands else ''}. "
        + (
            "Everyone's windows are read against a reference of their own "
            f"(`reference={config.reference}`)."
            if config.reference != NONE
            else "Channels are standardised with the statistics of the training windows, which are "
            "in `model.safetensors`."
        ),
    ]
    return lines


def _scores(model: SavedModel) -> list[str]:
    """The table, and what it comes to in words."""
    if model.scores is None:
        return [
            "None: nothing was tested with it, its training was not finished, or only one person "
            "was tested, whose own scores they would be."
        ]
    kind, scores = kind_of(model.scores), model.scores
    whom = WHOM.get(scores["protocol"], "its test part")
    tested = (
        f"The models of all {scores['splits']} splits, each tested" if _is_part(model) else "Tested"
    )
    rows = [_row(scores, model.name)]
    under = {**scores, "main": [model.name]} if rows[0] else scores
    rows += [simple_baseline(under), _row(scores, kind.guess), _row(scores, _PERMUTED)]
    lines = [
        f"{tested} on {whom} ({_protocol(scores['protocol'])}): {scores['people']} people, "
        f"{scores['recordings']} recordings, {scores['windows']} windows. In brackets: "
        f"{scores['interval']}.",
        "",
        f"| model | {kind.title} per window | per recording |",
        "|---|---|---|",
    ]
    lines += [
        f"| {_escaped(row['name'])}{_role(model, row['name'], kind.guess)} | "
        f"{_with_interval(row['windows'][kind.main])} | "
        f"{_with_interval(row['recordings'][kind.main])} |"
        for row in rows
        if row is not None
    ]
    return [*lines, "", *(f"- {line}" for line in verdict(under))]


def _role(model: SavedModel, name: str, guess: str) -> str:
    if name == model.name:
        return "" if _is_part(model) else " (this model)"
    if name == guess:
        return " (knows the training labels alone)"
    return " (a control)" if name == _PERMUTED else " (best simple baseline)"


def _limits(model: SavedModel) -> list[str]:
    lines = list(_LIMITS)
    if model.scores is not None and _is_part(model):
        lines.insert(
            0,
            f"The scores are those of all {model.scores['splits']} splits' models, not of this one "
            "alone, which was trained on some of the people or recordings that they were tested "
            "on.",
        )
    elif model.scores is not None and len(model.splits) > 1:
        lines.insert(
            0,
            f"The scores are those of the {len(model.splits)} splits' models, each on people or "
            "recordings that it was not trained on. Their mean, which is what answers, was trained "
            "on all of them and could not be tested: use it for new people alone.",
        )
    if model.config.init:
        lines.append(
            "Stage 1 started from encoders of another study, whose people it has seen too."
        )
    if model.config.synthetic is not None:
        lines.insert(0, "The recordings are generated: it says nothing of people.")
    return lines


def _data(model: SavedModel, about_data: str) -> list[str]:
    dataset = DATASETS[model.config.dataset]
    lines = [line for line in (dataset.title and f"{dataset.title}.", dataset.terms) if line]
    if model.config.synthetic is not None:
        lines = [f"Generated recordings in the format of {model.config.dataset}; no people."]
    lines += [about_data] if about_data else []
    return lines or [
        "Recordings of the author's own. Nothing was stated of where they come from or under which "
        "licence: ask whoever shares the model."
    ]


# --- words ------------------------------------------------------------------------------------
def _title(model: SavedModel) -> str:
    what = "encoders" if not model.name else _task(model)
    return f"CLMER: {what} from {_and([*model.config.modalities])}"


def _task(model: SavedModel) -> str:
    classes = next(iter(model.splits.values())).classes
    return f"{model.config.task} ({' / '.join(classes) or 'rating'})"


def _data_name(model: SavedModel) -> str:
    config = model.config
    title = DATASETS[config.dataset].title.split(", http")[0]
    return f"{config.dataset}, generated" if config.synthetic else title or "own recordings"


def _is_part(model: SavedModel) -> bool:
    """Whether fewer splits are saved than the scores are of."""
    return model.scores is not None and len(model.splits) < model.scores["splits"]


def _protocol(name: str) -> str:
    return "splits of the author's own" if name == "own" else f"protocol {name}"


def _row(scores: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((row for row in scores["models"] if row["name"] == name), None)


def _with_interval(score: Mapping[str, Any]) -> str:
    value = score_text(score["value"])
    if score["low"] is None or score["high"] is None:
        return value
    return f"{value} [{score_text(score['low'])}, {score_text(score['high'])}]"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
