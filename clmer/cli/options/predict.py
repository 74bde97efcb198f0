"""Options of `clmer predict`."""

from __future__ import annotations

import argparse

from clmer.data.choices.files import SUPPORTED


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.usage = "%(prog)s RUN [RECORDING ...] [options]"
    parser.add_argument(
        "run",
        metavar="RUN",
        help="folder of a finished run or a saved model, or hf://user/name on Hugging Face's Hub",
    )
    parser.add_argument(
        "recording",
        nargs="*",
        metavar="RECORDING",
        help=f"a file with all channels of the run: {SUPPORTED}; more files are "
        "more recordings; or NAME=FILE for each modality of one. None for a run of faces alone",
    )
    parser.add_argument(
        "--face", metavar="FILE", help="the face tracker's table, or a video of the face"
    )
    parser.add_argument(
        "--face-start",
        type=float,
        metavar="S",
        help="second of the recording at which the face video begins (0)",
    )
    parser.add_argument("--face-rate", type=float, metavar="HZ", help="of a CSV without times")
    parser.add_argument("--face-id", metavar="N", help="which face of a CSV with several people's")
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="samples a second, where a file does not say"
    )
    parser.add_argument(
        "--unit", default="", help="of the samples (uV, mV, V, ...), where the file does not say"
    )
    parser.add_argument("--split", metavar="NAME", help="split1, ... (default: the mean of all)")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="as the run's results name it (eeg+ecg, 'features + LR: eeg+ecg', ...; default: the "
        "one that scored best)",
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="FILE[:START-STOP]",
        help="a known stretch of this person, where the run was trained with a reference; "
        "NAME=FILE for each modality and face=CSV as for the recording; or all (transductive)",
    )
    parser.add_argument(
        "--out",
        default="-",
        metavar="CSV",
        help="a row per window (default -, standard output); beside X.csv come X-recordings.csv, a "
        "row per recording, and X.png, the windows over time",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's default)")
