"""Whether a file can be the true matte of a portrait, from its values and where they lie.

Only what no true matte can be is refused: training or measuring with it would be
meaningless without looking wrong.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from data_prep.common.errors import InputError

HALF = 128  # of 255
#: Files with so few values hold labels; with alphas they hold dozens.
FEW_LEVELS = 3
#: Labels for background and foreground that are near enough to 0 and 255.
LARGEST_BACKGROUND, SMALLEST_FOREGROUND = 5, 250
#: Values of an unknown region.
UNKNOWN_LABELS = range(112, 145)

# A matte is inverted where the upper rim of the photo is foreground and what the
# portrait is of, its face or else its middle, is background.  With a face the rim may
# hold a little more of the person.
INVERTED_MIDDLE = 0.1
INVERTED_RIM, INVERTED_RIM_WITH_FACE = 0.9, 0.75


def describe_levels(image: np.ndarray) -> str:
    """The values of a uint8 image, as in "0, 1 and 2"; their range where they are many."""
    levels = np.unique(image).tolist()
    if len(levels) > FEW_LEVELS:
        return f"{levels[0]} to {levels[-1]}"
    return " and ".join(filter(None, (", ".join(map(str, levels[:-1])), str(levels[-1]))))


def matte_fault(matte: np.ndarray, landmarks: np.ndarray | None = None) -> str | None:
    """Why an image cannot be the matte of a portrait.

    Parameters
    ----------
    matte : (H, W) uint8 ndarray
    landmarks : (68, 2) ndarray, optional
        Landmarks of the face in the photo: x and y in pixels.

    Returns
    -------
    str or None
        How the sentence "the matte ..." ends: it has no foreground or no background, holds
        labels other than 0 and 255, or is inverted.  None where nothing is wrong.
    """
    levels = np.unique(matte).tolist()
    lowest, highest = levels[0], levels[-1]
    if highest < HALF:
        if highest == 0:
            remedy = "it is all black"
        elif highest == 1:
            remedy = "a mask of 0 and 1 has to be multiplied by 255"
        else:
            remedy = "foreground has to be 255"
        return f"has no foreground: its largest value is {highest} of 255; {remedy}"
    if lowest >= HALF:
        remedy = "it is all white" if lowest == 255 else "background has to be 0"
        return f"has no background: its smallest value is {lowest} of 255; {remedy}"
    if len(levels) <= FEW_LEVELS:
        values = describe_levels(matte)
        if lowest > LARGEST_BACKGROUND or highest < SMALLEST_FOREGROUND:
            return f"holds only {values}; background has to be 0 and foreground 255"
        if len(levels) == 3 and levels[1] in UNKNOWN_LABELS:
            return (
                f"holds only {values}, so it is a trimap; "
                "make a matte of it with `python -m data_prep.make_mattes`"
            )
    return inversion_fault(matte, landmarks)


def inversion_fault(matte: np.ndarray, landmarks: np.ndarray | None = None) -> str | None:
    """The sign that a matte or trimap is inverted; None where there is none.

    Parameters and result as `matte_fault` has them.
    """
    height, width = matte.shape
    upper = matte[: max(1, height // 2)]
    rim = np.concatenate([matte[0], upper[:, 0], upper[:, -1]])
    if landmarks is None:
        middle = matte[height // 3 : -(height // 3), width // 3 : -(width // 3)]
        what, least_rim = "middle", INVERTED_RIM
    else:
        face = np.zeros(matte.shape, np.uint8)
        cv2.fillConvexPoly(face, cv2.convexHull(np.rint(landmarks).astype(np.int32)), 1)
        middle = matte[face == 1]
        what, least_rim = "face", INVERTED_RIM_WITH_FACE
    if middle.size == 0:  # a face beyond the photo's border
        return None
    rim_share, middle_share = rim.mean() / 255, middle.mean() / 255
    if rim_share < least_rim or middle_share > INVERTED_MIDDLE:
        return None
    return (
        f"seems to be inverted: the {what} is background (mean alpha {middle_share:.2f}) and "
        f"the upper rim foreground ({rim_share:.2f}); invert it"
    )


def check_matte(matte: np.ndarray, path: Path, landmarks: np.ndarray | None = None) -> None:
    """Refuse what cannot be the matte of a portrait; parameters as `matte_fault`.

    Raises
    ------
    InputError
        If `matte_fault` finds something; the message begins with the path.
    """
    fault = matte_fault(matte, landmarks)
    if fault is not None:
        raise InputError(f"{path} {fault}.")
