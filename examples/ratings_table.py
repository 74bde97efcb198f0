"""EEG per person and clip, and a spreadsheet of ratings beside it, with semicolons and commas."""

from pathlib import Path

from recordings import SENSORS, STATES, eeg, write_edf, write_text
from walk import walk

#: The ratings reach 5.5 of an unknown scale: the median splits them.
TASK = ("--task", "valence", "--levels", "median")


def write(folder: Path) -> None:
    """Six people, four clips; every other person's electrodes are in capitals."""
    lines = ["Proband;Clip;Valenz;Erregung;Alter"]
    for person in range(1, 7):
        for clip in range(1, 5):
            state = STATES[clip % 3]
            names = [name.upper() if person % 2 else name for name in SENSORS]
            path = folder / "EEG" / f"vp{person:02d}" / f"clip_{clip}.EDF"
            write_edf(path, eeg(state, 12, 10 * person + clip), names)
            valence = "5,5" if state == "happy" else f"{2 + clip / 4:g}".replace(".", ",")
            lines.append(f"VP {person};{clip};{valence};{clip},0;2{person}")
    write_text(folder / "Ratings.csv", lines)


def main() -> None:
    """From the folder to predictions."""
    walk(write, TASK)


if __name__ == "__main__":
    main()
