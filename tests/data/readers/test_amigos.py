"""AMIGOS: paired by video, labels in their two orders, everything that is missing reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clmer.cli import main
from clmer.data.face import read_openface
from clmer.data.readers import amigos
from clmer.data.readers.amigos_labels import external
from clmer.data.recording import Recording
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.synthetic import SignalModel, write_amigos
from clmer.data.synthetic.amigos import VIDEOS
from clmer.errors import ConfigError, DataError
from clmer.pipeline.presets import build

PEOPLE, SHORT_S, LONG_S = 4, 3, 110


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people: person 2 has no long videos; one trap each among the short ones."""
    root = tmp_path_factory.mktemp("amigos") / "small"
    return write_amigos(root, people=PEOPLE, short_s=SHORT_S, long_s=LONG_S, fps=5)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def mat(root: Path, subject: str) -> Path:
    return root / f"Data_Preprocessed_{subject}" / f"Data_Preprocessed_{subject}.mat"


def table(root: Path, subject: str) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """video -> samples, self-assessment, annotation, as SciPy reads the file."""
    content = scipy.io.loadmat(mat(root, subject))
    names = ("VideoIDs", "joined_data", "labels_selfassessment", "labels_ext_annotation")
    rows = zip(*(content[name][0] for name in names), strict=True)
    return {video.item(): rest for video, *rest in rows}  # type: ignore[misc]


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    change(content)
    scipy.io.savemat(path, content, do_compression=True)


def by_name(recordings: object) -> dict[str, Recording]:
    return {f"{r.subject}/{r.trial}": r for r in recordings}  # type: ignore[attr-defined]


def test_files_are_matlab_5_with_another_order_for_everyone(small: Path) -> None:
    orders = []
    for number in range(1, PEOPLE + 1):
        content = scipy.io.loadmat(mat(small, f"P{number:02d}"))
        assert {content[n].shape for n in content if not n.startswith("__")} == {(1, 20)}
        orders.append(tuple(video.item() for video in content["VideoIDs"][0]))
        assert set(orders[-1][:16]) == set(VIDEOS[:16])
    assert len(set(orders)) == PEOPLE
    data, own, annotation = table(small, "P01")["10"]
    assert data.shape == (128 * (5 + SHORT_S), 17)
    assert (own.shape, annotation.shape) == ((1, 12), (2, 3))


def test_every_recording_has_its_own_video_s_samples_labels_and_face(small: Path) -> None:
    """Fails where cell i were paired with video i, or arousal with valence."""
    recordings = by_name(amigos.read_short(small, labels="self"))
    assert len(recordings) == 16 * PEOPLE
    moved = 0
    for subject in ("P01", "P03"):
        rows = table(small, subject)
        for position, (video, (data, own, _)) in enumerate(list(rows.items())[:16]):
            recording = recordings[f"{subject}/{video}"]
            assert recording.stimulus == video
            if recording.problem:
                continue
            got = recording.signals["physio"].data
            good = np.isfinite(data.T)
            np.testing.assert_array_equal(got[good], data.T[good])
            assert recording.labels == {"arousal": own[0, 0], "valence": own[0, 1]}
            assert recording.face is not None
            csv = read_openface(small / "face" / subject / f"{video}.csv")
            np.testing.assert_array_equal(recording.face.landmarks, csv.landmarks)
            by_position = VIDEOS[position]
            if by_position != video:
                moved += 1
                other = read_openface(small / "face" / subject / f"{by_position}.csv")
                assert not np.array_equal(recording.face.landmarks, other.landmarks)
    assert moved > 20


