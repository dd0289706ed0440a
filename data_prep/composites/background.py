"""What is behind a person: a piece of a photograph with drawn things in it, sharp or not.

A net that has seen blurred backgrounds alone takes what is sharp for a part of the
person: railings, fences, walls, lettering.  So half of these backgrounds are in focus,
and straight edges, stripes and letters are drawn into some.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

DRAWINGS = ("railing", "fence", "wall", "stripes", "lettering", "shapes")
DRAWING_SHARE = 0.4
SHARP_SHARE = 0.5
LETTERS = "ABCDEFGHIKLMNOPRSTUVWXYZ0123456789&"


@dataclass(frozen=True)
class BackgroundChoice:
    """One draw of everything.

    Attributes
    ----------
    photograph : int
        Which of the photographs given.
    place : (float, float)
        Place of the piece in what the photograph leaves free, from its upper left corner, 0 to 1.
    extent : float
        Height of the piece, in the largest one that fits.
    mirrored : bool
    blur : float
        Radius of what is out of focus, in heights of the frame; 0 is sharp.
    gain, contrast, saturation : float
        1 leaves the photograph as it is.
    drawing : str
        One of `DRAWINGS`, or "".
    seed : int
        Seed of what is drawn.
    """

    photograph: int
    place: tuple[float, float]
    extent: float
    mirrored: bool
    blur: float
    gain: float
    contrast: float
    saturation: float
    drawing: str
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator, photographs: int) -> BackgroundChoice:
        """A random one, of so many photographs."""
        drawn = rng.random() < DRAWING_SHARE
        return cls(
            photograph=int(rng.integers(photographs)),
            place=(float(rng.random()), float(rng.random())),
            extent=float(rng.uniform(0.35, 1)),
            mirrored=bool(rng.random() < 0.5),
            blur=0.0 if rng.random() < SHARP_SHARE else float(rng.uniform(0.002, 0.02)),
            gain=float(np.exp(rng.normal(0, 0.25))),
            contrast=float(rng.uniform(0.8, 1.2)),
            saturation=float(rng.uniform(0.5, 1.3)),
            drawing=str(rng.choice(DRAWINGS)) if drawn else "",
            seed=int(rng.integers(2**31)),
        )


def piece_of(
    photograph: np.ndarray, choice: BackgroundChoice, shape: tuple[int, int]
) -> np.ndarray:
    """A piece of a photograph, of the shape of the frame.

    Parameters
    ----------
    photograph : (rows, columns, 3) uint8 ndarray
    choice : BackgroundChoice
    shape : (H, W)

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    rows, columns = photograph.shape[:2]
    height = max(8, round(choice.extent * min(rows, columns * shape[0] / shape[1])))
    width = min(columns, max(6, round(height * shape[1] / shape[0])))
    top = round(choice.place[1] * (rows - height))
    left = round(choice.place[0] * (columns - width))
    piece = photograph[top : top + height, left : left + width]
    if choice.mirrored:
        piece = piece[:, ::-1]
    kind = cv2.INTER_AREA if height > shape[0] else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(piece), shape[::-1], interpolation=kind)


def make_background(
    photograph: np.ndarray, choice: BackgroundChoice, shape: tuple[int, int]
) -> np.ndarray:
    """A background of a photograph: piece, drawing, tones, focus.

    Parameters
    ----------
    photograph : (rows, columns, 3) uint8 ndarray
        BGR.
    choice : BackgroundChoice
    shape : (H, W)

    Returns
    -------
    (H, W, 3) float32 ndarray
        BGR, 0 to 255.
    """
    picture = piece_of(photograph, choice, shape)
    if choice.drawing:
        picture = drawn_over(picture, choice.drawing, np.random.default_rng(choice.seed))
    levels = picture.astype(np.float32)
    gray = levels.mean(axis=2, keepdims=True)
    levels = gray + choice.saturation * (levels - gray)
    levels = 127.5 + choice.contrast * (choice.gain * levels - 127.5)
    return out_of_focus(levels.clip(0, 255), choice.blur * shape[0])


def out_of_focus(image: np.ndarray, radius: float) -> np.ndarray:
    """Mean over a disk of so many pixels, as a wide aperture shows what is far away."""
    if radius < 0.7:
        return image
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)


# --- drawings -------------------------------------------------------------------


def drawn_over(picture: np.ndarray, drawing: str, rng: np.random.Generator) -> np.ndarray:
    """A picture, (H, W, 3) uint8, with one of `DRAWINGS` over some of it."""
    over, coverage = np.empty_like(picture), np.zeros(picture.shape[:2], np.uint8)
    over[:] = _color(rng)
    _DRAW[drawing](rng, over, coverage)
    alpha = coverage[..., None] / np.float32(255)
    return np.rint(alpha * over + (1 - alpha) * picture).astype(np.uint8)


def _color(rng: np.random.Generator) -> list[int]:
    """A color, gray more often than not."""
    gray = rng.uniform(10, 245)
    return (
        np.clip(gray + rng.normal(0, rng.choice([6, 60]), 3), 0, 255).round().astype(int).tolist()
    )


