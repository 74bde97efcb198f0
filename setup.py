"""Builds `clmer._C` with CMake; everything else is in pyproject.toml.

The extension links no torch, so build isolation works and one binary serves every torch >= 2.9.
`CLMER_CUDA=ON|OFF|AUTO` and any `CMAKE_ARGS` are passed on. AUTO, the default, leaves the CUDA
kernels out where they could not be used: they take most of the build's time.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent

#: Prints which torch an interpreter would import, and its CUDA; imports nothing of it.
_LOOK = """if True:
    import importlib.util, json, pathlib, runpy
    spec = importlib.util.find_spec("torch")
    known = pathlib.Path(spec.origin or "").with_name("version.py") if spec else None
    if known is not None and known.is_file():
        said = runpy.run_path(str(known))
        print(json.dumps({"version": said.get("__version__"), "cuda": said.get("cuda")}))
"""


class Cuda(NamedTuple):
    """What CMake is told of the CUDA kernels, and why."""

    option: str
    why: str


def torch_at_hand() -> dict[str, Any] | None:
    """Version and CUDA ("12.8", or None) of the torch that clmer is built for; None without one.

    Build isolation hides it from this process by PYTHONPATH alone: pip runs this file with the
    interpreter of the environment that it installs into, which without that variable sees its own
    packages. Front ends that build with another interpreter leave $VIRTUAL_ENV.
    """
    interpreters = [sys.executable]
    if "VIRTUAL_ENV" in os.environ:
        interpreters.append(str(Path(os.environ["VIRTUAL_ENV"], "bin", "python")))
    for interpreter in interpreters:
        if os.access(interpreter, os.X_OK):
            words = [interpreter, "-E", "-c", _LOOK]
            ran = subprocess.run(words, cwd=sys.prefix, stdout=subprocess.PIPE, check=False)
            lines = ran.stdout.decode().splitlines()  # of sitecustomize, too
            if ran.returncode == 0 and lines and lines[-1].startswith('{"version"'):
                found: dict[str, Any] = json.loads(lines[-1])
                return found
    return None


def choose_cuda(asked: str, look: Callable[[], dict[str, Any] | None]) -> Cuda:
    """Whether to build the CUDA kernels.

    Args:
        asked: $CLMER_CUDA; "" where it is not set.
        look: `torch_at_hand`, which is asked where `asked` leaves it open.

    Raises:
        SystemExit: `asked` is none of its words.
    """
    if asked in ("ON", "OFF"):
        return Cuda(asked, f"CLMER_CUDA={asked}")
    if asked not in ("", "AUTO"):
        sys.exit(f"CLMER_CUDA: found {asked!r}, expected ON, OFF or AUTO")
    torch = look()
    if torch is None:
        return Cuda("OFF", "no torch was found, CLMER_CUDA=ON builds them without")
    if torch["cuda"] is None:
        return Cuda("OFF", f"torch {torch['version']} was there, which has no CUDA")
    return Cuda("AUTO", f"torch {torch['version']} was there, with CUDA {torch['cuda']}")


class CMakeBuild(build_ext):
    """Runs CMake, which leaves its modules in the source tree; only `_C` is packaged.

    `python -m clmer.train` inside a clone imports the tree's own `clmer/`, also after a plain
    `pip install .`: without a `_C` there it would find none. `_C_test` is what only the tests call;
    they look for it there. A source distribution builds none.
    """

    def build_extension(self, ext: Extension) -> None:
        """Configure and build, then copy the one module that is packaged."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        in_tree = ROOT / "clmer" / target.name
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        is_distribution = (ROOT / "PKG-INFO").exists()
        cuda = choose_cuda(os.environ.get("CLMER_CUDA", ""), torch_at_hand)
        configure = [
            "cmake",
            f"-S{ROOT}",
            f"-B{build}",
            "-GNinja",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DCLMER_OUTPUT={in_tree.parent}",
            f"-DCLMER_TEST_MODULE={'OFF' if is_distribution else 'ON'}",
            f"-DCLMER_CUDA={cuda.option}",
            f"-DCLMER_CUDA_WHY={cuda.why}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        build.mkdir(parents=True, exist_ok=True)
        (build / "CMakeCache.txt").unlink(missing_ok=True)  # build isolation moves its tools
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", build], check=True)
        if in_tree != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(in_tree, target)


if __name__ == "__main__":
    setup(ext_modules=[Extension("clmer._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
