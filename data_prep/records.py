"""The records of one portrait, changed and encoded: the work that goes to workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.augmentation import Augmentation, Record
from data_prep.company import Company, Guest, free_sides, read_foreground
from data_prep.dataset import FRAME, Portrait
from data_prep.images import encode_image, read_matte, read_photo
from data_prep.shape_mask import (
    NEUTRAL_MASK,
    Neck,
    ShapeMask,
    align_matte,
    align_to_template,
    sum_mattes,
)
from data_prep.variation import variation_of

#: Databases of a split and how their images are coded, in the order of `Record`.
#: Mattes and masks without loss; photos as JPEG 95 without chroma subsampling
#: (`encode_image`), a third of the size and no further from the photo than the
#: file it came from.
PARTS = {"image": ".jpg", "mask": ".png", "matte": ".png"}

#: A portrait and the landmarks of its face, None where there is no face.
Face = tuple[Portrait, np.ndarray | None]


@dataclass(frozen=True)
class MatteAligner:
    """`sum_mattes` of aligned training portraits; to be called with some `Face`."""

    template: np.ndarray
    neck: Neck

    def __call__(self, faces: Sequence[Face]) -> tuple[np.ndarray, np.ndarray]:
        return sum_mattes(map(self._align, faces))

    def _align(self, face: Face) -> tuple[np.ndarray, np.ndarray]:
        portrait, landmarks = face
        matrix = align_to_template(landmarks, self.template, self.neck, FRAME)
        return align_matte(read_matte(portrait.matte), matrix, FRAME)


def make_record(
    portrait: Portrait, landmarks: np.ndarray | None, shape_mask: ShapeMask
) -> Record:
    """Photo, shape mask (neutral without a face) and matte of one portrait."""
    mask = warped_mask(shape_mask, landmarks)
    return Record(read_photo(portrait.photo), mask, read_matte(portrait.matte))


def warped_mask(shape_mask: ShapeMask, landmarks: np.ndarray | None) -> np.ndarray:
    """(H, W) uint8 shape mask of a portrait."""
    if landmarks is None:
        return np.full(FRAME, NEUTRAL_MASK, np.uint8)
    return np.rint(255 * shape_mask.warp_to(landmarks, FRAME)).astype(np.uint8)


def invite(
    faces: Sequence[Face], foregrounds: dict[str, Path], shape_mask: ShapeMask
) -> Company:
    """Training portraits with a face as guests of all, one of each foreground.

    Parameters
    ----------
    faces : sequence of Face
    foregrounds : dict of str to Path
        By stem, see `foreground_files`.
    shape_mask : ShapeMask
    """
    guests: dict[Path, Guest] = {}
    for portrait, landmarks in faces:
        file = foregrounds[portrait.stem]
        if landmarks is not None and file not in guests:
            free = free_sides(read_foreground(file))
            guests[file] = Guest(file, warped_mask(shape_mask, landmarks), free)
    return Company(tuple(guests.values()), foregrounds)


@dataclass(frozen=True)
class RecordEncoder:
    """All versions of a portrait as image files; to be called with one `Face`.

    Attributes
    ----------
    shape_mask : ShapeMask
    augmentations : sequence of Augmentation
    vary : bool
        Whether every version is changed once more, see `data_prep.variation`.
    company : Company, optional
        Guests that may join a version.
    """

    shape_mask: ShapeMask
    augmentations: Sequence[Augmentation]
    vary: bool = False
    company: Company | None = None

    def __call__(self, face: Face) -> list[tuple[bytes, ...]]:
        """For each augmentation, the files of `PARTS`."""
        portrait, landmarks = face
        record = make_record(portrait, landmarks, self.shape_mask)
        suffixes = PARTS.values()
        files = tuple(map(encode_image, record, suffixes))
        # What an augmentation leaves alone is not coded again.
        return [
            tuple(
                file if image is original else encode_image(image, suffix)
                for image, original, file, suffix in zip(
                    self._version(record, portrait, augmentation),
                    record, files, suffixes, strict=True,
                )
            )
            for augmentation in self.augmentations
        ]  # fmt: skip

    def _version(
        self, record: Record, portrait: Portrait, augmentation: Augmentation
    ) -> Record:
        if self.company:
            record = self.company.join(record, portrait.stem, augmentation.name)
        changed = augmentation.apply(record)
        if not self.vary:
            return changed
        return variation_of(portrait.stem, augmentation.name).apply(changed)
