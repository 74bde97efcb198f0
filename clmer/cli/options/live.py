"""Options of `clmer live`."""

from __future__ import annotations

import argparse

from clmer.live.defaults import PAGE_ADDRESS

#: What is said after Ctrl-C; during a session that ends it, and is no interruption.
INTERRUPTED = "no session had begun"

EPILOG = """\
examples:
  %(prog)s runs/x --stream Headset --out session.csv
  %(prog)s runs/x --stream Headset --face-stream Face --reference 60
  %(prog)s runs/x --stream Headset --map Fp1=EEG-1 --map Fp2=EEG-2
  %(prog)s runs/x --stream Headset --lsl Emotion --page --record my-study

Streams may start in any order, and drop and come back. Ctrl-C ends the session
and leaves complete files. exit codes: 0 ended, 2 an input or option cannot be
used, 130 interrupted before it began.
"""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.usage = "%(prog)s RUN --stream NAME [options]"
    parser.add_argument(
        "run",
        metavar="RUN",
        help="folder of a finished run or a saved model, or hf://user/name on Hugging Face's Hub",
    )
    parser.add_argument(
        "--stream",
        action="append",
        default=[],
        metavar="NAME",
        help="an LSL stream with channels of the run, by name or source id; again for more",
    )
    parser.add_argument(
        "--face-stream", metavar="NAME", help="the face's LSL stream, for a run that uses one"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="A=B",
        help="the run's channel A is the streams' B; again for more. Channels without a name "
        "are 1, 2, ...",
    )
    parser.add_argument(
        "--unit",
        default="",
        help="of the samples (uV, mV, V, ...), where a stream or file does not say",
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="SECONDS|FILE[:START-STOP]",
        help="a known stretch of this person, where the run was trained with a reference: the "
        "session's first seconds, or a recording as for clmer predict",
    )
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="of the reference's file, where it does not say"
    )
    parser.add_argument(
        "--out",
        metavar="CSV",
        help="a row per window as it comes, in a new file (- for standard output); beside X.csv "
        "comes X-events.csv, with what else happened",
    )
    parser.add_argument("--lsl", metavar="NAME", help="send the probabilities as an LSL stream")
    parser.add_argument(
        "--record",
        metavar="DIR",
        help="write what comes in as a recording (XDF, the face as CSV) into a folder, or as "
        "DIR/NAME.xdf",
    )
    parser.add_argument(
        "--page",
        nargs="?",
        const=PAGE_ADDRESS,
        metavar="HOST:PORT",
        help=f"show the session in a browser ({PAGE_ADDRESS}: on this machine alone)",
    )
    parser.add_argument(
        "--accept-mismatch",
        action="store_true",
        help="use a run that was not trained with clmer train --filter causal, as live filters",
    )
    parser.add_argument("--split", metavar="NAME", help="split1, ... (default: the mean of all)")
    parser.add_argument(
        "--model", metavar="NAME", help="as for clmer predict (default: the one that scored best)"
    )
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="to wait for the streams (30)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=4.0,
        metavar="S",
        help="that a window waits for a stream behind the others, of the streams' time (4)",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="to go on for (default: until Ctrl-C)"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's default)")


def more_flags() -> dict[str, str]:
    """Flags by what `clmer.Live` calls its arguments."""
    return {"streams": "--stream", "patience_s": "--patience"}
