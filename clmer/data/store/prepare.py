"""From files to a store of windows, recording by recording.

The reader yields recordings one after the other; threads make windows of them (`windowing.py`)
while it reads on; windows are appended in the reader's order. So a store's bytes, its report and
any error do not depend on the number of threads. In memory are the recordings in flight, some
hundred MiB of them at most, or as many as the reader holds (DEAP: a person).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clmer.data.duplicates import DuplicateFinder
from clmer.data.face.images import image_folders
from clmer.data.face.windows import FACE_TOKENS, Embed
from clmer.data.mobilevit import RANDOM_NOTE, embedder, weights_digest
from clmer.data.ordered_map import ordered_map
from clmer.data.recording import KINDS, Recording, SharedSamples
from clmer.data.registry import Dataset
from clmer.data.store.consistency import check_consistent, reorder_channels
from clmer.data.store.options import PrepareOptions
from clmer.data.store.origin import fingerprint, listed
from clmer.data.store.plan import WindowPlan, resolve
from clmer.data.store.store import Modality, Store
from clmer.data.store.summary import (
    FaceSummary,
    SignalSummary,
    face_lines,
    levels_of,
    scale_notes,
    signal_lines,
    some_of,
)
from clmer.data.store.windowing import WindowedRecording, make_windows
from clmer.data.store.writer import StoreWriter, build
from clmer.errors import DataError
from clmer.signal.passes import threads_of_a_pass
from clmer.text import COLUMNS, did_you_mean

#: Bytes of signals and faces that may wait for their turn, beside the recording just read.
_IN_FLIGHT = 256 * 2**20
#: Share of a recording's windows that is worth a word where it is left out.
_MOSTLY = 0.9
_DEFAULTS = PrepareOptions()


def prepare(
    dataset: Dataset,
    root: Path,
    options: PrepareOptions = _DEFAULTS,
    *,
    cache: Path,
    progress: bool = True,
) -> Store:
    """Open the store of these parameters, or read every recording and build it.

    Of each window are stored: signals [C, round(window_s fs)]; "landmarks" [204, frames], x of the
    68 points, then y, then z (mm); "au" [34, frames], 17 intensities (0-5), then 17 presences (0 or
    1); "gaze" [2, frames], rad; "hog" [496, frames], texture of 16 regions of the face. Of the
    picture in a window's middle: "pixels" and "pixel-rows" [32, 96], rows of 32 pixels, red, green,
    blue, 0-1; "mobilevit" [16, 640], patches and features.

    As many recordings are worked on at once as torch has threads (`torch.set_num_threads`).

    Args:
        dataset: one of `clmer.data.registry.DATASETS`.
        root: its folder.
        options: modalities, windows, filter and the like.
        cache: folder of the stores.
        progress: show a bar.

    Returns:
        The store; its report says what was used, skipped and dropped, and why.

    Raises:
        ConfigError: a window or stride that is too short.
        DataError: files that cannot be used, no window left, a full disk.
    """
    files = dataset.sources(root)
    plan = resolve(dataset, root, options)
    _check_modalities(dataset, root, options.modalities)
    whose = dataset.options(root, options.labels)
    parameters = plan.parameters() | whose
    weights = Path(options.mobilevit) if options.mobilevit else None
    if "mobilevit" in plan.modalities:
        parameters["mobilevit"] = weights_digest(weights)
    pictures = image_folders(files) if plan.has_images else []
    sources = listed(root, [*files, *pictures])
    key = fingerprint(parameters, sources)

    def fill(writer: StoreWriter) -> None:
        builder = _StoreBuilder(plan, writer)
        embed = embedder(weights) if "mobilevit" in plan.modalities else None
        recordings = dataset.recordings(
            root, face=plan.has_face, labels=options.labels, cache=cache
        )
        builder.add_all(recordings, files, embed, progress)
        notes = [*dataset.describe(root, **whose)]
        notes += [RANDOM_NOTE] if embed is not None and weights is None else []
        writer.finish(
            report=builder.report(notes),  # first: it says why where no window is left
            fingerprint=key,
            parameters=parameters,
            sources=sources,
            modalities=[builder.modality(name) for name in plan.modalities],
            window_s=plan.window_s,
        )

    return build(cache, dataset.name, key, fill)


def _check_modalities(dataset: Dataset, root: Path, asked: Sequence[str]) -> None:
    """Refuse a name that is neither one of the data set's nor a signal type nor of the face."""
    if not asked:
        return
    found = dataset.found(root)
    for name in asked:
        if name not in (*found, *KINDS, *FACE_TOKENS):
            raise DataError(
                root,
                f"`modalities={','.join(asked)}`",
                f"no modality {name}",
                f"some of {', '.join(found)}",
                did_you_mean(name, found) or did_you_mean(name, (*KINDS, *FACE_TOKENS)),
            )


