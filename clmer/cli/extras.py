"""The optional packages: what each extra is for, which are there, and which can be imported."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

#: What each extra of pyproject.toml is for.
WHAT_FOR = {
    "video": "faces out of videos and cameras (clmer video, clmer predict --face)",
    "live": "live streams over LSL, their page and their recording (clmer live, clmer play)",
    "formats": "recordings of ANT and EGI, and what else MNE needs a package for",
    "xdf": "recordings of LabRecorder (XDF)",
    "bids": "BIDS trees without a manifest (clmer train bids)",
    "riemann": "the baseline on the tangent space of EEG's covariances",
    "triton": "kernels of nt_xent and cross_attention on a GPU",
    "transformers": "cross_attention in Hugging Face transformers",
    "dropin": "the models of other libraries that docs/dropin.md replaces parts of",
    "hub": "models shared on Hugging Face's Hub",
    "onnx": "export of a model with these ops to ONNX",
    "test": "the tests",
    "docs": "the documentation's site",
    "dev": "lint, types and wheels",
}
#: Of those who work on clmer itself: looked for, not imported.
_OURS = ("test", "docs", "dev")
#: Seconds that an import may take.
_LIMIT_S = 60

#: Imports what it is told, one after the other, and says what came of each.
_IMPORT = """if True:
    import importlib, sys
    for name in sys.argv[1:]:
        said = ""
        try:
            importlib.import_module(name)
        except BaseException as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
        print("imported", name, said, sep="\\t", flush=True)
"""


@dataclass(frozen=True)
class Package:
    """One package of an extra.

    Args:
        name: of the distribution.
        version: "" where it is not installed.
        error: what its import said; "" for nothing, or where it was not tried.
    """

    name: str
    version: str
    error: str = ""


def extras_of(requirements: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The distributions of each extra.

    Args:
        requirements: of a distribution's metadata: `av>=17; extra == "video"`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        if name and extra:
            found[extra[1]] = (*found.get(extra[1], ()), name[0])
    return found


def look(extras: Mapping[str, Iterable[str]], tries: bool) -> dict[str, list[Package]]:
    """Which packages of each extra are there, and what their import says.

    Args:
        extras: see `extras_of`.
        tries: import them, in a process of their own.
    """
    versions = {name: version_of(name) for names in extras.values() for name in names}
    wanted = {n for extra, names in extras.items() if extra not in _OURS for n in names}
    modules = modules_of({name for name in wanted if versions[name]}) if tries else {}
    errors = import_all(modules.values())
    return {
        extra: [Package(n, versions[n], errors.get(modules.get(n, ""), "")) for n in names]
        for extra, names in extras.items()
    }


def modules_of(names: Collection[str]) -> dict[str, str]:
    """What to import of each distribution: the module of its name, or else the first it has."""
    found: dict[str, str] = {}
    for module, owners in sorted(metadata.packages_distributions().items()):
        if module.isidentifier() and not module.startswith("_"):
            for name in names:
                if _plain(name) in map(_plain, owners):
                    found[name] = (
                        module if _plain(module) == _plain(name) else found.get(name, module)
                    )
    return found


def version_of(name: str) -> str:
    """A distribution's version; "" where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def import_all(modules: Iterable[str], limit_s: float = _LIMIT_S) -> dict[str, str]:
    """What the import of each module says: "" for nothing.

    One that ends Python is told too, and one that alone takes longer than `limit_s`.
    """
    left, said = sorted(set(modules)), {}
    while left:
        first = left[0]
        printed, why = _import(left, limit_s)
        for line in printed.splitlines():
            mark, _, rest = line.partition("\t")
            name, _, error = rest.partition("\t")
            if mark == "imported" and name in left:
                said[name] = error
        left = [name for name in left if name not in said]
        if first in left:  # nothing before it took of its time
            said[first] = why
            left = left[1:]
    return said


def _import(modules: Sequence[str], limit_s: float) -> tuple[str, str]:
    """What a process prints that imports them, and how it ended."""
    words = [sys.executable, "-c", _IMPORT, *modules]
    try:
        ran = subprocess.run(words, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired as late:
        printed, why = late.stdout or b"", f"its import took longer than {limit_s:g} s"
    else:
        printed, why = ran.stdout, f"its import ended Python (exit code {ran.returncode})"
    return printed.decode(errors="replace"), why
