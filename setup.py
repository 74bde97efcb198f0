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
        configure = [
            "cmake",
            f"-S{ROOT}",
            f"-B{build}",
            "-GNinja",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DCLMER_OUTPUT={in_tree.parent}",
            f"-DCLMER_TEST_MODULE={'OFF' if is_distribution else 'ON'}",
            f"-DCLMER_CUDA={os.environ.get('CLMER_CUDA', 'AUTO')}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        build.mkdir(parents=True, exist_ok=True)
        (build / "CMakeCache.txt").unlink(missing_ok=True)  # build isolation moves its tools
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", build], check=True)
        if in_tree != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(in_tree, target)


setup(ext_modules=[Extension("clmer._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