def test_the_pairing_carries_the_labels(tmp_path: Path) -> None:
    """The same by content: smiles and skin conductance go with the valence of the right video."""
    root = write_amigos(tmp_path / "a", people=1, short_s=8, fps=5)
    recordings = list(amigos.read_short(root, labels="self"))
    valence = [float(r.labels["valence"]) for r in recordings]
    smile = [r.face.au_intensity[:, 8].mean() for r in recordings if r.face is not None]
    gsr = [r.signals["physio"].select("gsr").data[:, 640:].mean() for r in recordings]
    assert np.corrcoef(smile, valence)[0, 1] > 0.7
    assert np.corrcoef(gsr, valence)[0, 1] > 0.7
    arousal = [float(r.labels["arousal"]) for r in recordings]
    ecg = [np.ptp(r.signals["physio"].select("ecg").data[0, 640:]) for r in recordings]
    assert np.corrcoef(ecg, arousal)[0, 1] > 0.6
    shown = [float(by_name(recordings)[f"P01/{v}"].labels["valence"]) for v in VIDEOS[:16]]
    assert abs(np.corrcoef(smile, shown)[0, 1]) < 0.5  # by position


def test_channels_baseline_and_types(small: Path) -> None:
    recording = next(amigos.read_short(small))
    physio = recording.signals["physio"]
    assert (physio.fs, physio.channels[0], physio.channels[14:]) == (
        *(128.0, "AF3"),
        ("ECG-R", "ECG-L", "GSR"),
    )
    assert physio.select("eeg").data.shape[0] == 14
    assert (recording.baseline_s, recording.face_start_s, recording.group) == (5.0, 5.0, "P01")


def test_what_is_missing_is_reported_and_short_gaps_are_filled(small: Path) -> None:
    own = by_name(amigos.read_short(small, labels="self"))
    problems = {name: r.problem for name, r in own.items() if r.problem}
    assert sorted(problems.values()) == ["no samples", "no self label"]
    assert [name[:3] for name in sorted(problems)] == ["P02", "P03"]
    unlabelled = next(name for name in problems if name.startswith("P03"))
    assert not by_name(amigos.read_short(small, labels="stimulus"))[unlabelled].problem
    assert by_name(amigos.read_short(small, labels="external"))[unlabelled].problem == (
        "no external label"
    )
    filled = by_name(amigos.read_short(small))
    assert sum(r.interpolated for r in filled.values()) == 12 * PEOPLE - 12  # one trial is empty
    lost = [n for n, r in filled.items() if r.signals and np.isnan(r.signals["physio"].data).any()]
    assert len(lost) == 1
    store = prepare(
        *(DATASETS["amigos-short"], small),
        PrepareOptions(modalities=("eeg", "au"), labels="self"),
        cache=small.parent / "cache",
        progress=False,
    )
    assert sorted(store.report["recordings_skipped"].values()) == ["no samples", "no self label"]
    assert store.report["samples_interpolated"] == 12 * PEOPLE - 24
    assert store.report["notes"] == ["labels: self, each person's own rating of each video (1-9)."]
    everything = prepare(
        DATASETS["amigos-short"], small, cache=small.parent / "cache", progress=False
    )
    assert everything.report["recordings_skipped"][lost[0]] == (
        "physio has samples that are not finite"
    )


def test_gaps() -> None:
    data = np.arange(40.0).reshape(2, 20).copy()
    clean = data.copy()
    data[0, 3:6] = np.nan
    data[0, 0] = np.inf  # at an end
    data[1, 4:9] = np.nan  # too long
    assert amigos.fill_gaps(data, 4) == 3
    np.testing.assert_allclose(data[0, 1:], clean[0, 1:])
    assert np.flatnonzero(np.isnan(data)).tolist() == [0, *range(24, 29)]


def test_external_annotation_has_valence_first_and_its_own_scale(small: Path) -> None:
    video, (_, own, annotation) = next(iter(table(small, "P01").items()))
    labels = by_name(amigos.read_short(small, labels="external"))[f"P01/{video}"].labels
    expected = 5 + 4 * annotation[:, 1:].mean(axis=0)
    assert [labels["valence"], labels["arousal"]] == pytest.approx(expected.tolist())
    assert (labels["valence"] > 5, labels["arousal"] > 5) == (own[0, 1] > 5, own[0, 0] > 5)


