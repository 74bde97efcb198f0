"""A BIDS data set: events are the trials. `clmer ... bids` reads it without a manifest."""

import json
from pathlib import Path

import numpy as np
from recordings import FS, SENSORS, STATES, eeg, write_edf, write_text
from walk import walk

EVENTS = ("onset", "duration", "trial_type")


def write(folder: Path) -> None:
    """Three people, each calm, happy and sad in turn, two seconds of pause between."""
    about = {"Name": "Feelings", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_text(folder / "dataset_description.json", [json.dumps(about)])
    write_text(folder / "README", ["Generated."])
    people = [f"sub-{person:02d}\t{20 + person}" for person in range(1, 4)]
    write_text(folder / "participants.tsv", ["participant_id\tage", *people])
    for person in range(1, 4):
        order = STATES if person % 2 else STATES[::-1]
        parts = [eeg(state, 12, 10 * person + i) for i, state in enumerate(order)]
        name = f"sub-{person:02d}"
        run = folder / name / "eeg" / f"{name}_task-video"
        write_edf(run.with_name(f"{run.name}_eeg.edf"), np.concatenate(parts, axis=1))
        rows = [f"{12 * i}\t10\t{state}" for i, state in enumerate(order)]
        write_text(run.with_name(f"{run.name}_events.tsv"), ["\t".join(EVENTS), *rows])
        channels = [f"{sensor}\tEEG\tuV\tgood" for sensor in SENSORS]
        lines = ["name\ttype\tunits\tstatus", *channels]
        write_text(run.with_name(f"{run.name}_channels.tsv"), lines)
        task = {"TaskName": "video", "SamplingFrequency": FS, "EEGReference": "average"}
        task |= {"PowerLineFrequency": 50, "SoftwareFilters": "n/a"}
        write_text(run.with_name(f"{run.name}_eeg.json"), [json.dumps(task)])


def main() -> None:
    """From the folder to predictions."""
    walk(write, ("--task", "label"), dataset="bids")


if __name__ == "__main__":
    main()