def _line(coverage: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    """A straight line, smoothed at its edges, between two points (x, y)."""
    points = [tuple(np.rint(16 * np.asarray(point)).astype(int).tolist()) for point in (start, end)]
    cv2.line(coverage, *points, 255, max(1, round(width)), cv2.LINE_AA, shift=4)


def _parallel(rng: np.random.Generator, coverage: np.ndarray, angle: float, gap: float) -> None:
    """Parallel lines over everything, some or most of the gap wide."""
    height, width = coverage.shape
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    middle, reach = np.array([width, height]) / 2, np.hypot(width, height)
    thickness = gap * rng.uniform(0.1, 0.6)
    for offset in np.arange(-reach / 2, reach / 2, gap) + rng.uniform(0, gap):
        point = middle + offset * across
        _line(coverage, point - reach * along, point + reach * along, thickness)


def _railing(rng: np.random.Generator, over: np.ndarray, coverage: np.ndarray) -> None:
    """Bars between two rails, from somewhere down."""
    height, width = coverage.shape
    top, tilt = rng.uniform(0.1, 0.7) * height, rng.uniform(-0.1, 0.1) * width
    bottom = top + rng.uniform(0.3, 1) * height
    gap = rng.uniform(0.03, 0.12) * width
    for x in np.arange(-gap, width + gap, gap) + rng.uniform(0, gap):
        rise = tilt * x / width
        _line(
            coverage, np.array([x, top + rise]), np.array([x, bottom]), gap * rng.uniform(0.1, 0.3)
        )
    for y in (top, bottom):
        ends = np.array([0, y]), np.array([width, y + tilt])
        _line(coverage, *ends, rng.uniform(0.008, 0.03) * height)


def _fence(rng: np.random.Generator, over: np.ndarray, coverage: np.ndarray) -> None:
    """Wire or lattice in two directions."""
    gap, angle = rng.uniform(0.02, 0.1) * coverage.shape[0], rng.uniform(0.3, 0.8)
    for sign in (-1, 1):
        _parallel(rng, coverage, sign * angle, gap)


def _stripes(rng: np.random.Generator, over: np.ndarray, coverage: np.ndarray) -> None:
    """Stripes of two colors, upright, level or aslant."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    _parallel(rng, coverage, float(angle), rng.uniform(0.02, 0.2) * coverage.shape[0])


def _wall(rng: np.random.Generator, over: np.ndarray, coverage: np.ndarray) -> None:
    """Bricks, tiles or slabs with joints, over all or up to an upright edge."""
    height, width = coverage.shape
    brick = rng.uniform(0.02, 0.12) * height
    length, joint = brick * rng.uniform(1, 3), max(1, round(brick * rng.uniform(0.03, 0.15)))
    base, joints = np.array(_color(rng)), _color(rng)
    over[:] = joints
    for row, y in enumerate(np.arange(0, height, brick)):
        for x in np.arange(-length * (row % 2) / 2, width, length):
            color = np.clip(base + rng.normal(0, 14), 0, 255).tolist()
            corner = (round(x) + joint, round(y) + joint)
            cv2.rectangle(over, corner, (round(x + length), round(y + brick)), color, -1)
    over[:] = np.clip(over + rng.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8)
    edge = round(rng.uniform(0.3, 1.6) * width)
    side = slice(edge) if rng.random() < 0.5 else slice(max(0, width - edge), width)
    coverage[:, side] = 255


def _lettering(rng: np.random.Generator, over: np.ndarray, coverage: np.ndarray) -> None:
    """Some lines of large letters."""
    height, width = coverage.shape
    fonts = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)
    for _ in range(rng.integers(1, 5)):
        text = "".join(rng.choice(list(LETTERS), rng.integers(3, 12)))
        size = rng.uniform(1, 7)
        place = (round(rng.uniform(-0.3, 0.6) * width), round(rng.uniform(0.1, 1) * height))
        thickness = max(1, round(size * rng.uniform(1.5, 4)))
        font = int(rng.choice(fonts))
        cv2.putText(coverage, text, place, font, size, 255, thickness, cv2.LINE_AA)


def _shapes(rng: np.random.Generator, over: np.ndarray, coverage: np.ndarray) -> None:
    """Furniture, doors, lamps: a few quadrangles and ellipses of one color each."""
    height, width = coverage.shape
    for _ in range(rng.integers(2, 8)):
        shape = np.zeros_like(coverage)
        middle = rng.uniform(0, 1, 2) * (width, height)
        reach = rng.uniform(0.04, 0.4, 2) * (width, height)
        if rng.random() < 0.5:
            corners = middle + reach * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
            corners += rng.normal(0, 0.1, (4, 2)) * reach
            cv2.fillConvexPoly(shape, np.rint(corners).astype(np.int32), 255, cv2.LINE_AA)
        else:
            axes = (tuple(middle.tolist()), tuple((2 * reach).tolist()), float(rng.uniform(0, 180)))
            cv2.ellipse(shape, axes, 255, -1, cv2.LINE_AA)
        over[shape > 0] = _color(rng)
        np.maximum(coverage, shape, out=coverage)


_DRAW = {
    "railing": _railing,
    "fence": _fence,
    "wall": _wall,
    "stripes": _stripes,
    "lettering": _lettering,
    "shapes": _shapes,
}
