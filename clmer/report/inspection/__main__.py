"""What is in a data set, as one page to look at: signals, labels, faces, losses, protocols.

    python -m clmer.report.inspection deap --root /data/DEAP --out deap.html

The page holds everything itself, pictures included, and opens without a server. It can show faces'
outlines and licence-bound data: it says so at the top, and the default name is git-ignored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clmer.cli.scale_options import add_scale, take_negative_pairs
from clmer.data.face.windows import FACES
from clmer.data.registry import DATASETS
from clmer.data.synthetic import WRITERS
from clmer.report.__main__ import page_command
from clmer.report.inspection.page import GENERATED, inspect, inspect_synthetic, privacy
from clmer.streams import for_streams


@for_streams
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m clmer.report.inspection", description=__doc__)
    parser.add_argument("dataset", choices=sorted(DATASETS))
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--root", type=Path, metavar="DIR", help="the recordings ($CLMER_DATA/<data set>)"
    )
    source.add_argument("--synthetic", action="store_true", help="generated recordings")
    parser.add_argument("--task", metavar="NAME", help="whose classes to balance")
    parser.add_argument("--modalities", default="", metavar="A,B,...")
    parser.add_argument("--window", type=float, metavar="S", help="window length in seconds")
    parser.add_argument("--stride", type=float, metavar="S", help="window step (the window)")
    parser.add_argument(
        "--face",
        choices=FACES,
        default="raw",
        help="landmarks as tracked, or without the head's motion",
    )
    parser.add_argument("--labels", default="", metavar="NAME", help="whose, on amigos-*")
    take_negative_pairs(parser)
    add_scale(parser)
    parser.add_argument("--filter", choices=("type", "paper"), default="type")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="prepared stores (~/.cache/clmer)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="inspect-<data set>.html")
    given = parser.parse_args(argv)
    if given.synthetic and given.dataset not in WRITERS:
        parser.error(f"--synthetic: generates {', '.join(WRITERS)}, not {given.dataset}")
    if given.task == "":
        parser.error("--task: found nothing, expected a task: the protocols need one")
    out = given.out or Path(f"inspect-{given.dataset}.html")
    if not out.parent.is_dir():
        parser.error(f"--out: found no folder {out.parent}")

    asked: dict[str, Any] = {
        "task": given.task,
        "scale": given.scale,
        "threshold": given.threshold,
        "cache": given.cache,
        "progress": True,
        "modalities": tuple(filter(None, given.modalities.split(","))),
        "window_s": given.window,
        "stride_s": given.stride,
        "filter": given.filter,
        "face": given.face,
        "labels": given.labels,
    }
    if given.synthetic:
        make, warning = partial(inspect_synthetic, given.dataset, **asked), GENERATED
    else:
        make, warning = partial(inspect, given.dataset, given.root, **asked), privacy(given.root)
    return page_command(out, make, f"open it in a browser. {warning}")


if __name__ == "__main__":
    sys.exit(main())
