"""A second person beside or behind the one of a training portrait: `prepare --company`.

Every portrait of a set shows its one person in the middle, so a net learns to find that
person without the shape mask.  Photos have neighbors.  Here a guest, the foreground of
another training portrait, joins some versions of a portrait, and the mask decides what
is wanted: a guest in its mask belongs to the matte, one outside it to the background.
Some versions have the neutral mask, as photos without a detected face do; then
everybody is wanted.  The paper does nothing of the kind.

Photo and matte stay exact: with F and alpha of the subject (foregrounds/) and G and
beta of the guest, what a guest behind leaves of a photo I = alpha F + (1 - alpha) B is
alpha F + (1 - alpha) beta G + (1 - beta) (I - alpha F).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data_prep.augmentation import BORDER, Record
from data_prep.errors import InputError
from data_prep.shape_mask import NEUTRAL_MASK

COMPANY_SHARE = 0.5
WANTED_SHARE = 0.5  # of the guests in focus
NEUTRAL_SHARE = 0.15
IN_FRONT_SHARE = 0.2
BLURRED_SHARE = 0.4  # of those behind
# A side of a foreground is free if no more of it than this is covered: elsewhere the
# frame has cut an arm off, which shows where a guest is moved inward.
FREE_SIDE = 0.02


@dataclass(frozen=True)
class Guest:
    """A training portrait whose person may join others.

    Attributes
    ----------
    foreground : Path
        BGRA, not premultiplied.
    mask : (H, W) uint8 ndarray
        Shape mask of that portrait.
    free : (bool, bool)
        Whether the left and the right side are.
    """

    foreground: Path
    mask: np.ndarray
    free: tuple[bool, bool]


@dataclass(frozen=True)
class Place:
    """Where a guest stands, and whether anybody wants it.

    Attributes
    ----------
    guest : int
        Its place among those whose inner side is free.
    to_the_left : bool
        Of the subject.
    mirrored : bool
    scale : float
    offset : (float, float)
        Of the guest's middle from the frame's, outward in widths, and of its top
        from the frame's in heights.
    blur : float
        Standard deviation of its defocus in pixels.
    in_front : bool
    wanted : bool
    """

    guest: int
    to_the_left: bool
    mirrored: bool
    scale: float
    offset: tuple[float, float]
    blur: float
    in_front: bool
    wanted: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Place:
        """A random one."""
        in_front = bool(rng.random() < IN_FRONT_SHARE)
        blurred = not in_front and rng.random() < BLURRED_SHARE
        scale = float(rng.uniform(0.5, 1.0) if blurred else rng.uniform(0.75, 1.1))
        return cls(
            guest=int(rng.integers(2**31)),
            to_the_left=bool(rng.random() < 0.5),
            mirrored=bool(rng.random() < 0.5),
            scale=scale,
            offset=(
                # In front far enough to leave the subject's face free.
                float(rng.uniform(0.42, 0.65) if in_front else rng.uniform(0.25, 0.6)),
                float(rng.uniform(-0.08, 0.3)),
            ),
            blur=float(rng.uniform(1.5, 9)) if blurred else 0.0,
            in_front=in_front,
            wanted=not blurred and bool(rng.random() < WANTED_SHARE),
        )

    def matrix(self, frame: tuple[int, int]) -> np.ndarray:
        """(2, 3) from the guest's pixels to those of the portrait."""
        height, width = frame
        outward = -self.offset[0] if self.to_the_left else self.offset[0]
        flip = -1 if self.mirrored else 1
        middle = (0.5 + outward) * width - 0.5  # pixel centers
        across = flip * self.scale
        return np.float64([
            [across, 0, middle - across * (width - 1) / 2],
            [0, self.scale, self.offset[1] * height],
        ])  # fmt: skip


