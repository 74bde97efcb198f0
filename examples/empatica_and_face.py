"""EEG, a wristband's folder and a face's table per person and trial, and ratings of them all."""

from pathlib import Path

from recordings import STATES, eeg, write_edf, write_empatica, write_openface, write_text
from walk import walk

TASK = ("--task", "valence", "--threshold", "4")


def write(folder: Path) -> None:
    """Six people, three trials, in folders of the devices."""
    lines = ["id;trial;valence"]
    for person in range(1, 7):
        for trial, state in enumerate(STATES, start=1):
            seed = 10 * person + trial
            letter = "P" if person % 2 else "p"
            write_edf(folder / "EEG" / f"{letter}{person:02d}_T{trial}.edf", eeg(state, 12, seed))
            band = folder / "Empatica" / f"P{person:02d}_T{trial}"
            write_empatica(band, state, 12, seed, 1_700_000_000 + 100 * seed)
            write_openface(folder / "Face" / f"p{person:02d}_t{trial}.csv", state, 12, seed)
            lines.append(f"P{person};{trial};{'6,5' if state == 'happy' else '3,25'}")
    write_text(folder / "ratings.csv", lines)


def main() -> None:
    """From the folder to predictions."""
    walk(write, TASK)


if __name__ == "__main__":
    main()
