"""The site's parts that need no Sphinx: links, docstrings, what the API pages and scripts hold."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT

import clmer
from clmer import nn, ops, signal

DOCS, GALLERY = ROOT / "docs", ROOT / "examples" / "gallery"
pytestmark = pytest.mark.skipif(
    not (DOCS.is_dir() and GALLERY.is_dir()), reason="docs/ and examples/ are not beside the tests"
)
SCRIPTS = sorted(GALLERY.glob("plot_*.py"))
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports one of docs/_extensions/ by name."""
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("written", "led"),
    [
        ("[a](data.md#manifest)", "[a](data.md#manifest)"),
        ("[data.md](data.md#manifest)", "[](data.md#manifest)"),
        ("[how](../CONTRIBUTING.md#adding-an-op)", "[how](contributing.md#adding-an-op)"),
        ("[all](../examples/gallery)", "[all](gallery/index.rst)"),
        ("[one](../examples/gallery/plot_2_mne.py)", "[one](gallery/plot_2_mne.rst)"),
        ("[walk](../examples/walk.py)", "[walk](path:../examples/walk.py)"),
        ("[x](https://example.org/a.md)", "[x](https://example.org/a.md)"),
    ],
)
def test_links_lead_to_what_the_site_has(extension: Any, written: str, led: str) -> None:
    links = extension("repository_links")
    assert links.rewrite(written, DOCS / "use.md", ROOT, "") == led


def test_links_lead_to_a_repository_that_is_named(extension: Any) -> None:
    links = extension("repository_links")
    text = links.rewrite("[walk](../examples/walk.py)", DOCS / "use.md", ROOT, "https://host/main")
    assert text == "[walk](https://host/main/examples/walk.py)"
    with pytest.raises(FileNotFoundError, match=r"use\.md: found a link to \.\./nothing\.py"):
        links.rewrite("[a](../nothing.py)", DOCS / "use.md", ROOT, "")


def test_equations_and_code_of_docstrings_keep_their_lines(extension: Any) -> None:
    text = """Sum.

    L = sum_i x_i
      + 1

So:

    y = f(x)

    z = g(y)

Args:
    a, b,
        c: numbers.
""".splitlines()
    assert extension("docstrings").as_blocks(text) == [
        *("Sum.", ""),
        *(".. code-block:: text", "    :class: plain-equation", ""),
        *("    L = sum_i x_i", "      + 1", "", "", "So:", ""),
        *(".. code-block:: python", "", "    y = f(x)", "", "    z = g(y)", "", ""),
        *("Args:", "    a, b, c: numbers."),
    ]


def test_names_lead_to_the_one_that_has_them(extension: Any) -> None:
    full_name = extension("docstrings").full_name
    known = ["clmer.ops.nt_xent", "clmer.ops.sosfilt", "clmer.signal.sosfilt"]
    assert full_name("nt_xent", known) == "clmer.ops.nt_xent"
    assert full_name("sosfilt", known) is None
    assert full_name("xent", known) is None


@pytest.mark.parametrize("module", [clmer, ops, signal, nn], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_api(module: Any) -> None:
    pages = "\n".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.rst"))
    named = set(re.findall(r"[\w.]+", pages))
    last = {name.rpartition(".")[2] for name in named}
    modules = {"data", "nn", "ops", "signal", "__version__"}
    assert set(module.__all__) - modules - last == set()


def test_ci_installs_the_extra_docs_at_fixed_versions() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (extra,) = re.findall(r"^docs = \[(.*)\]$", project, re.M)
    names = set(re.findall(r'"([\w-]+)', extra)) - {"transformers"}  # of the extra test, too
    (line,) = re.findall(
        r"^pip install -q (.*)  # of the extra docs$", (ROOT / ".ci/run").read_text(), re.M
    )
    assert set(line.split()) == names
    fixed = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")
    assert names <= set(re.findall(r"^([\w-]+)==", fixed, re.M))


def test_every_page_is_in_one_toctree() -> None:
    trees = re.findall(
        r"```{toctree}\n(.*?)```",
        "".join(p.read_text(encoding="utf-8") for p in DOCS.glob("*.md")),
        re.S,
    )
    listed = [line for tree in trees for line in tree.split("\n") if line and line[0] != ":"]
    pages = [page.stem for page in DOCS.glob("*.md") if page.stem != "index"]
    assert sorted(listed) == sorted([*pages, "gallery/index", "api/index"])


def test_from_mne_to_a_picture_in_under_20_lines() -> None:
    text = (GALLERY / "plot_2_mne.py").read_text(encoding="utf-8")
    cell = text.split("\nimport clmer\n")[1].split("\n# %%")[0]
    lines = ["import clmer", *(line for line in cell.splitlines() if line.strip())]
    assert len(lines) < 20
    assert "groups=people" in cell
    assert lines[-1].startswith("plt.")
    assert f"in {len(lines)} lines" in " ".join(text.split())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_scripts_of_the_gallery_have_a_title_and_a_picture(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    title, line, *_ = (ast.get_docstring(tree) or "").splitlines()
    assert re.fullmatch("=+", line)
    assert len(line) == len(title)
    calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert calls & {"subplots", "bar"}


_BLOCKS = _PYTHON.findall((DOCS / "requested.md").read_text(encoding="utf-8")) if SCRIPTS else []


@pytest.mark.parametrize("number", range(len(_BLOCKS)))
def test_answers_to_requests_run(number: int) -> None:
    exec(compile(_BLOCKS[number], "requested.md", "exec"), {"__name__": __name__})
