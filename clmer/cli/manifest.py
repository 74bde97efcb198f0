"""`clmer manifest`: what a folder of recordings holds, and a manifest of it."""

from __future__ import annotations

from pathlib import Path

from clmer.data.manifest.propose import propose, screen, write
from clmer.options import in_flags


def run(*, folder: Path, out: Path | None, markers: dict[str, str] | None) -> int:
    """Write the table and say what was understood; the exit code."""
    out = out or folder / "manifest.csv"
    made = propose(folder, out, markers, progress=True)
    write(made, out)
    made.questions = [in_flags(each, {"markers": "--markers"}) for each in made.questions]
    print("\n".join(screen(made, out)))
    return 0
