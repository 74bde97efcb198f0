"""Compiles every Triton kernel as it may be launched, without a GPU; fails where one does not fit.

    python tools/compile_triton.py [--architectures 80 90 100] [--only REGEX] [--rotate]

One line per variant: its name, architecture, shared memory and registers, and the bytes of stack
that a thread has, which is where spilled registers go. Exits 1, with the variant's name, where one
does not compile or wants more shared memory than a block may have there. --rotate gives each
variant one architecture, in turn.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from clmer.kernels._launch import Variant

#: Bytes of shared memory a block may have, by architecture.
SHARED = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
_CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def all_variants() -> Iterator[Variant]:
    """Those of every module of kernels that has some."""
    for op in ("attention", "ntxent", "sublayer"):
        if importlib.util.find_spec(f"clmer.kernels.{op}") is not None:
            page = importlib.import_module(f"clmer.kernels.{op}")
            if hasattr(page, "variants"):
                yield from page.variants()


def compiled(variant: Variant, architecture: int) -> Any:
    """The kernel for one architecture, all its pointers aligned to 16 bytes, as torch's are."""
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, kind in enumerate(variant.signature.values())
        if kind.startswith("*")
    }
    source = ASTSource(variant.kernel, variant.signature, variant.constexprs, aligned)
    target = GPUTarget("cuda", architecture, 32)
    return triton.compile(source, target=target, options=variant.options)


def resources(built: Any) -> str:
    """Registers and stack of a thread, where Triton came with NVIDIA's tool that tells them."""
    if not _CUOBJDUMP.exists():
        return "registers not known: Triton has no cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [_CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", said.stdout)
    if found is None:
        return f"registers not known: {(said.stderr or said.stdout).strip()}"
    return f"{found[1]} registers, {found[2]} bytes of stack"


def main(arguments: list[str] | None = None) -> int:
    """Compile, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architectures", nargs="+", type=int, default=[*SHARED], choices=SHARED)
    parser.add_argument("--only", default="", help="a regular expression for variants' names")
    parser.add_argument("--rotate", action="store_true", help="one architecture per variant")
    asked = parser.parse_args(arguments)
    chosen = [each for each in all_variants() if re.search(asked.only, each.name)]
    failed = []
    for at, variant in enumerate(chosen):
        each = asked.architectures
        for architecture in each[at % len(each) :][:1] if asked.rotate else each:
            try:
                built = compiled(variant, architecture)
            # every stage of the compiler has errors of its own: MLIR's are RuntimeErrors
            except (triton.TritonError, RuntimeError, ValueError, TypeError) as error:
                failed.append(f"{variant.name} for {architecture}: {error}")
                continue
            shared, limit = built.metadata.shared, SHARED[architecture]
            print(f"{variant.name} {architecture}: {shared} B shared, {resources(built)}")
            if shared > limit:
                failed.append(f"{variant.name} for {architecture}: {shared} B shared, > {limit}")
    print(f"{len(chosen)} variants, {len(failed)} failures")
    for failure in failed:
        print(failure, file=sys.stderr)
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
