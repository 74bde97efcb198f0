"""One long EDF per person, with codes as annotations that say when what was shown."""

from pathlib import Path

import numpy as np
from recordings import eeg, write_edf
from walk import walk

CODES = {"rest": "10", "happy": "21", "sad": "22"}
MANIFEST = ("--markers", ",".join(f"{code}={state}" for state, code in CODES.items()))
TRAIN = ("--reference", "marked")


def write(folder: Path) -> None:
    """Six people, each at rest, happy and sad twice, in two orders."""
    for person in range(1, 7):
        pair = ("happy", "sad") if person % 2 else ("sad", "happy")
        order = ("rest", *pair, *pair)
        parts = [eeg(state, 12, 10 * person + i) for i, state in enumerate(order)]
        notes = [(12.0 * i, 0.0, CODES[state]) for i, state in enumerate(order)]
        write_edf(folder / f"rec_{person:03d}.edf", np.concatenate(parts, axis=1), notes=notes)


def main() -> None:
    """From the folder to predictions."""
    walk(write, train=TRAIN, manifest=MANIFEST)


if __name__ == "__main__":
    main()