def test_external_segments_follow_the_stimulus() -> None:
    rows = np.column_stack([np.arange(1, 6), np.arange(5) / 10, np.zeros(5)])

    def valence(at_s: float) -> float:
        pair = external(rows, 65.0, at_s, Path("x.mat"), "labels")
        assert pair is not None
        return round((pair[0] - 5) / 4, 6)

    assert [valence(t) for t in (0, 19.9, 20, 45, 64.9)] == [0.1, 0.1, 0.2, 0.3, 0.4]
    with pytest.raises(DataError, match="5 segments, expected about 12"):
        external(rows, 200.0, 0.0, Path("x.mat"), "labels")
    with pytest.raises(DataError, match=r"1\.5, expected valence and arousal from -1 to 1"):
        external(np.add(rows, [0, 1.1, 0]), 65.0, 0.0, Path("x.mat"), "labels")


def test_stimulus_labels_are_the_mean_over_people_or_the_given_table(copy: Path) -> None:
    rated = [table(copy, f"P{n:02d}")["10"][1] for n in range(1, PEOPLE + 1)]
    mean = np.mean([row[0, :2] for row in rated if row.size], axis=0)
    for recording in amigos.read_short(copy):
        if recording.trial == "10" and not recording.problem:
            got = [recording.labels["arousal"], recording.labels["valence"]]
            assert got == pytest.approx(mean.tolist())
    assert "mean self-assessment" in amigos.describe_short(copy)[0]
    lines = ["video, valence, arousal", *(f"{v}, low, 7.5" for v in VIDEOS)]
    (copy / "videos.csv").write_text("\n".join(lines))
    labels = next(amigos.read_short(copy)).labels
    assert labels == {"valence": 1.0, "arousal": 7.5}
    spreadsheet = "sep=;\n" + "\n".join(lines).replace(",", ";").replace("7.5", "7,5")
    (copy / "videos.csv").write_bytes(spreadsheet.encode("utf-16"))
    assert next(amigos.read_short(copy)).labels == labels
    assert "quadrants of videos.csv" in amigos.describe_short(copy)[0]
    assert copy / "videos.csv" in amigos.sources(copy)
    for wrong, message in (
        (lines[:-1], "no U1"),
        ([lines[0], "10, low, 9.5"], "'9.5', expected low, high"),
        ([lines[0], "10, low, nan"], "'nan'"),
        ([lines[0], "10, n/a, 3"], "line 2, valence: found 'n/a', expected low, high"),
        ([lines[0], "10, low, "], "line 2, arousal: found ''"),
        (["video, valance, arousal", "10, low, 3"], "no valence.*Did you mean valance"),
        ([*lines, "10, low, 3"], "each video once"),
        (["video, valence"], "no arousal"),
    ):
        (copy / "videos.csv").write_text("\n".join(wrong))
        with pytest.raises(DataError, match=message):
            list(amigos.read_long(copy))


