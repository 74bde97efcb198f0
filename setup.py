"""Builds `clmer._C` with CMake; everything else is in pyproject.toml.

The extension links no torch, so build isolation works and one binary serves every torch >= 2.9.
`CLMER_CUDA=ON|OFF|AUTO` and any `CMAKE_ARGS` are passed on.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Runs CMake, and leaves the module in the source tree as well.

    `python -m clmer.train` inside a clone imports the tree's own `clmer/`, also after a plain
    `pip install .`: without the copy it would find no `_C` there.
    """

    def build_extension(self, ext: Extension) -> None:
        """Configure and build the one module, then copy it beside the Python sources."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        configure = [
            "cmake",
            f"-S{ROOT}",
            f"-B{build}",
            "-GNinja",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DCLMER_OUTPUT={target.parent}",
            f"-DCLMER_CUDA={os.environ.get('CLMER_CUDA', 'AUTO')}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        build.mkdir(parents=True, exist_ok=True)
        (build / "CMakeCache.txt").unlink(missing_ok=True)  # build isolation moves its tools
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", build], check=True)
        in_tree = ROOT / "clmer" / target.name
        if in_tree != target:
            shutil.copy2(target, in_tree)


setup(ext_modules=[Extension("clmer._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
