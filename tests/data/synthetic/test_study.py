"""Generated recordings of MNE: units, people, and the rhythm that tells the states apart."""

from __future__ import annotations

import numpy as np

from clmer.data.synthetic.study import CHANNELS, FS, STATES, eeg, rated_study, study, windows_of


def power(data: np.ndarray) -> float:
    """Mean power of 8 to 12 Hz at the back of the head."""
    spectrum = np.abs(np.fft.rfft(data[-2:])) ** 2
    rate = np.fft.rfftfreq(data.shape[1], 1 / FS)
    return float(spectrum[:, (rate >= 8) & (rate <= 12)].mean())


def test_everyone_has_each_state_and_more_rhythm_at_rest() -> None:
    found = study(people=5, seconds=30)
    assert [(person, state) for person, state, _ in found[:3]] == [
        ("P01", "rest"),
        ("P01", "task"),
        ("P02", "rest"),
    ]
    assert tuple(found[0][2].ch_names) == CHANNELS
    uv = found[0][2].get_data() * 1e6
    assert 1 < uv.std() < 100
    for number in range(5):
        rest, task = (found[2 * number + i][2].get_data() for i in range(len(STATES)))
        assert power(rest) > power(task)


def test_one_seed_gives_one_study_and_ratings_follow_the_rhythm() -> None:
    np.testing.assert_array_equal(eeg(0, 1, 0.5, 4), eeg(0, 1, 0.5, 4))
    assert not np.array_equal(eeg(0, 1, 0.5, 4), eeg(0, 1, 0.5, 4, seed=1))
    rated = [(rating, power(raw.get_data())) for _, rating, raw in rated_study(1, 12, 20)]
    ratings, powers = np.transpose(rated)
    assert np.corrcoef(ratings, np.sqrt(powers))[0, 1] > 0.5


def test_windows_are_cut_in_order() -> None:
    data = np.arange(8 * 600.0).reshape(8, 600)
    windows = windows_of(data)
    assert windows.shape == (2, 8, 256)
    np.testing.assert_array_equal(windows[1], data[:, 256:512])
