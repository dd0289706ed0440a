"""Where the matting system has to be solved, and where its solution is known.

Where lambda (F + B) is about 100 against the Laplacian's 10, a pixel forgets its surroundings by
a factor of ten a pixel: a few pixels inside the decided part of an image alpha is F / (F + B).
What has to be solved for is the *active region*, the undecided pixels and some around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from caffe_layers import _hybrid  # type: ignore[attr-defined]  # compiled

#: Pixels with lambda (F + B) below this are weak: the Laplacian, whose
#: diagonal is of the order of 10, matters there.
WEAK_DATA = 20.0
#: How far the active region reaches beyond undecided pixels, in reaches of the stencil, which
#: is 2 pixels for windows of 3 x 3.
GROWTH = 4
#: The same of the part of it that is factorized.
HARD_GROWTH = 2
#: The part of the allowed residual that is left to the pixels outside the active region.
OUTER_SHARE = _hybrid.OUTER_SHARE
#: A larger share of active pixels is not worth the distinction: all pixels are active then.
MOST_ACTIVE = 0.8


@dataclass(frozen=True)
class ActiveRegion:
    """Parts of an image by how they are solved.

    Attributes
    ----------
    parts : (H, W) uint8 ndarray
        For every pixel the bits of the parts that it is in, so that a large photo has one byte a
        pixel of them: `_hybrid.HARD` and so on.
    """

    parts: np.ndarray

    @property
    def hard(self) -> np.ndarray:
        """(H, W) uint8, 1 in the part that is factorized: at weak pixels and some around them."""
        return self._part(_hybrid.HARD)

    @property
    def active(self) -> np.ndarray:
        """(H, W) uint8, 1 at the pixels that are solved for together; hard pixels are."""
        return self._part(_hybrid.ACTIVE)

    @property
    def reached(self) -> np.ndarray:
        """(H, W) uint8, 1 within the stencil's reach of an active pixel."""
        return self._part(_hybrid.REACHED)

    @property
    def outer(self) -> np.ndarray:
        """(H, W) uint8, 1 within the stencil's reach of a pixel that is not active."""
        return self._part(_hybrid.OUTER)

    @property
    def decided(self) -> np.ndarray:
        """(H, W) uint8, 0 at weak pixels and those that affinities tie, which all are active."""
        return self._part(_hybrid.DECIDED)

    def _part(self, bit: int) -> np.ndarray:
        return ((self.parts & bit) > 0).view(np.uint8)


def active_region(
    data: np.ndarray,
    radius: int = 1,
    tied: np.ndarray | None = None,
    rhs: np.ndarray | None = None,
    tolerance: float = 0.0,
    growth: int = GROWTH,
) -> ActiveRegion:
    """The active region of a matting system.

    Parameters
    ----------
    data : (H, W) float64 ndarray
        lambda (F + B).
    radius : int
        Of the Laplacian's windows.
    tied : (n,) int ndarray, optional
        Row-major indices of the pixels that affinities tie to others.
    rhs : (H, W) float64 ndarray, optional
        lambda F.  Where F / (F + B) is not even, decided pixels are active too, so that L takes
        it to nearly zero on all others.
    tolerance : float
        Norm of the residual that this may leave.
    growth : int
        See `GROWTH`; at least 2, so that no outer pixel is undecided.
    """
    reach = 2 * radius
    weak = (data < WEAK_DATA).view(np.uint8)
    undecided = weak
    if tied is not None:
        undecided = weak.copy()
        undecided.ravel()[tied] = 1
    active = grown(undecided, growth * reach)
    if rhs is not None:
        step = _hybrid.largest_step(tolerance, data.size, radius)
        outer = grown(1 - active, reach)
        active |= grown(_hybrid.uneven_pixels(rhs, data, outer, step), reach)
    if np.count_nonzero(active) > MOST_ACTIVE * active.size:
        active = np.ones_like(active)
    parts = grown(weak, HARD_GROWTH * reach) * _hybrid.HARD
    parts |= active * _hybrid.ACTIVE
    parts |= grown(active, reach) * _hybrid.REACHED
    parts |= grown(1 - active, reach) * _hybrid.OUTER
    parts |= (1 - undecided) * _hybrid.DECIDED
    return ActiveRegion(parts)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask and all that lies within a number of pixels of it, diagonals included."""
    return cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))
