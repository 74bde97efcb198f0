"""Runs joined into one page that opens in a browser without a server or a network.

    python -m clmer.report runs/eegmat-label-subject
    python -m clmer.report runs --out report.html

Scores with intervals, tests over people, confusion matrices, training curves, attention maps and
features of every run in the given folders and below them. A page of real recordings stays private:
it says so at its top, and the default name is git-ignored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clmer.data.store.writer import stores_folder
from clmer.errors import EXIT_INPUT, EXIT_INTERRUPTED, ConfigError, DataError
from clmer.report.html import write_page
from clmer.report.page import report
from clmer.streams import for_streams


@for_streams
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m clmer.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="run folders, or folders with runs below them",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("report.html"))
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="prepared stores (~/.cache/clmer)"
    )
    parser.add_argument(
        "--learned",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="attention maps and features; they need the weights and the prepared store",
    )
    given = parser.parse_args(argv)
    if not given.out.parent.is_dir():
        parser.error(f"--out: found no folder {given.out.parent}")
    cache = stores_folder(given.cache)
    return page_command(
        given.out,
        lambda: report(given.runs, cache=cache, shows_learned=given.learned),
        "open it in a browser",
    )


def page_command(out: Path, make: Callable[[], str], said: str) -> int:
    """Make a page, write it and say so; the exit status, without a page where it is not 0."""
    try:
        write_page(out, make())
    except (DataError, ConfigError) as error:
        print(f"clmer: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:
        print("clmer: interrupted; no page was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(f"{out}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
