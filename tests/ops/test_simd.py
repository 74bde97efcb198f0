"""exp and log of the kernels' vectors, compiled as they are and less optimised, at every level."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import clmer
from clmer._native import _C

CSRC = Path(__file__).resolve().parents[2] / "csrc"
#: As in CMakeLists.txt.
LEVELS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": [
        *("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mf16c"),
        "-mprefer-vector-width=512",
    ],
}
#: Prints the largest errors in ulp: exp and log of float, then of double.
HARNESS = """
#include <cmath>
#include <cstdio>
#define CLMER_LEVEL tested
#include "common/simd_vec.h"
using namespace clmer::tested;

template <class T>
double error(Vec<T> (*ours)(Vec<T>), long double (*exact)(long double), double from, double to) {
  const int count = 1 << 18;
  double worst = 0;
  for (int i = 0; i < count; i += kLanes<T>) {
    Vec<T> x;
    for (int l = 0; l < kLanes<T>; ++l) x[l] = T(from + (to - from) * (i + l) / count);
    const Vec<T> y = ours(x);
    for (int l = 0; l < kLanes<T>; ++l) {
      const long double want = exact(x[l]), ulp = sizeof(T) == 4 ? 0x1p-23L : 0x1p-52L;
      const double off = double(std::fabs((y[l] - want) / want) / ulp);
      if (!(off <= worst)) worst = off;
    }
  }
  return worst;
}

int main() {
  std::printf("%g %g %g %g\\n", error<float>(exp<float>, std::exp, -86, 86),
              error<float>(log<float>, std::log, 1.01, 300),
              error<double>(exp<double>, std::exp, -700, 700),
              error<double>(log<double>, std::log, 1.01, 300));
}
"""


@pytest.fixture(scope="module")
def simd_levels_here() -> list[str]:
    """What this processor runs, out of what was built."""
    before = clmer.build_info()["simd_in_use"]
    levels = [level for level in clmer.build_info()["simd_levels"] if _C.set_simd_level(level)]
    _C.set_simd_level(before)
    return levels


@pytest.mark.parametrize("optimisation", ["-O0", "-O1", "-O2 -ffp-contract=off", "-O3"])
@pytest.mark.parametrize("level", LEVELS)
def test_errors_do_not_depend_on_optimisation(level, optimisation, simd_levels_here, tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    if level not in simd_levels_here:
        pytest.skip(f"this processor has no {level}")
    source, program = tmp_path / "harness.cpp", tmp_path / "harness"
    source.write_text(HARNESS)
    options = ["-std=gnu++17", "-Wno-psabi", *optimisation.split(), *LEVELS[level], f"-I{CSRC}"]
    subprocess.run([compiler, *options, str(source), "-o", str(program)], check=True)
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    exp, log, exp_double, log_double = map(float, found.split())
    assert exp < (1.5 + 86 / 40 if level != "baseline" else 2)
    assert exp_double < 2
    assert log < 2
    assert log_double < 2
