"""Whose face is followed, where others are in view, come back, or take the place after a cut."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.data.video.people import Follower, sample

WIDTH, HEIGHT, SIZE = 640, 360, 100
STEP_S = 0.04
Face = tuple[int, int, int]  # who, and the centre's column and row


def outline(x: int, y: int, size: int = SIZE) -> np.ndarray:
    """68 points [68, 3] px of a face at a place: eyes above, mouth below, the rest around."""
    angle = np.linspace(0, 2 * np.pi, 68)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) / 2
    for part, (a, b) in (
        ((36, 42), (-0.2, -0.15)),
        ((42, 48), (0.2, -0.15)),
        ((48, 68), (0, 0.25)),
    ):
        points[slice(*part)] = (a, b)
    return np.c_[points * size + (x, y), np.zeros(68)]


def picture(*faces: Face, background: int = 0, size: int = SIZE) -> np.ndarray:
    """A frame in which each person has a texture of their own, and so has each background."""
    image = texture(1000 + background, HEIGHT, WIDTH, 40)
    for who, x, y in faces:
        half = round(0.5 * size)
        own = texture(who, 2 * half, 2 * half, half // 4)
        top, left = max(y - half, 0), max(x - half, 0)
        part = own[top - y + half :, left - x + half :][: HEIGHT - top, : WIDTH - left]
        image[top : top + part.shape[0], left : left + part.shape[1]] = part
    return image


def texture(seed: int, height: int, width: int, cell: int) -> np.ndarray:
    rows, columns = -(-height // cell), -(-width // cell)
    cells = np.random.default_rng(seed).integers(30, 226, (rows, columns))
    wide = np.kron(cells, np.ones((cell, cell)))[:height, :width]
    return np.repeat(wide.astype(np.uint8)[:, :, None], 3, axis=2)


def follow(
    *stretches: tuple[int, list[Face]], background: tuple[int, ...] = (0,), step_s: float = STEP_S
) -> tuple[list[int | None], Follower]:
    """Who is followed in each frame of stretches of (frames, faces)."""
    follower, followed, number = Follower(), [], 0
    for place, (count, faces) in enumerate(stretches):
        image = picture(*faces, background=background[min(place, len(background) - 1)])
        for _ in range(count):
            points = [outline(x, y, SIZE - 8 * (who == 2)) for who, x, y in faces]
            chosen = follower.choose(points, image, step_s * number)
            followed.append(None if chosen is None else faces[chosen][0])
            number += 1
    return followed, follower


A, B = (1, 150, 180), (2, 450, 180)


def test_one_in_view_is_followed_without_a_word() -> None:
    who, follower = follow((20, [A]))
    assert who == [1] * 20
    assert follower.notes() == []


def test_the_largest_of_the_first_frame_is_followed() -> None:
    follower = Follower()
    points = [outline(150, 180, 60), outline(450, 180, 100)]
    assert follower.choose(points, picture(A, B), 0.0) == 1


@pytest.mark.parametrize("other", [B, (2, 240, 180)])  # far away, and cheek to cheek
@pytest.mark.parametrize("hidden", [1, 5, 50])
def test_a_hidden_moment_does_not_move_the_series(other: Face, hidden: int) -> None:
    who, follower = follow((10, [A, other]), (hidden, [other]), (10, [other, A]))
    assert who == [1] * 10 + [None] * hidden + [1] * 10
    assert f"lost 1 time, longest {STEP_S * hidden:.2f} s from 0.40 s" in follower.notes()[0]


def test_one_who_leaves_for_good_is_lost() -> None:
    who, follower = follow((10, [A, B]), (500, [B]))
    assert who == [1] * 10 + [None] * 500
    assert "lost from 0.40 s to the end, though 500 frames show one" in follower.notes()[0]


def test_another_who_comes_elsewhere_is_not_followed() -> None:
    who, follower = follow((10, [A]), (10, []), (20, [B]))
    assert who == [1] * 10 + [None] * 30
    assert "though 20 frames show one" in follower.notes()[0]


def test_another_who_sits_down_at_the_same_place_is_not_followed() -> None:
    who, _ = follow((10, [A]), (30, []), (20, [(2, *A[1:])]), (10, [A]))
    assert who == [1] * 10 + [None] * 50 + [1] * 10


def test_one_who_comes_back_is_found_at_the_place_only() -> None:
    who, follower = follow((10, [A]), (200, []), (20, [A]))
    assert who == [1] * 10 + [None] * 200 + [1] * 20
    assert "longest 8.00 s from 0.40 s" in follower.notes()[0]


def test_an_empty_end_is_said() -> None:
    _, follower = follow((10, [A]), (5, []))
    assert follower.notes() == ["the face is lost from 0.40 s to the end"]


@pytest.mark.parametrize("background", [(0, 1), (0, 0)])  # a cut, and one before the same wall
def test_a_cut_to_another_at_the_same_place_ends_the_series(background: tuple[int, ...]) -> None:
    who, follower = follow((10, [A]), (20, [(2, *A[1:])]), background=background)
    assert who == [1] * 10 + [None] * 20
    notes = " ".join(follower.notes())
    assert "changes at once at 0.40 s" in notes
    assert "lost from 0.40 s to the end" in notes


def test_a_cut_within_one_person_s_film_is_said() -> None:
    who, follower = follow((10, [A]), (10, [(1, 170, 180)]), background=(0, 1))
    assert who == [1] * 20
    assert "changes at once at 0.40 s (a cut?)" in follower.notes()[0]


@pytest.mark.parametrize("step_s", [0.02, 0.04, 0.2])
def test_one_who_moves_is_followed(step_s: float) -> None:
    speed = 150  # px a second
    follower = Follower()
    for number in range(round(3 / step_s)):
        x = 60 + round(speed * step_s * number)
        other = (2, 400, 180)  # passed on the way by the first, who is in front
        faces = [outline(x, 150), outline(400, 260, SIZE - 8)]
        image = picture(other, (1, x, 150))
        assert follower.choose(faces, image, step_s * number) == 0
    assert not any("lost" in note for note in follower.notes())


def test_a_dark_face_s_noise_is_no_cut() -> None:
    rng, follower = np.random.default_rng(0), Follower()
    for number in range(20):
        image = rng.integers(0, 9, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        assert follower.choose([outline(150, 180)], image, STEP_S * number) == 0
    assert follower.notes() == []


def test_samples_turn_and_grow_with_the_face() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :100] = 200
    upright = sample(image, outline(100, 100, 60))
    turned = outline(100, 100, 60)
    turned[:, :2] = (turned[:, :2] - 100) @ [[0, 1], [-1, 0]] + 100  # clockwise
    np.testing.assert_allclose(sample(np.rot90(image, -1), turned), upright, atol=200 / 8)
    assert np.isfinite(sample(image, outline(-500, 900))).all()
