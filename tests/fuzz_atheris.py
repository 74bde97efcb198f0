"""Coverage-guided fuzzing of the readers; pytest does not collect it.

    pip install atheris && python tests/fuzz_atheris.py [--seconds 60]

All formats of `fuzz_targets.py` in turn: the first byte of an input chooses one, the rest is the
file. libFuzzer prints an input that raises anything but `DataError`, runs longer than 20 s or takes
the process over 1.5 GiB, and the exit status is then not 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

OWN = [
    "clmer.report",
    "clmer.pipeline.run.folder",
    "clmer.pipeline.run_files",
    "clmer.pipeline.run.load",
    "clmer.pipeline.run.trained",
]
with atheris.instrument_imports(include=["clmer.data", *OWN]):
    from support.fuzz_targets import targets


def main() -> None:
    """Seeds the corpus with whole files and runs."""
    parser = argparse.ArgumentParser(description="Fuzz the readers.")
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    scratch = Path(tempfile.mkdtemp(prefix="clmer-fuzz-"))
    formats = list(targets(scratch / "made").values())
    corpus = scratch / "corpus"
    corpus.mkdir()
    for number, target in enumerate(formats):
        (corpus / str(number)).write_bytes(bytes([number]) + target.whole)

    def one(data: bytes) -> None:
        if data:
            formats[data[0] % len(formats)].run(data[1:])

    options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=1536", "-max_len=200000"]
    options += [f"-artifact_prefix={scratch}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
