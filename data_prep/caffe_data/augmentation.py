"""The paper's 13 versions of a training portrait: rotations, scales, gammas.

**How many.** Four rotations, four scales and four gammas, each on its own, and the
original are 13 versions: 22,100 records of the paper's 1,700 training portraits.
The paper's text says "16K+"; the authors' sibling paper on portrait
segmentation counts the same way as here (13 x 1,500 = "more than 19,000").  Which
changes the paper left out is not said, so all are made by default; `prepare --augment`
makes another choice (`parse_augmentations`).

Photo, shape mask and matte go through the same filter, the same affine matrix
and the same border rule, so they stay registered to the pixel.

**Border.** Where a rotated or reduced portrait leaves the frame empty, border
pixels are repeated outward, in all three images alike.  Black would be an edge
that no photo has; mirroring would put a second head into the picture; both
foreground and background streaks of this rule carry the alpha of the border
pixel that they repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.common.errors import InputError

BORDER = cv2.BORDER_REPLICATE
PIXEL_BLUR = 0.5  # standard deviation of a pixel's own footprint, in pixels


class Record(NamedTuple):
    """One training or test record.

    Attributes
    ----------
    photo : (H, W, 3) uint8 ndarray
        BGR.
    mask : (H, W) uint8 ndarray
        Shape mask, 0 to 255.
    matte : (H, W) uint8 ndarray
        Alpha, 0 to 255.
    """

    photo: np.ndarray
    mask: np.ndarray
    matte: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """One change of a portrait.

    Attributes
    ----------
    name : str
    angle : float
        Rotation in degrees, counter-clockwise.
    scale : float
        Above 1 enlarges.
    gamma : float
        Exponent for the photo's levels alone; below 1 brightens.
    """

    name: str
    angle: float = 0.0
    scale: float = 1.0
    gamma: float = 1.0

    def matrix(self, frame: tuple[int, int]) -> np.ndarray:
        """(2, 3) affine matrix, old to new pixel, about the center of the frame."""
        height, width = frame
        center = ((width - 1) / 2, (height - 1) / 2)
        return cv2.getRotationMatrix2D(center, self.angle, self.scale)

    def _warp(self, image: np.ndarray) -> np.ndarray:
        if self.scale < 1:
            # Interpolation looks at 2x2 pixels only: without a blur to the footprint
            # of the larger new pixel, hair and cloth would alias.
            sigma = PIXEL_BLUR * np.sqrt(self.scale**-2 - 1)
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=BORDER)
        frame = image.shape[:2]
        return cv2.warpAffine(
            image,
            self.matrix(frame),
            frame[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=BORDER,
        )

    def apply(self, record: Record) -> Record:
        """The changed portrait, of the same size."""
        if (self.angle, self.scale) != (0.0, 1.0):
            record = Record(*map(self._warp, record))
        if self.gamma != 1.0:
            record = record._replace(photo=apply_gamma(record.photo, self.gamma))
        return record


def apply_gamma(photo: np.ndarray, gamma: float) -> np.ndarray:
    """``255 * (x / 255)**gamma`` of every pixel value, rounded to uint8."""
    table = 255 * (np.arange(256) / 255) ** gamma
    return cv2.LUT(photo, np.rint(table).astype(np.uint8))


ORIGINAL = Augmentation("original")

AUGMENTATIONS = (
    ORIGINAL,
    *(Augmentation(f"rotate{angle:+d}", angle=angle) for angle in (-45, -22, 22, 45)),
    *(Augmentation(f"scale{scale}", scale=scale) for scale in (0.6, 0.8, 1.2, 1.5)),
    *(Augmentation(f"gamma{gamma}", gamma=gamma) for gamma in (0.5, 0.8, 1.2, 1.5)),
)


def parse_augmentations(text: str) -> tuple[Augmentation, ...]:
    """The versions that ``--augment`` asks for; the original is always one.

    Parameters
    ----------
    text : str
        ``"all"`` of `AUGMENTATIONS`, ``"none"`` besides the original, or names
        with commas between them.

    Returns
    -------
    tuple of Augmentation
        In the order of `AUGMENTATIONS`.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    if text == "all":
        return AUGMENTATIONS
    wanted = set() if text == "none" else {name.strip() for name in text.split(",")}
    known = [augmentation.name for augmentation in AUGMENTATIONS]
    for name in sorted(wanted.difference(known)):
        raise InputError(
            f"--augment {name} is unknown; give all, none or some of {', '.join(known)}."
        )
    return tuple(a for a in AUGMENTATIONS if a.name in wanted or a == ORIGINAL)
