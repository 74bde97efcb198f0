"""Triton's kernels compiled for GPUs that are not there: tools/compile_triton.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import needs_triton

ROOT = Path(__file__).resolve().parents[2]
#: Each kernel and precision at least once; .ci/run compiles all variants for all architectures.
SOME = (
    r"collect_sums.*BOUNDED=False, WHOLE=True|unit_rows\[bf16, fp32.*BLOCK_F=256"
    r"|view_gradients\[fp32.*BLOCK_F=64|sum_pairs\[fp32; OWN=False.*BLOCK=64"
    r"|(sum_pairs\[bf16; OWN=True|weigh_pairs\[bf16).*BOUNDED=True, BLOCK=128"
    r"|row_gradients\[bf16; .*BLOCK_M=16.*BLOCK_D=64"
    r"|^(project|merge|feed)_.* 80 fp32 tf32x3 dropout|sum_parts fp32"
)


def compile_triton(*arguments, code=None):
    tool = ["tools/compile_triton.py"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, "-W", "ignore", *tool, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tools'}"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
@needs_triton
def test_variants_compile_and_fit():
    run = compile_triton("--rotate", "--only", SOME)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert re.fullmatch(r"\d+ variants, 0 failures", lines[-1])
    kernels = {re.split(r"[\[ ]", line)[0] for line in lines[:-1]}
    assert kernels == {
        *("collect_sums", "unit_rows", "view_gradients", "sum_pairs", "row_gradients"),
        *("weigh_pairs", "sum_parts", "project_forward", "project_grad_rows", "merge_forward"),
        *("merge_grad_rows", "feed_forward_rows", "feed_grad_rows", "project_grad_weights"),
        *("merge_grad_weights", "feed_grad_weights"),
    }
    assert all(re.search(r"\d+ B shared, \d+ registers", line) for line in lines[:-1])


TOO_LARGE = """
import sys, compile_triton
compile_triton.SHARED[80] = 16
sys.exit(compile_triton.main(["--architectures", "80", "--only", "view_gradients.bf16.*256"]))
"""
NOT_COMPILING = """
import sys, compile_triton
from clmer.kernels.ntxent import variants
bad = next(v for v in variants() if v.name.startswith("weigh_pairs[bf16"))
bad = bad._replace(constexprs={**bad.constexprs, "BLOCK_K": 8})
compile_triton.all_variants = lambda: iter([bad])
sys.exit(compile_triton.main(["--architectures", "90"]))
"""


@needs_triton
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (TOO_LARGE, r"view_gradients\[bf16.* for 80: \d+ B shared, > 16"),
        (NOT_COMPILING, r"weigh_pairs\[bf16.* for 90: "),
    ],
)
def test_failures_are_named(code, said):
    run = compile_triton(code=code)
    assert run.returncode == 1, run.stdout
    assert re.search(said, run.stderr)
