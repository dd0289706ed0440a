"""What other cameras would have made of a training portrait: `prepare --vary`.

Renders are all framed, exposed and stored alike; photos are not, and a net that has
seen renders alone takes their likeness for a rule.  So each version of a portrait
(`data_prep.caffe_data.augmentation`) is changed once more, at random: mirrored and moved with its
mask and matte, and then the photo alone colored, blurred, made noisy and compressed.
The paper does nothing of the kind, so it is off by default.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.caffe_data.augmentation import BORDER, Record
from data_prep.common.images import compressed


@dataclass(frozen=True)
class Variation:
    """One draw of everything.

    Attributes
    ----------
    mirrored : bool
    shift : (float, float)
        To the right and down, in widths and heights of the frame.
    gains : (3,) tuple of float
        Factors of B, G and R.
    contrast : float
        About middle gray.
    saturation : float
        0 is gray.
    blur : float
        Standard deviation in pixels; 0 is none.
    noise : float
        Standard deviation in gray levels; 0 is none.
    jpeg_quality : int
        100 is none.
    noise_seed : int
    """

    mirrored: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 100
    noise_seed: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Variation:
        """A random one: colors change in all, every other change in some."""

        def sometimes(share: float, drawn: float, otherwise: float) -> float:
            return float(drawn if rng.random() < share else otherwise)

        return cls(
            mirrored=bool(rng.random() < 0.5),
            shift=(
                sometimes(0.5, rng.uniform(-0.15, 0.15), 0),
                sometimes(0.5, rng.uniform(-0.08, 0.08), 0),
            ),
            gains=tuple(np.exp(rng.normal(0, 0.08, 3)).tolist()),
            contrast=float(rng.uniform(0.75, 1.25)),
            saturation=sometimes(0.05, 0, rng.uniform(0.6, 1.4)),
            blur=sometimes(0.35, rng.uniform(0.4, 1.6), 0),
            noise=sometimes(0.4, rng.uniform(1, 9), 0),
            jpeg_quality=int(sometimes(0.5, rng.integers(30, 95), 100)),
            noise_seed=int(rng.integers(2**31)),
        )

    def apply(self, record: Record) -> Record:
        """The varied portrait, of the same size; photo, mask and matte stay registered."""
        record = Record(*map(self._moved, record))
        return record._replace(photo=self._developed(record.photo))

    def shift_in_pixels(self, width: int, height: int) -> tuple[int, int]:
        """Whole pixels to the right and down, so that nothing is interpolated once more."""
        return round(self.shift[0] * width), round(self.shift[1] * height)

    def _moved(self, image: np.ndarray) -> np.ndarray:
        if self.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        height, width = image.shape[:2]
        x, y = self.shift_in_pixels(width, height)
        if (x, y) == (0, 0):
            return image
        border = cv2.copyMakeBorder(image, max(y, 0), max(-y, 0), max(x, 0), max(-x, 0), BORDER)
        return np.ascontiguousarray(border[max(-y, 0) :, max(-x, 0) :][:height, :width])

    def _developed(self, photo: np.ndarray) -> np.ndarray:
        levels = photo.astype(np.float32)
        gray = levels.mean(axis=2, keepdims=True)
        levels = gray + self.saturation * (levels - gray)
        levels = 127.5 + self.contrast * (levels * np.float32(self.gains) - 127.5)
        if self.blur:
            levels = cv2.GaussianBlur(levels, (0, 0), self.blur)
        if self.noise:
            rng = np.random.default_rng(self.noise_seed)
            levels += self.noise * rng.standard_normal(levels.shape, np.float32)
        result = np.rint(levels.clip(0, 255)).astype(np.uint8)
        if self.jpeg_quality == 100:
            return result
        content = compressed(result, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality))
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def variation_of(stem: str, version: str) -> Variation:
    """The variation of one version of a portrait: the same on every machine."""
    return Variation.draw(np.random.default_rng(zlib.crc32(f"{stem} {version}".encode())))
