"""One EDF per person, and beside it a table of what was felt in each second."""

from pathlib import Path

import numpy as np
from recordings import STATES, eeg, write_edf, write_text
from walk import walk


def write(folder: Path) -> None:
    """Six people, each calm, happy and sad in turn."""
    for person in range(1, 7):
        order = STATES if person % 2 else STATES[::-1]
        parts = [eeg(state, 12, 10 * person + i) for i, state in enumerate(order)]
        write_edf(folder / f"S{person}.edf", np.concatenate(parts, axis=1))
        seconds = [f"{second},{order[second // 12]}" for second in range(36)]
        write_text(folder / f"S{person}_emotion.csv", ["time,emotion", *seconds])


def main() -> None:
    """From the folder to predictions."""
    walk(write, ("--task", "emotion"))


if __name__ == "__main__":
    main()
