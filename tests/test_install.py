"""What any installation must hold; `.ci/check_wheel` tries the forms of installing themselves."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import clmer
import clmer.kernels
from clmer._native import _C
from clmer.ops import _dispatch

REPO = Path(__file__).resolve().parents[1]


def test_kernels_are_importable_as_clmer_kernels():
    (folder,) = clmer.kernels.__path__
    stems = [file.stem for file in Path(folder).glob("[!_]*.py")]
    assert "attention" in stems
    for stem in stems:
        spec = importlib.util.find_spec(f"clmer.kernels.{stem}")
        assert spec is not None
        assert Path(spec.origin) == Path(folder, f"{stem}.py")


def test_a_clones_kernels_are_its_top_folder():
    """Without a symlink, which zip downloads and Windows checkouts break; and not as a package."""
    if not (REPO / "kernels").is_dir():
        pytest.skip("not a clone")
    code = "import clmer.kernels._precision as a; print(a.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert Path(done.stdout.rstrip("\n")) == REPO / "kernels" / "_precision.py", done.stderr
    assert not (REPO / "clmer" / "kernels").is_symlink()
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


def test_every_folder_of_modules_is_a_package():
    """Those alone are found when a wheel is made."""
    folders = {file.parent for file in (REPO / "clmer").rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_a_wheel_would_hold_the_modules_and_the_kernels_alone(tmp_path):
    """What setuptools would put into one beside `_C`, without building anything."""
    pytest.importorskip("setuptools", minversion="77")
    if not (REPO / "setup.py").is_file():
        pytest.skip("not a clone")
    code = """if True:
        import sys
        from setuptools import Distribution
        distribution = Distribution({"script_name": "setup.py"})
        distribution.parse_config_files()
        command = distribution.get_command_obj("build_py")
        command.build_lib = sys.argv[1]
        command.ensure_finalized()
        print(*command.get_outputs(include_bytecode=False), sep="\\n")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(tmp_path))]
    held = {Path(line).relative_to(tmp_path).as_posix() for line in lines}
    modules = {file.relative_to(REPO).as_posix() for file in (REPO / "clmer").rglob("*.py")}
    kernels = {f"clmer/kernels/{file.name}" for file in (REPO / "kernels").glob("*.py")}
    stubs = {"clmer/py.typed", "clmer/_C.pyi"}
    assert held == modules - {"clmer/kernels/__init__.py"} | kernels | stubs, done.stderr


def test_what_is_installed_has_nothing_that_only_tests_call():
    try:
        files = importlib.metadata.files("clmer") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("clmer is not installed: it is imported from the clone")
    assert not [file for file in files if file.name.startswith("_C_test")]


def test_the_stub_names_what_the_module_has():
    stub = REPO / "clmer" / "_C.pyi"
    if not stub.is_file():
        pytest.skip("not a clone")
    public = {name for name in dir(_C) if not name.startswith("_")}
    assert public == set(re.findall(r"^(?:def|class) (\w+)", stub.read_text(), re.M))


def test_build_info():
    info = clmer.build_info()
    assert info["simd_levels"][0] == "baseline"
    assert info["simd_in_use"] in info["simd_levels"]
    assert re.match(r"(GNU|Clang|AppleClang) \d+", info["compiler"])
    assert bool(info["cuda"]) == bool(info["cuda_architectures"])
    assert isinstance(info["cuda_available"], bool)


def test_the_readme_runs():
    code = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.S)
    names: dict = {}
    exec("".join(code), names)
    assert names["y"].shape == (6, 64, 5, 50, 8)
    assert names["more"].shape == (32, 16)
    assert names["loss"].ndim == 0


def test_importing_it_imports_no_compiler() -> None:
    """torch._dynamo takes as long as torch itself."""
    code = "import sys, clmer; print('torch._dynamo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_constants_are_marked_as_torch_marks_them() -> None:
    def answer() -> bool:
        return True

    marked = vars(torch.compiler.assume_constant_result(answer)).copy()
    assert vars(_dispatch.has_triton) == marked == {"_dynamo_marked_constant": True}
