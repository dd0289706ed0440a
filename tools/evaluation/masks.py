"""How far a mask is from a hard true one: intersection over union, of people and of their rims.

Both measures are 1 for equal masks and 0 for masks that share nothing.  Masks are (H, W)
boolean arrays; a region is an (H, W) boolean array of the pixels that are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Width of the rim in diagonals of the picture: Cheng et al., "Boundary IoU", CVPR 2021.
RIM_WIDTH = 0.02
# A matte is a mask where it is at least this opaque.
FOREGROUND = 0.5


@dataclass(frozen=True)
class MaskErrors:
    """The measures of one mask; 1 is perfect.

    Attributes
    ----------
    iou, boundary_iou : float
    """

    iou: float
    boundary_iou: float

    @classmethod
    def of(
        cls, alpha: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None
    ) -> MaskErrors:
        """Errors of a matte against a true mask, (H, W) in [0, 1], in the pixels that count."""
        mask, true_mask = alpha >= FOREGROUND, truth >= FOREGROUND
        return cls(iou(mask, true_mask, region), boundary_iou(mask, true_mask, region))


def iou(mask: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float:
    """Intersection over union; 1 where both are empty.

    Parameters
    ----------
    mask, truth : (H, W) bool arrays
    region : (H, W) bool array, optional
        Pixels to count; default all.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if mask.shape != truth.shape or (region is not None and region.shape != truth.shape):
        raise ValueError(f"Masks of shapes {mask.shape}, {truth.shape}: not a pair.")
    both, either = mask & truth, mask | truth
    if region is not None:
        both, either = both & region, either & region
    union = int(np.count_nonzero(either))
    return np.count_nonzero(both) / union if union else 1.0


def boundary_iou(
    mask: np.ndarray,
    truth: np.ndarray,
    region: np.ndarray | None = None,
    rim_width: float = RIM_WIDTH,
) -> float:
    """`iou` of the two inner rims (Cheng et al., CVPR 2021).

    Parameters
    ----------
    mask, truth, region
        See `iou`.
    rim_width : float
        In diagonals of the picture.
    """
    width = max(1, round(rim_width * float(np.hypot(*truth.shape))))
    return iou(inner_rim(mask, width), inner_rim(truth, width), region)


def inner_rim(mask: np.ndarray, width: int) -> np.ndarray:
    """Those pixels of a mask that have background within a square of side 2 `width` + 1.

    Beyond the picture everything is background, as in the published code.

    Parameters
    ----------
    mask : (H, W) bool array
    width : int
        Pixels, at least 1.

    Returns
    -------
    (H, W) bool array
    """
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)
    return mask & (inside[1:-1, 1:-1] == 0)
