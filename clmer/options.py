"""Options as fields of a dataclass: default, help, choices and range in one place.

    @dataclass(frozen=True)
    class PrepareOptions:
        window_s: float = option(1.0, help="window length in seconds", flag="--window", above=0)

The command line, Python callers, `config.json` and the tables of the documentation are made from
them. Messages of the library name an argument in backticks, `` `window_s` `` or
`` `contrastive=False` ``; the command line says its flag instead (`in_flags`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from clmer.errors import ConfigError


@dataclass(frozen=True)
class Spec:
    """What is known of an option beside its name, type and default.

    Args:
        help: one line for a person, without a full stop.
        flag: on the command line; "" where it has none.
        metavar: what stands for its value there.
        group: heading on the command line.
        choices: the words that it takes; a function where they are known late.
        least, most: its range, both ends included.
        above, below: its range, the ends left out.
    """

    help: str
    flag: str
    metavar: str = ""
    group: str = ""
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The choices; none where any value goes."""
        return tuple(self.choices() if callable(self.choices) else self.choices)


def option(default: Any = MISSING, *, help: str, flag: str | None = None, **known: Any) -> Any:
    """A dataclass field that is an option.

    Args:
        default: of the field; none where it must be given.
        help: see `Spec`.
        flag: "" for none on the command line; None for the name with "--" before it.
        **known: the other fields of `Spec`.
    """
    return field(default=default, metadata={"option": (help, flag, known)})


def specs(cls: type) -> dict[str, Spec]:
    """The options among a dataclass's fields, by name."""
    found = {}
    for each in fields(cls):
        if "option" in each.metadata:
            help, flag, known = each.metadata["option"]
            flag = "--" + each.name.replace("_", "-") if flag is None else flag
            found[each.name] = Spec(help, flag, **known)
    return found


def check(options: Any) -> None:
    """Hold every option against its choices and range.

    Raises:
        ConfigError: one is outside; the message names the argument, what was found and expected.
    """
    for name, spec in specs(type(options)).items():
        value = getattr(options, name)
        if value is None:
            continue
        each = value if isinstance(value, tuple) else (value,)
        if spec.words and not set(spec.words).issuperset(each):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else repr(value)
            some = "some of " if isinstance(value, tuple) else ""
            raise ConfigError(
                f"`{name}`: found {shown}, expected {some}{_either(spec.words, some != '')}"
            )
        expected = _range(spec)
        if expected and not all(_is_within(number, spec) for number in each):
            raise ConfigError(f"`{name}`: found {value!r}, expected {expected}")


def _either(words: Sequence[str], several: bool) -> str:
    return (", " if several else " or ").join(words)


def _is_within(number: Any, spec: Spec) -> bool:
    if not isinstance(number, Real) or isinstance(number, bool):
        return False
    value = float(number)
    return (
        (spec.least is None or value >= spec.least)
        and (spec.most is None or value <= spec.most)
        and (spec.above is None or value > spec.above)
        and (spec.below is None or value < spec.below)
        and not math.isnan(value)
    )


def _range(spec: Spec) -> str:
    """The range in words; "" where every number goes."""
    low = "" if spec.least is None else f"at least {spec.least:g}"
    low = low if spec.above is None else f"above {spec.above:g}"
    high = "" if spec.most is None else f"at most {spec.most:g}"
    high = high if spec.below is None or spec.below == math.inf else f"below {spec.below:g}"
    return " and ".join(part for part in (low, high) if part)


def check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number.

    Raises:
        ConfigError: it is not one.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"`{name}`: found {value!r}, expected a whole number")


def to_argv(cls: type, values: Mapping[str, Any]) -> list[str]:
    """Values of a dataclass's options as words of a command line; None is left out.

    Raises:
        KeyError: a name is no option with a flag.
    """
    known = {name: spec.flag for name, spec in specs(cls).items() if spec.flag}
    words: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(known[name] if value else known[name].replace("--", "--no-", 1))
        else:
            words += [known[name], _word(value)]
    return words


def _word(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(_word(each) for each in value)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def flags(classes: Iterable[type]) -> dict[str, str]:
    """The flag of every option that has one, by the argument's name."""
    return {name: spec.flag for cls in classes for name, spec in specs(cls).items() if spec.flag}


def in_flags(message: str, known: Mapping[str, str]) -> str:
    """A message of the library in the command line's words.

    Args:
        message: names arguments in backticks: `` `window_s` ``, `` `graph=True` ``.
        known: the flag of each argument; others stay as they are.
    """

    def flag(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name not in known:
            return found[0]
        if value in ("True", "False"):
            return known[name] if value == "True" else known[name].replace("--", "--no-", 1)
        return known[name] if value is None else f"{known[name]} {value}"

    return re.sub(r"`(?P<name>[a-z_]+)(=(?P<value>[^`]*))?`", flag, message)
