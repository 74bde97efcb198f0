"""One EDF per person, and a table of trials: whose, from when, how long, what was felt."""

from pathlib import Path

import numpy as np
from recordings import STATES, eeg, write_edf, write_text
from walk import walk


def write(folder: Path) -> None:
    """Six people, each calm, happy and sad in turn, two seconds of pause between."""
    lines = ["participant\tonset\tduration\temotion"]
    for person in range(1, 7):
        order = STATES if person % 2 else STATES[::-1]
        parts = [eeg(state, 12, 10 * person + i) for i, state in enumerate(order)]
        name = f"sub-{person:02d}"
        write_edf(folder / name / f"{name}_task-video_eeg.edf", np.concatenate(parts, axis=1))
        lines += [f"{name}\t{12 * i}\t10\t{state}" for i, state in enumerate(order)]
    write_text(folder / "trials.tsv", lines)


def main() -> None:
    """From the folder to predictions."""
    walk(write, ("--task", "emotion"))


if __name__ == "__main__":
    main()
