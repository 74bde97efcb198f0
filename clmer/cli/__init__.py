"""The command line: `clmer train ...`, `python -m clmer train ...`. Options in, exit codes out.

Nothing heavy is imported before the options are read, and a handler for Ctrl-C and errors stands
around it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import clmer
from clmer.cli.arguments import Parser, flags_of
from clmer.errors import EXIT_INPUT, EXIT_INTERRUPTED, ConfigError, DataError
from clmer.options import in_flags
from clmer.streams import for_streams, say_error
from clmer.text import did_you_mean

#: The commands. Each has its options in `clmer.cli.options`, and a module of this package with
#: `run`, which takes them and returns the exit code; it is imported once they are read.
COMMANDS = {
    "manifest": "look at a folder of recordings and write its manifest.csv",
    "train": "prepare recordings, train, evaluate, report",
    "predict": "what a trained run says of recordings, window by window",
    "live": "what a trained run says of LabStreamingLayer streams, as they come",
    "inspect": "what a data set holds and how it is prepared, on a page",
    "video": "turn video clips into face series: landmarks, action units, gaze",
    "play": "send recordings as LSL streams, as if they were recorded now",
    "report": "join runs into one page",
    "experiments": "make the paper's tables and figures of your recordings",
    "doctor": "what is installed, built and used here, as text for an issue",
}


#: What to type first.
FIRST = """\
your own recordings, from a folder to an answer:
  clmer manifest DIR                      a table of what is in the folder
  clmer inspect manifest --root DIR       a page about what was read
  clmer train manifest --root DIR --task LABEL
  clmer report RUN                        a page about the run
  clmer predict RUN FILE --out said.csv   what it says of a new recording

A command's options: clmer train --help, for one.
"""


@for_streams
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the return value is the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    flags: dict[str, str] = {}
    after = ""
    try:
        top, chosen = _parser(words)
        if not words:
            top.print_help(sys.stderr)
            return EXIT_INPUT
        given, rest = top.parse_known_args(words)
        options = vars(given)
        command = options.pop("command")
        own = _options(command)
        flags = getattr(own, "more_flags", dict)() | flags_of(chosen[command])
        after = getattr(own, "INTERRUPTED", "")
        typed = shlex.join(["clmer", *words])
        if getattr(own, "TAKES_COMMAND", False):
            options["typed"] = typed
        if getattr(own, "TAKES_MORE", False):
            options |= {"passed": own.read_words(rest), "made_by": typed}
        elif rest:
            chosen[command].error(f"unrecognized arguments: {' '.join(rest)}.{_meant(rest, flags)}")
        code: int = import_module(f"clmer.cli.{command}").run(**options)
        return code
    except (DataError, ConfigError) as error:
        say_error(f"{who()}: {in_flags(str(error), flags)}")
        return EXIT_INPUT
    except KeyboardInterrupt:
        print(f"\n{who()}: interrupted{after and '; '}{after}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        # Without a name it is standard output's (`for_streams`), or a full disk's under training.
        trains = words[:1] == ["train"]
        if error.errno is None or (error.filename is None and not (trains and error.errno == 28)):
            raise
        kept = " What was complete before is kept; see --resume." if trains else ""
        say_error(f"{who()}: {error}.{kept}")
        return EXIT_INPUT


def _meant(words: Sequence[str], flags: Mapping[str, str]) -> str:
    """Which options words that are none may stand for; "" for no idea."""
    found = (did_you_mean(word.partition("=")[0], [*flags.values()]) for word in words)
    return next((f" {hint}" for hint in found if hint), "")


def _parser(
    words: Sequence[str],
) -> tuple[Parser, dict[str, Parser]]:
    """The parser, with the options of the command that the words ask for."""
    top = Parser(
        prog="clmer",
        description="Multi-modal emotion recognition.",
        epilog=FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"clmer {clmer.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    chosen: dict[str, Parser] = {}
    for name, about in COMMANDS.items():
        chosen[name] = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False
        )
        if name in words[:1]:
            _options(name).describe(chosen[name])
    return top, chosen


def _options(command: str) -> Any:
    return import_module(f"clmer.cli.options.{command}")


def who() -> str:
    """Which process speaks: torchrun starts several."""
    rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else None
    return f"clmer, rank {rank}" if rank else "clmer"


def script(*command: str) -> NoReturn:
    """`clmer` on the command line; `python -m clmer.train` gives the command's first words."""

    def run() -> int:
        return main([*command, *sys.argv[1:]])

    if "TORCHELASTIC_RUN_ID" in os.environ:  # to know that, torch need not be imported
        from clmer.pipeline import ranks

        ranks.leave_after(run)
    sys.exit(run())
