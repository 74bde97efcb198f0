"""EEG in EDF, one file per person and state, which the file's name says: P01_happy.edf."""

from pathlib import Path

from recordings import STATES, eeg, write_edf
from walk import walk


def write(folder: Path) -> None:
    """Six people, three states."""
    for person in range(1, 7):
        for i, state in enumerate(STATES):
            write_edf(folder / f"P{person:02d}_{state}.edf", eeg(state, 12, 10 * person + i))


def main() -> None:
    """From the folder to predictions."""
    walk(write)


if __name__ == "__main__":
    main()
