"""Which way up a photo is, where its file does not say.

Nets and face detectors know upright people only.  A photo of somebody who lies, or whose
camera did not record how it was held, is turned so that it shows a person best; its trimap
is then turned back.  Turns are whole quarters, so that no
pixel is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.matting.presence import mean_certainty, person_certainty

# Probability from which on an upright face is believed without a search of the other turns.
# Upside down the net takes the chins of 5 of 40 portraits for foreheads, of up to 0.77; their
# true faces, upright, have 0.71 to 0.96, always the highest of all turns.  Measured on 2026-11-28.
CERTAIN_FACE = 0.8
# Mean of the probabilities of a face in a turned photo and in its mirror image, from which on
# the photo is turned.  The true faces of those portraits have 0.79 and more; a clock on its
# side has 0.73, a street 0.68.  Measured on 2026-11-28.
CERTAIN_TURNED_FACE = 0.77

# A photo without a face is turned only where the segmenter is beyond doubt in another turn
# (median, of at most 12) and leads (mean).  Among 27 photos of people (scikit-image's two, 8
# with blurred faces, small copies, photos of other packages) 26 have the highest mean
# upright, 1.01 to 3.5 times that of the best other turn, and 22 a median of 12.  One, bent
# down to a shoe, has 1.14 times as much lying and must not be turned.  A cat looks like
# a person of 11.54 upside down, a logo of 11.08 lying.  Measured on 2026-11-28.
CERTAIN_TURNED = 11.8
TURN_LEAD = 1.2


def turned(image: np.ndarray, turns: int) -> np.ndarray:
    """An image turned counterclockwise by quarters.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, K)
    turns : int
        Negative ones go clockwise.

    Returns
    -------
    ndarray of shape (W, H[, K]) for odd turns, else of the image's shape
        C-contiguous.
    """
    return np.ascontiguousarray(np.rot90(image, turns))


def turned_points(points: np.ndarray, turns: int, shape: Sequence[int]) -> np.ndarray:
    """Where points of an image are after `turned`.

    Parameters
    ----------
    points : ndarray of shape (N, 2)
        x and y in pixels; pixel centers are at whole numbers.
    turns : int
    shape : (H, W, ...)
        The image's before it is turned.

    Returns
    -------
    ndarray of shape (N, 2), float64
    """
    height, width = shape[:2]
    x, y = np.asarray(points, float).T
    for _ in range(turns % 4):
        x, y = y, width - 1 - x
        height, width = width, height
    return np.stack([x, y], axis=1)


def surest_turn(logits: Sequence[np.ndarray]) -> int:
    """The turn in which a segmenter is surest of the people of a photo without faces.

    Parameters
    ----------
    logits : sequence of ndarray of shape (H, W)
        Those of the photo turned by 0, 1, 2 and 3 quarters, see `presence.person_certainty`.

    Returns
    -------
    int
        0 unless another turn is beyond doubt (`CERTAIN_TURNED`) and leads (`TURN_LEAD`).
    """
    means = [mean_certainty(logit) for logit in logits]
    turns = int(np.argmax(means))
    leads = means[turns] > TURN_LEAD * means[0]
    return turns if leads and person_certainty(logits[turns]) >= CERTAIN_TURNED else 0
