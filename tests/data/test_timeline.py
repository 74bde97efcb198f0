"""Pieces between pauses, and parts of them."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.data.timeline import Piece, Span, Timeline, pauses_and_bad_spans


def test_records_with_times_of_their_own() -> None:
    onsets = np.array([5.0, 6.0, 9.5, 10.5, 10.5 + 1 + 1e-3])
    line = Timeline.from_onsets(100.0, onsets, 100)
    assert line.pieces == (Piece(0.0, 0, 200), Piece(4.5, 200, 500))
    assert line.duration_s == pytest.approx(7.5)
    with pytest.raises(ValueError, match=r"record 3 begins 0\.5 s too early"):
        Timeline.from_onsets(100.0, np.array([0.0, 1.0, 1.5]), 100)


def test_joints_are_pauses_of_known_or_unknown_length() -> None:
    line = Timeline.with_pauses(10.0, 100, {0: 9.0, 40: 0.0, 100: 1.0, 70: 2.5, 120: 1.0})
    assert line.pieces == (Piece(0, 0, 40), Piece(4, 40, 70), Piece(9.5, 70, 100))
    assert (line.duration_s, line.paused_s, line.out_of_step_s) == (12.5, 2.5, 4.0)
    bad = [Span(3.0, 7.0, "a"), Span(6.5, 7.5, "b"), Span(7.0, 8.0, "c")]
    line = Timeline.with_pauses(10.0, 100, {70: 2.5}, bad)
    assert line.bad == (Span(3, 7, "a"), Span(6.5, 10, "b"), Span(9.5, 10.5, "c"))
    assert line.out_of_step_s is None
    assert Timeline.with_pauses(10.0, 0, {}).pieces == ()


def test_a_part_counts_from_its_own_start() -> None:
    bad = (Span(1.0, 2.0, "bad"), Span(4.0, 6.0, "worse"))
    line = Timeline(10.0, (Piece(0.0, 0, 30), Piece(5.0, 30, 80)), bad)
    part = line.part(2.0, 7.0, 128.0)
    assert part.pieces == (Piece(0.0, 20, 30), Piece(3.0, 30, 50))
    assert part.bad == (Span(2.0, 4.0, "worse"),)
    assert part.shifted().pieces == (Piece(0.0, 0, 10), Piece(3.0, 10, 30))
    assert line.part(3.5, 4.5, 128.0).pieces == ()  # in the pause
    late = line.part(4.0, 6.0, 128.0)  # begins in the pause
    assert late.pieces == (Piece(1.0, 30, 40),)


def test_short_gaps_are_bridged_and_longer_or_unknown_ones_stay() -> None:
    line = Timeline.with_pauses(100.0, 500, {100: 0.01, 200: 0.02, 300: 0.03, 400: 0.0})
    bridged, lost = line.bridged(0.025)
    assert lost == {100: 1, 200: 2}
    assert [(p.first, p.stop) for p in bridged.pieces] == [(0, 303), (303, 403), (403, 503)]
    assert [p.start_s for p in bridged.pieces] == pytest.approx([0, 3.06, 4.06])
    assert bridged.duration_s == pytest.approx(line.duration_s)
    assert line.bridged(0.0) == (line, {})
    slow = Timeline.with_pauses(4.0, 40, {10: 0.25, 20: 0.5})
    assert slow.bridged(0.025)[1] == {10: 1}  # one sample at any rate
    between = Timeline.with_pauses(100.0, 200, {100: 0.015})
    assert between.bridged(0.025) == (between, {})  # no whole number of samples


def test_a_start_between_two_samples() -> None:
    fast, slow = Timeline.continuous(500.0, 5000), Timeline.continuous(4.0, 40)
    near = fast.part(1.0009, 3.0, 128.0).pieces[0]
    assert (near.first, near.start_s) == (500, pytest.approx(-0.0009))
    before = slow.part(1.2, 3.0, 128.0).pieces[0]  # the next one is at 1.25 s: too late
    assert (before.first, before.start_s) == (4, pytest.approx(-0.2))


def test_what_annotations_say() -> None:
    pauses, bad = pauses_and_bad_spans(
        [
            (2.0, 1.0, "BAD_movement"),
            (3.0, 0.0, "BAD_nothing"),
            (4.9995, 3.0, "boundary"),
            (6.0, 0.0, "New Segment/"),
            (7.0, 0.0, "EDGE boundary"),
            (7.0, 0.0, "BAD boundary"),
            (8.0, 0.5, "BAD_ACQ_SKIP"),
            (9.0, 1.0, "stimulus"),
        ],
        1000.0,
    )
    assert pauses == {5000: 3.0, 6000: 0.0, 7000: 0.0, 8000: 0.0, 8500: 0.0}
    assert bad == [Span(2, 3, "marked BAD_movement"), Span(8, 8.5, "not recorded")]
