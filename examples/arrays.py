"""EEG as MATLAB's arrays, skin conductance as NumPy's, each with its rate and names inside."""

from pathlib import Path

import numpy as np
from recordings import FS, SENSORS, STATES, eeg
from scipy.io import savemat
from walk import walk

EDA_FS = 16


def write(folder: Path) -> None:
    """Three people, three states."""
    folder.mkdir(parents=True)
    for person in range(1, 4):
        for i, state in enumerate(STATES):
            name = f"P{person:02d}_{state}"
            names = np.array(SENSORS, object)  # a cell array of words
            data = eeg(state, 12, 10 * person + i).T  # [samples, channels]
            savemat(folder / f"{name}.mat", {"eeg": data, "fs": FS, "channels": names})
            noise = np.random.default_rng(10 * person + i).normal(0, 0.05, 12 * EDA_FS)
            skin = noise + (2.0 if state == "happy" else 1.0)
            np.savez(folder / f"{name}_eda.npz", eda=skin, fs=EDA_FS)


def main() -> None:
    """From the folder to predictions."""
    walk(write)


if __name__ == "__main__":
    main()
