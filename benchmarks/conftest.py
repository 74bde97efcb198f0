"""Prints every benchmark's table once, after all of them, with the machine it was made on."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from _measure import MAX_DRIFT, TABLES

import clmer
from clmer._native import _C


def pytest_addoption(parser: pytest.Parser) -> None:
    levels = clmer.build_info()["simd_levels"]
    parser.addoption("--simd", choices=levels, help="SIMD level of our kernels")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # pytest-benchmark's own table would show one round of everything; its JSON stays.
    config.option.benchmark_quiet = True
    level = config.option.simd
    if level and not _C.set_simd_level(level):
        raise pytest.UsageError(f"--simd {level}: this processor has no {level}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write = terminalreporter.write_line
    for title, table in TABLES.items():
        terminalreporter.section(title)
        write(machine())
        write("")
        for line in (*table.markdown(), *table.summary()):
            write(line)
    if any("VOID" in cell for t in TABLES.values() for row in t.rows for cell in row.values()):
        write("")
        write(
            f"VOID: the rate of a matrix product changed by more than {MAX_DRIFT:.0%} during the "
            "row: something else was running."
        )


def machine() -> str:
    """Processor, threads, SIMD level and torch, in one line."""
    names = []
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    build = clmer.build_info()
    return (
        f"{names[0] if names else platform.machine()}; {torch.get_num_threads()} threads; "
        f"{build['simd_in_use']}; torch {torch.__version__}"
    )