def test_long_videos_give_twenty_pieces_whose_windows_are_where_they_say(small: Path) -> None:
    store = prepare(
        *(DATASETS["amigos-long"], small),
        PrepareOptions(modalities=("gsr", "landmarks"), labels="external"),
        cache=small.parent / "cache",
        progress=False,
    )
    assert set(store.report["recordings_skipped"].values()) >= {"no samples"}
    rows = table(small, "P03")
    starts = amigos.piece_starts(LONG_S)
    assert (np.diff(starts) >= 5).all()
    assert starts[-1] + 5 <= LONG_S
    recordings = store.windows.recording.tolist()
    for video in VIDEOS[16:]:
        for number in (1, 7, 20):
            row = recordings.index(f"P03/{video}-{number:02d}")
            data, _, annotation = rows[video]
            first = round((5 + starts[number - 1]) * 128)
            gsr = data[first : first + 640, 16]
            np.testing.assert_allclose(store.array("gsr")[row, 0], gsr, rtol=1e-5)
            segment = annotation[min(int((starts[number - 1] + 2.5) // 20) + 1, 6)]
            assert store.windows.labels["valence"][row] == pytest.approx(5 + 4 * segment[1])
            face = read_openface(small / "face" / "P03" / f"{video}.csv")
            frame = round(starts[number - 1] * 5)
            assert store.array("landmarks")[row, 0, 0] == pytest.approx(
                face.landmarks[frame, 0, 0], abs=1e-3
            )
    assert store.array("gsr").shape[1:] == (1, 640)


def test_filters_settle_outside_a_piece(small: Path) -> None:
    """A piece in the middle is what filtering the whole viewing would have given."""
    from clmer.signal import butter_bandpass, sosfiltfilt

    store = prepare(
        *(DATASETS["amigos-long"], small),
        PrepareOptions(modalities=("eeg",)),
        cache=small.parent / "cache",
        progress=False,
    )
    row = store.windows.recording.tolist().index("P01/P1-10")
    data = table(small, "P01")["P1"][0].T[:14]
    whole = sosfiltfilt(butter_bandpass(4.0, 45.0, 128.0), data)
    first = round((5 + amigos.piece_starts(LONG_S)[9]) * 128)
    np.testing.assert_allclose(
        store.array("eeg")[row], whole[:, first : first + 640], atol=1e-3 * whole.std()
    )


def test_people_who_watched_together_are_one_group(copy: Path) -> None:
    groups = {r.subject: r.group for r in amigos.read_long(copy, face=False)}
    assert set(groups.values()) == {"together:1"}
    assert {r.group for r in amigos.read_short(copy, face=False)} == {"P01", "P02", "P03", "P04"}
    (copy / "groups.csv").write_text("subject,group\n1,a\nP03,a\nP40,b\n")
    groups = {r.subject: r.group for r in amigos.read_long(copy, face=False)}
    assert groups == {"P01": "together:a", "P02": "P02", "P03": "together:a", "P04": "P04"}
    (copy / "groups.csv").write_text("Subject;Group\np1;A\nP003;a\n40;b\n")
    assert {r.subject: r.group for r in amigos.read_long(copy, face=False)} == groups
    (copy / "groups.csv").unlink()
    groups = {r.subject: r.group for r in amigos.read_long(copy, face=False)}
    assert all(subject == group for subject, group in groups.items())
    assert "every person alone" in amigos.describe_long(copy)[1]
    for content, message in (
        ("subject\nP01\n", "no group"),
        ("subject,group\nS1,a\n", "found S1, expected P01"),
        ("subject,group\nP01,a\nP01,b\n", "every person once"),
        ("subject,group\nP01,\n", "line 2, group: found '', expected every person with a group"),
        ("subject,group\nP01,a\nP02,n/a\nP03,n/a\n", "line 3, group: found 'n/a'"),
        ("subject,group\nNA,a\n", "line 2, subject: found 'NA'"),
        ("subject,group\nP01,a\np1,b\n", "line 3, subject: found 'p1', expected every person"),
    ):
        (copy / "groups.csv").write_text(content)
        with pytest.raises(DataError, match=message):
            next(amigos.read_long(copy, face=False))


def put(name: str, index: int, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[name].__setitem__((0, index), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("joined_data"), "joined_data: found no such variable"),
        (lambda c: c.update(VideoIDs=c["VideoIDs"][:, :19]), r"VideoIDs: found cells \(1, 19\)"),
        (put("joined_data", 0, np.ones((900, 16))), r"shape \(900, 16\), expected \[samples, 17\]"),
        (put("labels_selfassessment", 0, np.full((1, 12), 9.5)), "arousal: found 9.5, expected a"),
        (put("labels_selfassessment", 0, np.ones((1, 11))), r"shape \(1, 11\)"),
        (put("VideoIDs", 0, "../10"), "a short name such as 10"),
        (lambda c: put("VideoIDs", 0, c["VideoIDs"][0, 1])(c), "each video once"),
        (put("VideoIDs", 0, "77"), "VideoIDs: found"),
    ],
)
def test_wrong_content_is_named(
    copy: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite(mat(copy, "P02"), change)
    with pytest.raises(DataError, match=rf"P02\.mat.*{message}"):
        list(amigos.read_short(copy, face=False, labels="self"))


def test_layouts_and_folders(copy: Path, tmp_path: Path) -> None:
    expected = by_name(amigos.read_short(copy))
    assert set(amigos.sources(copy)) == {p for p in copy.rglob("*") if p.is_file()}
    for path in list(copy.glob("Data_Preprocessed_P*")):
        shutil.move(path / f"{path.name}.mat", copy)
        path.rmdir()
    assert by_name(amigos.read_short(copy)).keys() == expected.keys()
    (copy / "face" / "P01" / "10.csv").unlink()
    faceless = [n for n, r in by_name(amigos.read_short(copy)).items() if r.signals and not r.face]
    assert faceless == ["P01/10"]
    shutil.rmtree(copy / "face")
    with pytest.raises(DataError, match="OpenFace CSVs"):
        next(amigos.read_short(copy))
    assert next(amigos.read_short(copy, face=False)).face is None
    for folder, found in ((tmp_path, "none"), (tmp_path / "absent", "no such folder")):
        with pytest.raises(DataError, match=f"Data_Preprocessed_PXX.mat: found {found}"):
            amigos.sources(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_files_give_recordings_or_a_data_error(
    small: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(mat(small, "P01").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(3000, len(content) - 1)))] = data.draw(
            st.integers(0, 255)
        )
    (tmp_path / "Data_Preprocessed_P01.mat").write_bytes(content)
    try:
        recordings = list(amigos.read_short(tmp_path, face=False, labels="self"))
    except DataError:
        return
    assert len(recordings) == 16


def test_the_writer_reuses_refuses_and_keeps_the_frozen_model(small: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"short_s": SHORT_S, "long_s": LONG_S, "fps": 5}
    assert write_amigos(small, people=PEOPLE, **arguments) == small
    with pytest.raises(DataError, match="'seed': 0"):
        write_amigos(small, people=PEOPLE, **arguments, seed=1)
    marker = json.loads((small / "synthetic.json").read_text())
    assert marker["model"] == SignalModel().digest()
    again = write_amigos(tmp_path / "again", people=1, **arguments)
    ours, theirs = table(again, "P01"), table(small, "P01")
    for video in VIDEOS:
        for mine, other in zip(ours[video], theirs[video], strict=True):
            np.testing.assert_array_equal(mine, other)
    with pytest.raises(ValueError, match="people is 41"):
        write_amigos(tmp_path / "b", people=41)


def test_protocols_that_mislead_and_labels_that_do_not_exist_are_refused(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="pieces of one viewing"):
        build("amigos-long", {"device": "cpu", "protocol": "trial"})
    config = build("amigos-long", {"device": "cpu"})
    assert (config.protocol, config.labels, config.window, config.task) == (
        *("subject", "stimulus"),
        *(5.0, "va4"),
    )
    assert build("deap", {"device": "cpu"}).labels == ""
    out = str(small.parent / "out")
    line = ["train", "amigos-short", "--root", str(small), "--out", out, "--task", "liking"]
    assert main(line) == 2
    assert "--task liking: found no such label" in capsys.readouterr().err
    deap = ["train", "deap", "--synthetic", "--people", "1", "--labels", "self", "--out", out]
    assert main([*deap, "--cache", str(small.parent / "deap")]) == 2
    assert "--labels: found self, expected no --labels" in capsys.readouterr().err
    assert not (small.parent / "out" / "results.json").exists()
