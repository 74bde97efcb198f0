"""What any installation must hold; `.ci/check_wheel` tries the forms of installing themselves."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clmer

PACKAGE = Path(clmer.__file__).parent
REPO = Path(__file__).resolve().parents[1]


def test_kernels_are_importable_as_clmer_kernels():
    stems = [file.stem for file in (PACKAGE / "kernels").glob("*.py")]
    assert stems
    for stem in stems:
        spec = importlib.util.find_spec(f"clmer.kernels.{stem}")
        assert spec is not None
        assert Path(spec.origin) == PACKAGE / "kernels" / f"{stem}.py"


def test_kernels_is_a_symlink_to_a_folder_that_is_no_package():
    if not (REPO / ".git").exists():
        pytest.skip("not a clone")
    assert os.readlink(REPO / "clmer" / "kernels") == "../kernels"
    assert not (REPO / "kernels" / "__init__.py").exists()


def test_the_clones_kernels_shadow_nothing(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("owner = 'another project'\n")
    code = "import kernels; print(kernels.owner)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "another project\n", done.stderr


def test_every_package_is_listed():
    text = (REPO / "pyproject.toml").read_text()
    listed = set(re.findall(r'"([\w.]+)"', re.search(r"\npackages = \[(.*?)\]", text, re.S)[1]))
    files = (REPO / "clmer").rglob("*.py")
    found = {".".join(file.parent.relative_to(REPO).parts) for file in files}
    assert listed == found | {"clmer.kernels"}  # rglob may not follow the symlink


def test_build_info():
    info = clmer.build_info()
    assert info["simd_levels"][0] == "baseline"
    assert info["simd_in_use"] in info["simd_levels"]
    assert re.match(r"(GNU|Clang|AppleClang) \d+", info["compiler"])
    assert bool(info["cuda"]) == bool(info["cuda_architectures"])
    assert isinstance(info["cuda_available"], bool)


def test_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.S)
    names: dict = {}
    exec(code, names)
    assert names["y"].shape == (6, 64, 5, 50, 8)
    assert names["more"].shape == (32, 16)
    assert names["loss"].ndim == 0