@dataclass(frozen=True)
class Company:
    """Everybody who may join a portrait.

    Attributes
    ----------
    guests : sequence of Guest
    foregrounds : dict of str to Path
        Of every training portrait, by its stem.
    """

    guests: Sequence[Guest]
    foregrounds: dict[str, Path]

    def join(self, record: Record, stem: str, version: str) -> Record:
        """A version of a portrait, perhaps with a guest: the same on every machine.

        Parameters
        ----------
        record : Record
        stem : str
            Of the portrait.
        version : str
            With the stem it decides the draw.
        """
        subject = self.foregrounds[stem]
        rng = np.random.default_rng(zlib.crc32(f"{stem} {version} company".encode()))
        neutral, company = rng.random() < NEUTRAL_SHARE, rng.random() < COMPANY_SHARE
        place = Place.draw(rng)
        if company and (guest := self._invited(place, subject)):
            if neutral and not place.blur:  # without a mask everybody is wanted
                place = replace(place, wanted=True)
            record = joined(record, read_foreground(subject), guest, place)
        if neutral:
            record = record._replace(mask=np.full_like(record.mask, NEUTRAL_MASK))
        return record

    def _invited(self, place: Place, subject: Path) -> Guest | None:
        """A guest other than the subject whose arm is not cut off where it shows."""
        inner = int(place.to_the_left != place.mirrored)
        guests = [g for g in self.guests if g.foreground != subject and g.free[inner]]
        return guests[place.guest % len(guests)] if guests else None


def read_foreground(path: Path) -> np.ndarray:
    """(H, W, 4) float32, BGR premultiplied with alpha, and alpha, all 0 to 1."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
    image[:, :, :3] *= image[:, :, 3:]
    return image


def foreground_files(folder: Path, stems: Sequence[str]) -> dict[str, Path]:
    """Files of a rendered set's foregrounds/ by the stems of its portraits.

    A foreground before a further background (NAME_b1) has the first one's file.

    Raises
    ------
    InputError
        If one is missing.
    """
    files = {stem: folder / f"foregrounds/{re.sub('_b[0-9]+$', '', stem)}.png" for stem in stems}
    for path in files.values():
        if not path.is_file():
            raise InputError(
                f"{path} does not exist, and --company needs the foreground of every training "
                "portrait; leave the option out, or render the set with `make portrait-set`."
            )
    return files


def free_sides(foreground: np.ndarray) -> tuple[bool, bool]:
    """Whether the left and the right side of a `read_foreground` are free."""
    left, right = foreground[:, [0, -1], 3].mean(axis=0) <= FREE_SIDE
    return bool(left), bool(right)


def joined(record: Record, subject: np.ndarray, guest: Guest, place: Place) -> Record:
    """A portrait with a guest.

    Parameters
    ----------
    record : Record
    subject : (H, W, 4) ndarray
        `read_foreground` of its person.
    guest : Guest
    place : Place
    """
    frame = record.matte.shape
    matrix = place.matrix(frame)

    def moved(image: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(image, matrix, frame[::-1], borderMode=BORDER)

    other, mask = moved(read_foreground(guest.foreground)), moved(guest.mask)
    if place.blur:
        other = cv2.GaussianBlur(other, (0, 0), place.blur, borderType=BORDER)
    photo = record.photo.astype(np.float32) / 255
    alpha, beta = subject[:, :, 3:], other[:, :, 3:]
    if place.in_front:
        photo = other[:, :, :3] + (1 - beta) * photo
        own = alpha * (1 - beta)
    else:
        behind = np.maximum(photo - subject[:, :, :3], 0)  # JPEG is not exact
        photo += (1 - alpha) * other[:, :, :3] - beta * behind
        own = alpha
    if place.wanted:
        own = 1 - (1 - alpha) * (1 - beta)
        mask = np.maximum(record.mask, mask)
    else:
        mask = record.mask

    def levels(image: np.ndarray) -> np.ndarray:
        return np.rint(255 * image.clip(0, 1)).astype(np.uint8)

    return Record(levels(photo), mask, levels(own[:, :, 0]))