def _windowed(
    plan: WindowPlan, recordings: Iterator[Recording], embed: Embed | None
) -> Generator[WindowedRecording]:
    """The recordings' windows, in order, several recordings at once."""
    workers = torch.get_num_threads()

    def work(recording: Recording) -> WindowedRecording:
        is_alone = 2 * _nbytes(recording) > _IN_FLIGHT  # no other of its size is worked on
        with threads_of_a_pass(workers if is_alone else 1):
            return make_windows(plan, recording, embed)

    return ordered_map(work, recordings, workers=workers, size=_nbytes, budget=_IN_FLIGHT)


def _nbytes(recording: Recording) -> int:
    """What a recording keeps in memory, but for its face's textures, which stay on disk."""
    size = sum(signal.data.nbytes for signal in recording.signals.values())
    face = recording.face
    parts = () if face is None else (face.landmarks, face.au_intensity, face.au_presence)
    return size + sum(part.nbytes for part in parts if part is not None)


@dataclass
class _StoreBuilder:
    """Recordings' windows into the store, in order, and the report of them."""

    plan: WindowPlan
    writer: StoreWriter
    modalities: dict[str, Modality] = field(default_factory=dict)
    people: set[str] = field(default_factory=set)
    recordings: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    interpolated: int = 0
    filters: dict[str, str] = field(default_factory=dict)
    trackers: Counter[str] = field(default_factory=Counter)
    signals: list[tuple[str, SignalSummary]] = field(default_factory=list)
    faces: list[FaceSummary] = field(default_factory=list)
    duplicates: DuplicateFinder = field(default_factory=DuplicateFinder)
    notes: dict[str, list[str]] = field(default_factory=dict)  # the recordings of each note
    rejected: list[str] = field(default_factory=list)
    _sources: set[Path] = field(default_factory=set)

    def add_all(
        self,
        recordings: Iterator[Recording],
        files: Sequence[Path],
        embed: Embed | None,
        progress: bool,
    ) -> None:
        """Write every recording's windows.

        Args:
            recordings: as a reader yields them.
            files: all that they come from.
            embed: what makes "mobilevit" of pictures.
            progress: show a bar.

        Raises:
            DataError: a recording that cannot be used, or does not fit those before it.
        """
        label = f"preparing {self.plan.dataset.name}"
        with (
            tqdm(
                total=len(files),
                desc=label,
                unit="file",
                disable=None if progress else True,  # None: but on a terminal
                leave=False,
                ncols=COLUMNS - 1,
            ) as bar,
            closing(_windowed(self.plan, recordings, embed)) as windowed,
        ):
            for each in windowed:
                self._advance(each.recording.source, files, bar)
                self.add(each)
            bar.update(len(files) - bar.n)

    def _advance(self, source: Path, files: Sequence[Path], bar: Any) -> None:
        """Move the bar when a recording comes from a new file: those before it are done."""
        if source in self._sources:
            return
        alike = sum(file.suffix == source.suffix for file in files)
        self.writer.share_done = min(1.0, len(self._sources) / max(alike, 1))
        bar.update(max(0, int(len(files) * self.writer.share_done) - bar.n))
        self._sources.add(source)

    def add(self, windowed: WindowedRecording) -> None:
        """Write one recording's windows, or note why there are none.

        Raises:
            DataError: it does not fit the recordings before it.
        """
        recording = windowed.recording
        name = f"{recording.subject}/{recording.trial}"
        self.recordings += 1
        reorder_channels(windowed, self.modalities)
        self.modalities = windowed.modalities | self.modalities
        check_consistent(windowed, self.modalities, "in the recordings before it")
        self._note(name, windowed)
        if windowed.skipped:
            self.skipped[name] = windowed.skipped
            return
        lost, kept = sum(windowed.dropped.values()), len(windowed.start_s)
        if lost >= _MOSTLY * (lost + kept):
            self.rejected.append(f"{name} {kept} of {lost + kept}")
        self.people.add(recording.subject)
        self.interpolated += recording.interpolated + windowed.bridged
        self.writer.append(
            windowed.arrays,
            subject=recording.subject,
            group=recording.group,
            recording=name,
            stimulus=recording.stimulus,
            start_s=windowed.start_s,
            labels=recording.labels,
        )

    def _note(self, name: str, windowed: WindowedRecording) -> None:
        """Keep what the report says of a recording."""
        self.filters = windowed.filters | self.filters
        self.dropped += windowed.dropped
        self.signals += [(name, each) for each in windowed.signals.values()]
        for note in windowed.notes:
            self.notes.setdefault(note, []).append(name)
        for (modality, channel), (words, fs) in windowed.words.items():
            self.duplicates.add(name, modality, words, fs, channel)
        if windowed.face is not None:
            self.faces.append(windowed.face)
        if windowed.tracker:
            self.trackers[windowed.tracker] += 1

    def modality(self, name: str) -> Modality:
        """A modality, with the amplitude that is usual in all recordings."""
        levels = levels_of(self.signals, name)
        return replace(self.modalities[name], levels=tuple(levels.items()))

    def report(self, notes: Sequence[str]) -> dict[str, Any]:
        """What was read, used and left out.

        Raises:
            DataError: nothing is left.
        """
        if not len(self.writer):
            reasons = Counter(self.skipped.values()).most_common(3)
            raise DataError(
                self.plan.root,
                f"`modalities={','.join(self.plan.modalities)}`",
                f"no window in {self.recordings} recordings ("
                + ("; ".join(f"{why}: {n}" for why, n in reasons) or "none was read")
                + ")",
                "at least one",
                "Choose other modalities or a shorter `window_s`.",
            )
        known = self.plan.dataset.shared(self.plan.root)
        shared = self.duplicates.shared(known)
        return {
            "signals": signal_lines(self.signals) + face_lines(self.plan.face_names, self.faces),
            "shared_samples": [asdict(pair) for pair in shared],
            "shared_files": [asdict(pair) for pair in known if pair.length == 0],
            "people": len(self.people),
            "recordings": self.recordings,
            "recordings_used": self.recordings - len(self.skipped),
            "recordings_skipped": self.skipped,
            "windows": len(self.writer),
            "windows_dropped": dict(self.dropped),
            "samples_interpolated": self.interpolated,
            "filter": self.filters,
            "notes": [*self.plan.dataset.notes, *notes, *self._all_notes(shared)],
        }

    def _all_notes(self, shared: Sequence[SharedSamples]) -> list[str]:
        """What to say of the recordings."""
        notes = [
            note
            if note.endswith("left out of all")
            else f"{note} ({_names(where, self.recordings)})"
            for note, where in self.notes.items()
        ]
        notes += scale_notes(self.signals)
        if self.rejected:
            notes.append(
                f"{100 * _MOSTLY:g} % of a recording's windows or more were left out; kept are: "
                + some_of(self.rejected)
            )
        notes += [
            f"{pair} hold the same samples: they stay on one side of every split"
            for pair in shared[:3]
        ]
        if len(shared) > 3:
            notes.append(f"{len(shared) - 3} more pairs of recordings hold the same samples")
        if len(self.trackers) < 2:
            return notes
        counts = ", ".join(f"{name} {count}" for name, count in self.trackers.items())
        notes.append(
            f"Faces come from different trackers, whose values are not comparable: {counts}."
        )
        return notes


def _names(recordings: Sequence[str], count: int) -> str:
    """Some recordings, for a note: "in all 12 recordings", "in p1/1, p1/2 and 3 more"."""
    if len(recordings) == count > 1:
        return f"in all {count} recordings"
    more = f" and {len(recordings) - 3} more of {count}" if len(recordings) > 3 else ""
    return f"in {', '.join(recordings[:3])}{more}"
