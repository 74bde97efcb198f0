"""What any installation must hold; `.ci/check_wheel` tries the forms of installing themselves."""

import importlib.metadata
import importlib.util
import json
import os
import re
import resource
import runpy
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import torch

import clmer
import clmer.kernels
from clmer._native import _C
from clmer.cli import COMMANDS
from clmer.data import choices
from clmer.data.choices import files
from clmer.data.face.windows import FACE_TOKENS
from clmer.data.formats.biosignal import SUFFIXES
from clmer.data.registry import DATASETS
from clmer.data.splits import note_of
from clmer.data.synthetic import WRITERS
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
    assert "CLMER_CUDA=" in info["cuda_why"] or "torch" in info["cuda_why"]
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


#: What takes a command more than a blink to import, and its options do not need.
HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "mne", "pandas", "PIL", "safetensors"}


def imported(*words: str) -> tuple[set[str], int]:
    """The top-level packages that `python -m` with these words imports, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *words],
        capture_output=True,
        text=True,
        timeout=300,
    )
    names = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.M)
    return {name.partition(".")[0] for name in names}, done.returncode


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("clmer --help", 0),
        ("clmer --version", 0),
        ("clmer.train --help", 0),
        ("clmer.train deap --help", 0),
        *((f"clmer {command} --help", 0) for command in COMMANDS),
        ("clmer trian", 2),
        ("clmer train daep", 2),
        ("clmer train deap --synthtic", 2),
        ("clmer train deap --window wide", 2),
        ("clmer inspect deap --bogus", 2),
        ("clmer predict --bogus", 2),
        ("clmer experiments tabel1", 2),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(words: str, code: int) -> None:
    """Each of these takes seconds to import, and `--help` is what a newcomer types first."""
    names, ended = imported(*words.split())
    assert "argparse" in names  # the lines of -X importtime were read
    assert names & HEAVY == set()
    assert ended == code


def test_help_takes_half_a_second_of_a_processor_at_most() -> None:
    """CPU time, which other processes on the machine do not lengthen; usually a tenth of it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "clmer.train", "--help"], stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_what_options_take_is_what_there_is() -> None:
    assert set(choices.DATASET_NAMES) == set(DATASETS)
    assert set(choices.GENERATED) == set(WRITERS)
    assert all(map(note_of, choices.PROTOCOLS))
    assert files.SUFFIXES == SUFFIXES
    assert set(choices.IMAGES) <= set(FACE_TOKENS)


def in_setup(name: str) -> Any:
    """What setup.py calls by a name."""
    if not (REPO / "setup.py").is_file():
        pytest.skip("not a clone")
    pytest.importorskip("setuptools", minversion="77")
    return runpy.run_path(str(REPO / "setup.py"))[name]


_CPU, _GPU = {"version": "2.9.0+cpu", "cuda": None}, {"version": "2.9.0", "cuda": "12.8"}


@pytest.mark.parametrize(
    ("asked", "torch_there", "option", "why"),
    [
        ("", _GPU, "AUTO", "torch 2.9.0 was there, with CUDA 12.8"),
        ("AUTO", _CPU, "OFF", "torch 2.9.0+cpu was there, which has no CUDA"),
        ("", None, "OFF", "no torch was found"),
        ("ON", _CPU, "ON", "CLMER_CUDA=ON"),
        ("OFF", _GPU, "OFF", "CLMER_CUDA=OFF"),
    ],
)
def test_cuda_is_built_where_torch_has_it_or_where_it_is_asked_for(
    asked: str, torch_there: dict[str, Any] | None, option: str, why: str
) -> None:
    chosen = in_setup("choose_cuda")(asked, lambda: torch_there)
    assert chosen.option == option
    assert why in chosen.why
    assert not set(chosen.why) & set(';"$\\')  # CMake and the compiler are told it


def test_another_word_for_cuda_is_refused() -> None:
    with pytest.raises(SystemExit, match="CLMER_CUDA: found 'yes', expected ON, OFF or AUTO"):
        in_setup("choose_cuda")("yes", lambda: None)


def test_the_torch_of_an_environment_is_found_from_within_build_isolation(tmp_path: Path) -> None:
    """Isolation puts folders of its own before the environment's, by PYTHONPATH."""
    venv.create(tmp_path / "target", symlinks=True)
    python = tmp_path / "target" / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = [python, "-c", code]
    site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    hidden = tmp_path / "isolation" / "torch"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("")  # with PYTHONPATH it would be found, and no version.py
    code = f"""if True:
        import json, runpy, sys
        sys.path += {[each for each in sys.path if each]!r}
        sys.argv[0] = "setup.py"
        look = runpy.run_path({str(REPO / "setup.py")!r})["torch_at_hand"]
        print(json.dumps(look()))
    """

    def found() -> Any:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(hidden.parent)}
        ran = subprocess.run(
            [python, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(ran.stdout)

    in_setup("torch_at_hand")
    assert found() is None
    (site / "torch").mkdir()
    assert found() is None  # what is left of another torch
    (site / "torch" / "__init__.py").write_text("raise RuntimeError('never imported')")
    (site / "torch" / "version.py").write_text("__version__ = '2.9.0'\ncuda = '12.8'\n")
    assert found() == _GPU
