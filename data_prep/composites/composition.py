"""One training photo: people at their places, before a background, behind what hides them.

All layers are composited as light is, I = aF + (1-a)B, people with the colors that the
studio delivers beside its mattes, so that the matte of the result is exact again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.composites.background import BackgroundChoice, make_background

SECOND_PERSON_SHARE = 0.15
OCCLUDER_SHARE = 0.12
GRAY_SHARE = 0.06
CAST_SHARE = 0.15
TOUCHING = 64  # levels of a matte at the border of its frame, from which it is cut off there
SMALLEST_PERSON = 0.25  # of the frame's height that the rendered frame takes up


@dataclass(frozen=True)
class Placement:
    """Where a rendered person stands.

    Attributes
    ----------
    scale : float
        1 is the size in the rendered frame.
    across : float
        Place in what the frame leaves free from left to right, 0 to 1.
    sunk : float
        How far the person's frame reaches below the picture, in heights of the picture;
        negative where it ends above, and something has to hide its end.
    mirrored : bool
    gain : float
        Factor of the colors.
    """

    scale: float
    across: float
    sunk: float
    mirrored: bool
    gain: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Placement:
        """A random one: near, at some distance, or far."""
        least, most = ((0.9, 1.35), (0.5, 0.9), (SMALLEST_PERSON, 0.5))[
            rng.choice(3, p=[0.5, 0.3, 0.2])
        ]
        raised = rng.random() < 0.15
        return cls(
            scale=float(np.exp(rng.uniform(np.log(least), np.log(most)))),
            across=float(rng.random()),
            sunk=float(rng.uniform(-0.4, -0.05) if raised else rng.uniform(0, 0.15)),
            mirrored=bool(rng.random() < 0.5),
            gain=float(np.exp(rng.normal(0, 0.15))),
        )


@dataclass(frozen=True)
class CompositionChoice:
    """One draw of everything but who is in the picture.

    Attributes
    ----------
    background : BackgroundChoice
    placements : sequence of Placement
        One for each person, the nearest last.
    occluder : BackgroundChoice or None
        What a thing in front of the person is made of.
    occluder_seed : int
        Seed of its shape.
    gains : (3,) tuple of float
        Factors of the whole photo's B, G and R.
    gray : bool
        The photo is black and white.
    """

    background: BackgroundChoice
    placements: Sequence[Placement]
    occluder: BackgroundChoice | None
    occluder_seed: int
    gains: tuple[float, float, float]
    gray: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, photographs: int) -> CompositionChoice:
        """A random one, with so many photographs to choose from."""
        people = 2 if rng.random() < SECOND_PERSON_SHARE else 1
        placements = sorted(
            (Placement.draw(rng) for _ in range(people)), key=lambda placement: placement.scale
        )
        hidden = rng.random() < OCCLUDER_SHARE or any(each.sunk < 0 for each in placements)
        cast = 0.2 if rng.random() < CAST_SHARE else 0.04
        return cls(
            background=BackgroundChoice.draw(rng, photographs),
            placements=placements,
            occluder=BackgroundChoice.draw(rng, photographs) if hidden else None,
            occluder_seed=int(rng.integers(2**31)),
            gains=tuple(np.exp(rng.normal(0, cast, 3)).tolist()),
            gray=bool(rng.random() < GRAY_SHARE),
        )


def placed(foreground: np.ndarray, placement: Placement, shape: tuple[int, int]) -> np.ndarray:
    """A person at a place, premultiplied.

    Where the rendered frame cuts a person off at a side, that side stays at, or beyond,
    the same side of the picture: nobody ends in the air.

    Parameters
    ----------
    foreground : (rows, columns, 4) uint8 ndarray
        BGR, not premultiplied, and the matte.
    placement : Placement
    shape : (H, W)
        Shape of the picture.

    Returns
    -------
    (H, W, 4) float32 ndarray
        0 to 255.
    """
    if placement.mirrored:
        foreground = np.ascontiguousarray(foreground[:, ::-1])
    layer = foreground.astype(np.float32)
    layer[..., :3] *= placement.gain * layer[..., 3:] / 255
    layer[..., :3] = np.minimum(layer[..., :3], layer[..., 3:])
    rows, columns = layer.shape[:2]
    cut_left, cut_right = ((foreground[:, side, 3] >= TOUCHING).any() for side in (0, -1))
    scale = placement.scale * shape[0] / rows
    if cut_left and cut_right:
        scale = max(scale, shape[1] / columns)
    width, height = scale * columns, scale * rows
    # From the left edge alone, where the picture is narrower than the person's frame, up to
    # the right edge alone.
    lowest, highest = sorted((0.0, shape[1] - width))
    if width < shape[1]:
        lowest, highest = -0.3 * width, shape[1] - 0.7 * width
    if cut_left:
        highest = min(highest, 0.0)
    if cut_right:
        lowest = max(lowest, shape[1] - width)
    left = lowest + placement.across * max(0.0, highest - lowest)
    top = shape[0] * (1 + placement.sunk) - height
    if scale < 1:
        # Linear interpolation looks at 2 x 2 pixels only.
        layer = cv2.GaussianBlur(layer, (0, 0), max(0.3, 0.5 * np.sqrt(scale**-2 - 1)))
    # Pixel centers lie at halves.
    move = 0.5 * (scale - 1)
    matrix = np.array([[scale, 0, left + move], [0, scale, top + move]])
    return cv2.warpAffine(layer, matrix, shape[::-1], flags=cv2.INTER_LINEAR)


def occluder_coverage(shape: tuple[int, int], top: float | None, seed: int) -> np.ndarray:
    """Coverage of a thing in front of the people, (H, W) float32 in [0, 1].

    Parameters
    ----------
    shape : (H, W)
    top : float or None
        Row from which everything has to be hidden: a table, a wall.  None: a post, a rail or
        a thing held up, somewhere.
    seed : int
    """
    rng = np.random.default_rng(seed)
    height, width = shape
    coverage = np.zeros(shape, np.uint8)
    if top is not None:
        tilt = rng.uniform(-0.04, 0.04) * width
        edge = [(0, top - abs(tilt) - tilt), (width, top - abs(tilt) + tilt)]
        corners = np.array([*edge, (width, 2 * height), (0, 2 * height)])
    elif rng.random() < 0.5:
        middle, thick = rng.uniform(0.1, 0.9), rng.uniform(0.01, 0.08)
        upright = rng.random() < 0.5
        one, other = (width, height) if upright else (height, width)
        lean = rng.uniform(-0.1, 0.1)
        strip = [
            (one * (middle - thick - lean), -other),
            (one * (middle + thick - lean), -other),
            (one * (middle + thick + lean), 2 * other),
            (one * (middle - thick + lean), 2 * other),
        ]
        corners = np.array(strip if upright else [point[::-1] for point in strip])
    else:
        middle = rng.uniform((0.15, 0.2), (0.85, 1)) * (width, height)
        reach = rng.uniform(0.03, 0.15, 2) * height
        turn = rng.uniform(0, np.pi)
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        corners = middle + (reach * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])) @ axes
    points = np.rint(16 * corners).astype(np.int32)
    cv2.fillConvexPoly(coverage, points, 255, cv2.LINE_AA, shift=4)
    return coverage / np.float32(255)


def compose(
    foregrounds: Sequence[np.ndarray],
    photographs: Sequence[np.ndarray],
    choice: CompositionChoice,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """The photo of a choice and its matte.

    Parameters
    ----------
    foregrounds : sequence of (rows, columns, 4) uint8 ndarray
        One for each of `choice.placements`: BGR, not premultiplied, and the matte.
    photographs : sequence of (rows, columns, 3) uint8 ndarray
        BGR; those of the choice's background and occluder, in this order.
    choice : CompositionChoice
    shape : (H, W)

    Returns
    -------
    photo : (H, W, 3) uint8 ndarray
        BGR.
    matte : (H, W) uint8 ndarray
    """
    picture = make_background(photographs[0], choice.background, shape)
    matte = np.zeros(shape, np.float32)
    for foreground, placement in zip(foregrounds, choice.placements, strict=True):
        layer = placed(foreground, placement, shape)
        rest = 1 - layer[..., 3] / 255
        picture = layer[..., :3] + rest[..., None] * picture
        matte = 1 - rest * (1 - matte)
    if choice.occluder is not None:
        ends = [shape[0] * (1 + each.sunk) for each in choice.placements if each.sunk < 0]
        coverage = occluder_coverage(shape, min(ends, default=None), choice.occluder_seed)
        thing = make_background(photographs[1], choice.occluder, shape)
        picture = coverage[..., None] * thing + (1 - coverage[..., None]) * picture
        matte *= 1 - coverage
    if choice.gray:
        picture = np.broadcast_to(picture @ np.float32([[0.114], [0.587], [0.299]]), picture.shape)
    picture = picture * np.float32(choice.gains if not choice.gray else (1, 1, 1))
    return np.rint(picture.clip(0, 255)).astype(np.uint8), np.rint(255 * matte).astype(np.uint8)
