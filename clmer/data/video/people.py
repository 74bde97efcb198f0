"""Which of the faces in view is the one that is followed.

The largest face of the first frame that has one is followed. From frame to frame a face is the same
while it moves and grows little. After it was lost, a face is taken for it only where it stands at
about its place, in about its size, and looks alike; one that was seen beside it is never taken. So
a series ends rather than go on with somebody else, and `notes` says so.

How alike two faces look is the correlation of 16 x 16 brightness samples in the face's own frame
(eyes and mouth), against up to `_GALLERY` earlier views of the followed one. Landmarks' shape does
not tell people apart here: over 10 s of one person who turns the head, MediaPipe's 68 points differ
by up to 0.15 (Procrustes), those of two people by 0.07 in the median.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_NEAR, _SPEED, _FAR = 0.25, 2.5, 1.0  # way in face sizes: of a frame, per second, at most
_GROWTH = 1.5  # ratio of two sizes of one face
_SAMPLES = 16
_GREEN = 1  # stands for brightness
_GALLERY = 48
_NOVEL = 0.85  # views that correlate less with all earlier ones are kept
# Likeness that is asked for: after a cut; after a gap; after a short one. On a real clip nine of
# ten gaps of 0.5 to 2 s end with 0.6 or more; one in ten other people's faces has that.
_ALIKE, _SIMILAR, _PLAUSIBLE = 0.7, 0.6, 0.4
_SHORT_S = 0.5
_SUDDEN, _SUDDEN_S = 0.6, 0.1  # between frames that are so near: the picture has changed
_FLAT = 8.0  # grey levels: below, a face's samples are noise
_CUT, _CUT_LEVELS = 0.5, 15.0  # correlation and difference of whole pictures across a cut
_FORGET_S = 10.0
_NAMED = 5


@dataclass(eq=False)
class _Spot:
    """Where a face is or was.

    Args:
        centre: [2] px.
        size: diagonal of its box, px.
        seconds: when.
        another: seen beside the followed one.
        astray: seen away from the followed one's place while that one was lost.
    """

    centre: np.ndarray
    size: float
    seconds: float
    another: bool = False
    astray: bool = False


@dataclass
class Follower:
    """Frames' faces in, the followed one's number out.

    Attributes:
        losses: [from, to] seconds in which the followed face was not there; to is None at the end.
        cuts: seconds at which the picture changed at once.
        strangers: frames that show others only, in the present loss.
    """

    losses: list[list[float | None]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    strangers: int = 0
    _followed: _Spot | None = None
    _others: list[_Spot] = field(default_factory=list)
    _gallery: np.ndarray = field(default_factory=lambda: np.empty((0, _SAMPLES**2)))
    _last_view: np.ndarray | None = None
    _last_picture: np.ndarray | None = None
    _before: float = 0.0
    _strict: bool = False

    @property
    def has_followed(self) -> bool:
        """Whether there was a face to follow so far."""
        return self._followed is not None

    @property
    def is_lost(self) -> bool:
        """Whether a face was followed, and is not there in the last frame."""
        return bool(self.losses) and self.losses[-1][1] is None

    def choose(self, faces: list[np.ndarray], image: np.ndarray, seconds: float) -> int | None:
        """The followed face among those of the next frame.

        Args:
            faces: [68, 2 or more] px each.
            image: [height, width, 3] uint8.
            seconds: of the frame.

        Returns:
            Its number in `faces`, None where it is not there.
        """
        if self._is_cut(image) and self._followed is not None:
            self._cut(seconds)
        spots = [_spot(points, seconds) for points in faces]
        if self._followed is None:
            chosen = max(range(len(spots)), key=lambda i: spots[i].size, default=None)
        else:
            chosen = self._find(spots, faces, image, seconds)
        self._note(chosen, spots, seconds)
        if chosen is not None:
            self._keep(spots[chosen], sample(image, faces[chosen]))
        self._others = [o for o in self._others if seconds - o.seconds < _FORGET_S]
        self._before = seconds
        return chosen

    def notes(self) -> list[str]:
        """What is to be said of losses and cuts; empty where there were none."""
        lines = []
        closed = [(a, b) for a, b in self.losses if a is not None and b is not None]
        if closed:
            start, stop = max(closed, key=lambda loss: loss[1] - loss[0])
            lines.append(
                f"the face is lost {len(closed)} time{'s' * (len(closed) > 1)}, longest "
                f"{stop - start:.2f} s from {start:.2f} s, and found again at its place"
            )
        if self.is_lost:
            line = f"the face is lost from {self.losses[-1][0]:.2f} s to the end"
            if self.strangers:
                line += (
                    f", though {self.strangers} frames show one: not taken for the same (place, "
                    "size, looks); cut the clip there to follow it"
                )
            lines.append(line)
        if self.cuts:
            places = ", ".join(f"{at:.2f}" for at in self.cuts[:_NAMED])
            more = f" and {len(self.cuts) - _NAMED} more" if len(self.cuts) > _NAMED else ""
            lines.append(
                f"the picture changes at once at {places}{more} s (a cut?): look whether the face "
                "is still the same person's"
            )
        return lines

    def _find(
        self, spots: list[_Spot], faces: list[np.ndarray], image: np.ndarray, seconds: float
    ) -> int | None:
        """The followed one, or None; the others are followed too, so that none is taken for it."""
        followed = self._followed
        assert followed is not None
        tracks = [followed, *self._others]
        recent = [t for t in tracks if t.seconds == self._before]
        if self._strict:
            recent = [t for t in recent if t is not followed]
        origin: dict[int, _Spot] = {}
        _match(recent, spots, origin)
        _match([t for t in tracks if t not in recent], spots, origin)
        held = next((i for i, t in origin.items() if t is followed and followed in recent), None)
        if held is not None and self._is_sudden(sample(image, faces[held]), seconds):
            self._cut(seconds)
            del origin[held]
            held = None
        if held is None:
            candidates = [i for i in range(len(spots)) if not (i in origin and origin[i].another)]
            candidates.sort(key=lambda i: _way(followed, spots[i]))
            held = next(
                (i for i in candidates if self._is_same(spots[i], origin.get(i), image, faces[i])),
                None,
            )
        self._others = [o for o in self._others if o not in origin.values()]
        for i, spot in enumerate(spots):
            if i != held:
                before = origin.get(i)
                spot.another = held is not None or (before is not None and before.another)
                spot.astray |= before is not None and before.astray
                self._others.append(spot)
        return held

    def _is_same(
        self, spot: _Spot, before: _Spot | None, image: np.ndarray, points: np.ndarray
    ) -> bool:
        """Whether a face may be the followed one, found again."""
        followed = self._followed
        assert followed is not None
        gap = np.inf if self._strict else spot.seconds - followed.seconds
        if not _fits(followed, spot, gap):
            spot.astray = True
            return False
        view = sample(image, points)
        if view.std() < _FLAT:
            return not self._strict
        astray = before is not None and before.astray
        wanted = _PLAUSIBLE if gap <= _SHORT_S else _SIMILAR
        return self._likeness(view) >= (_ALIKE if self._strict or astray else wanted)

    def _keep(self, spot: _Spot, view: np.ndarray) -> None:
        self._followed, self._last_view, self._strict = spot, view, False
        if len(self._gallery) and (view.std() < _FLAT or self._likeness(view) > _NOVEL):
            return
        kept = self._gallery
        if len(kept) == _GALLERY:
            kept = np.delete(kept, 1, axis=0)  # the first one is surely of the followed
        self._gallery = np.vstack([kept, _unit(view)])

    def _likeness(self, view: np.ndarray) -> float:
        return float((self._gallery @ _unit(view)).max())

    def _is_sudden(self, view: np.ndarray, seconds: float) -> bool:
        last = self._last_view
        if last is None or seconds - self._before > _SUDDEN_S:
            return False
        if min(view.std(), last.std()) < _FLAT:
            return False
        return float(_unit(view) @ _unit(last)) < _SUDDEN

    def _is_cut(self, image: np.ndarray) -> bool:
        """Whether the whole picture is another one than before."""
        height, width, _ = image.shape
        rows, columns = (np.arange(n) * side // n for n, side in ((24, height), (32, width)))
        picture = image[rows[:, None], columns, _GREEN].ravel().astype(np.float64)
        last, self._last_picture = self._last_picture, picture
        if last is None or np.abs(picture - last).mean() < _CUT_LEVELS:
            return False
        return float(_unit(picture) @ _unit(last)) < _CUT

    def _cut(self, seconds: float) -> None:
        """From now on places say nothing of who was there before."""
        self._strict, self._others, self._last_view = True, [], None
        if not self.cuts or self.cuts[-1] != seconds:
            self.cuts.append(seconds)

    def _note(self, chosen: int | None, spots: list[_Spot], seconds: float) -> None:
        if self._followed is None:
            if chosen is not None:
                self._others = [s for i, s in enumerate(spots) if i != chosen]
                for spot in self._others:
                    spot.another = True
        elif chosen is not None and self.is_lost:
            self.losses[-1][1] = seconds
        elif chosen is None:
            if not self.is_lost:
                self.losses.append([seconds, None])
                self.strangers = 0
            self.strangers += bool(spots)


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Brightness 0-255 [256] at a grid that the eyes and the mouth span.

    Args:
        image: [height, width, 3].
        points: [68, 2 or more] px.
    """
    left, right, mouth = (points[a:b, :2].mean(axis=0) for a, b in ((36, 42), (42, 48), (48, 60)))
    middle = (left + right) / 2
    across = np.linspace(-1.6, 1.6, _SAMPLES)[:, None] * (right - left) / 2
    down = np.linspace(-0.9, 1.6, _SAMPLES)[:, None] * (mouth - middle)
    grid = (middle + down[:, None] + across).reshape(-1, 2)
    column, row = np.rint(grid).astype(np.int64).T
    height, width, _ = image.shape
    light = image[row.clip(0, height - 1), column.clip(0, width - 1), _GREEN]
    return light.astype(np.float64)


def _spot(points: np.ndarray, seconds: float) -> _Spot:
    flat = points[:, :2]
    return _Spot(flat.mean(axis=0), float(np.linalg.norm(np.ptp(flat, axis=0))), seconds)


def _way(a: _Spot, b: _Spot) -> float:
    """Distance in face sizes."""
    return float(np.linalg.norm(a.centre - b.centre)) / max(a.size, b.size)


def _fits(a: _Spot, b: _Spot, gap_s: float) -> bool:
    near = _way(a, b) <= min(_NEAR + _SPEED * gap_s, _FAR)
    return near and max(a.size, b.size) <= _GROWTH * min(a.size, b.size)


def _match(tracks: list[_Spot], spots: list[_Spot], origin: dict[int, _Spot]) -> None:
    """Give each track the nearest face that has no origin yet, nearest pairs first."""
    pairs = sorted(
        (
            (_way(track, spot), t, i)
            for t, track in enumerate(tracks)
            for i, spot in enumerate(spots)
            if i not in origin and _fits(track, spot, spot.seconds - track.seconds)
        ),
    )
    taken: set[int] = set()
    for _, t, i in pairs:
        if t not in taken and i not in origin:
            origin[i] = tracks[t]
            taken.add(t)


def _unit(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-9))
