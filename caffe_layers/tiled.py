"""Alpha mattes of photos that are too large to be solved as one system.

A matting system takes up to 400 bytes a pixel.  Above `WHOLE_PIXELS` the photo
is cut into overlapping tiles (alternating Schwarz): alpha is first solved on
a reduced photo, then every tile that holds unknown pixels is solved at full
size, with the alpha that is there already as its boundary values.  What a
wrong boundary value does dies out within the overlap: where two tiles agree on what both
have solved, as they do in most photos, that is the whole system's solution, seams
included; others are solved a second time.  Every tile has affinities of its own: its pixels
have no neighbors elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

from caffe_layers.active_region import GROWTH, WEAK_DATA, grown
from caffe_layers.affinities import UNKNOWN, unknown_region
from caffe_layers.laplacian import DEFAULT_EPSILON
from caffe_layers.matting import DEFAULT_LAMBDA, solve_alpha
from caffe_layers.matting_system import check_sizes
from caffe_layers.smoothing import smoothed

# Largest photo solved as one system: at most 6 GiB, less where little is undecided.
WHOLE_PIXELS = 14_000_000
# Largest number of unknown pixels solved as one system: their factor grows faster.
WHOLE_UNKNOWN = 4_000_000
TILE = 2048
OVERLAP = 256
SWEEPS = 2
# Tiles that differ by no more in the alpha of any pixel agree: a quarter of what 8 bits tell apart.
AGREEMENT = 1e-3
COARSE_PIXELS = 2_000_000

# F and B of a pixel that both are larger leave alpha between 0 and 1.
BOTH_LIKELY = 1e-4

RIM = 2  # pixels that a 3x3 window reaches beyond a tile
RIM_WEIGHT = 1e4  # F + B of the rim: alpha stays what it is

#: Rows and columns of an image.
Window = tuple[slice, slice]


def solve_alpha_bounded(
    image: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
    lambda_: float = DEFAULT_LAMBDA,
    epsilon: float = DEFAULT_EPSILON,
    mu: float = 0.0,
    smooth: bool = False,
) -> np.ndarray:
    """`matting.solve_alpha` in bounded memory: as a whole if it fits, else in tiles.

    Parameters and result are those of `matting.solve_alpha`.

    Raises
    ------
    ValueError
        As `matting.solve_alpha` does.
    SolveError
        Likewise.
    """
    check_sizes(foreground, background, image.shape[:2])
    unknown = np.count_nonzero(unknown_region(foreground, background))
    if foreground.size <= WHOLE_PIXELS and unknown <= WHOLE_UNKNOWN:
        return solve_alpha(image, foreground, background, lambda_, epsilon, mu, smooth=smooth)
    if smooth:  # before there are tiles: a tile does not see what is around it
        image = smoothed(image, _whose_colors_count(foreground, background, lambda_))
    return solve_alpha_in_tiles(image, foreground, background, lambda_, epsilon, mu)


def solve_alpha_in_tiles(
    image: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
    lambda_: float = DEFAULT_LAMBDA,
    epsilon: float = DEFAULT_EPSILON,
    mu: float = 0.0,
    tile: int = TILE,
    overlap: int = OVERLAP,
    sweeps: int = SWEEPS,
    coarse_pixels: int = COARSE_PIXELS,
) -> np.ndarray:
    """`matting.solve_alpha`, tile by tile.

    Parameters
    ----------
    image, foreground, background, lambda_, epsilon, mu
        See `matting.solve_alpha`.
    tile, overlap : int
        Side of a tile and how far it reaches into its neighbors, in pixels.
    sweeps : int
        How often a tile is solved at most.
    coarse_pixels : int
        Size of the reduced photo that gives the first boundary values.

    Returns
    -------
    (H, W) float64 ndarray
        Alpha, clipped to [0, 1].

    Raises
    ------
    ValueError
        If the shapes differ, lambda is not positive, mu is negative or an input is not finite.
    SolveError
        If a linear system could not be solved accurately.
    """
    # A tile of an image that is larger than its maps fits them all the same.
    check_sizes(foreground, background, image.shape[:2])
    known = foreground + background
    alpha = _enlarged_coarse_alpha(
        image, foreground, background, lambda_, epsilon, mu, coarse_pixels
    )
    certain = known >= UNKNOWN
    alpha[certain] = (foreground[certain] / known[certain]).clip(0, 1)
    windows = [w for w in _tiles(alpha.shape, tile) if not certain[w].all()]
    solved: list[Window] = []  # all of them after the first sweep
    due = windows
    for _ in range(sweeps):
        disagreeing = []
        for window in due:
            grown, inner = _grown(window, alpha.shape, overlap)
            now = alpha[grown]
            rim = _rim(grown, alpha.shape)
            found = solve_alpha(
                image[grown],
                np.where(rim, RIM_WEIGHT * now, foreground[grown]),
                np.where(rim, RIM_WEIGHT * (1 - now), background[grown]),
                lambda_,
                epsilon,
                mu,
                extent=alpha.shape,
            )
            for other in solved:
                here, there = _common(grown, other)
                if np.abs(found[here] - alpha[there]).max(initial=0.0) > AGREEMENT:
                    disagreeing += [window, other]
            alpha[window] = found[inner]
            if window not in solved:
                solved.append(window)
        due = [window for window in windows if window in disagreeing]
    return alpha


def _whose_colors_count(
    foreground: np.ndarray, background: np.ndarray, lambda_: float
) -> np.ndarray:
    """(H, W) uint8, 1 where alpha is undecided or changes, and as far around as a solve reaches."""
    known = foreground + background
    is_open = (known < UNKNOWN) | (lambda_ * known < WEAK_DATA)
    is_open |= np.minimum(foreground, background) > BOTH_LIKELY
    person = (foreground > background).view(np.uint8)
    changes = cv2.morphologyEx(person, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    # Twice as far as the active region grows at first, and the stencil's reach around that.
    return grown(is_open.view(np.uint8) | changes, 2 * (2 * GROWTH + 1))


def _enlarged_coarse_alpha(
    image: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
    lambda_: float,
    epsilon: float,
    mu: float,
    pixels: int,
) -> np.ndarray:
    """Alpha of the photo reduced to `pixels`, (H, W) float64 at its own size."""
    height, width = foreground.shape
    scale = min(1.0, (pixels / foreground.size) ** 0.5)
    size = (max(3, round(scale * width)), max(3, round(scale * height)))

    def reduced(array: np.ndarray) -> np.ndarray:
        return cv2.resize(array, size, interpolation=cv2.INTER_AREA)

    known = [np.asarray(each, np.float32) for each in (foreground, background)]
    reduced_known = (reduced(known[0]), reduced(known[1]))
    alpha = solve_alpha(reduced(image), *reduced_known, lambda_, epsilon, mu)
    enlarged = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
    return enlarged


def _tiles(shape: tuple[int, int], side: int) -> Iterator[Window]:
    """Windows of nearly equal size, at most `side` high and wide, that cover an image."""
    axes = []
    for length in shape:
        count = -(-length // side)
        edges = [round(k * length / count) for k in range(count + 1)]
        axes.append([slice(*pair) for pair in itertools.pairwise(edges)])
    yield from itertools.product(*axes)


def _grown(window: Window, shape: tuple[int, int], overlap: int) -> tuple[Window, Window]:
    """The window with its overlap, and the window inside of that."""
    grown, inner = [], []
    for each, length in zip(window, shape):
        first = max(0, each.start - overlap)
        grown.append(slice(first, min(length, each.stop + overlap)))
        inner.append(slice(each.start - first, each.stop - first))
    return (grown[0], grown[1]), (inner[0], inner[1])


def _common(one: Window, other: Window) -> tuple[Window, Window]:
    """What two windows have in common, in the first one's pixels and in the image's."""
    both = [
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(one, other)
    ]
    here = [slice(b.start - a.start, b.stop - a.start) for a, b in zip(one, both)]
    return (here[0], here[1]), (both[0], both[1])


def _rim(grown: Window, shape: tuple[int, int]) -> np.ndarray:
    """Where a grown window ends inside the image: its outermost `RIM` pixels."""
    rows, columns = (_near_cut(each, length) for each, length in zip(grown, shape))
    return rows[:, None] | columns[None, :]


def _near_cut(extent: slice, length: int) -> np.ndarray:
    near = np.zeros(extent.stop - extent.start, bool)
    if extent.start > 0:
        near[:RIM] = True
    if extent.stop < length:
        near[-RIM:] = True
    return near
