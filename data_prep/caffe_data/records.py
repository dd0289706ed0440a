"""The records of one portrait, changed and encoded: the work that goes to workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.caffe_data.alignment import Neck, align_to_template
from data_prep.caffe_data.augmentation import Augmentation, Record
from data_prep.caffe_data.shape_mask import NEUTRAL_MASK, ShapeMask, align_matte, sum_mattes
from data_prep.caffe_data.variation import variation_of
from data_prep.common.images import encode_image, read_matte, read_photo
from data_prep.datasets.dataset import FRAME, Portrait

#: Version of the records and their order: raise it when they change (`data_prep.common.versions`).
RECORDS_VERSION = 1

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


def mask_over(landmarks: np.ndarray | None, shape_mask: ShapeMask) -> np.ndarray:
    """The shape mask over a portrait, (H, W) uint8; neutral without a face."""
    if landmarks is None:
        return np.full(FRAME, NEUTRAL_MASK, np.uint8)
    return np.rint(255 * shape_mask.warp_to(landmarks, FRAME)).astype(np.uint8)


def make_record(portrait: Portrait, landmarks: np.ndarray | None, shape_mask: ShapeMask) -> Record:
    """Photo, shape mask and matte of one portrait."""
    mask = mask_over(landmarks, shape_mask)
    return Record(read_photo(portrait.photo), mask, read_matte(portrait.matte))


@dataclass(frozen=True)
class RecordEncoder:
    """All versions of a portrait as image files; to be called with one `Face`.

    Attributes
    ----------
    shape_mask : ShapeMask
    augmentations : sequence of Augmentation
    vary : bool
        Whether every version is changed once more, see `data_prep.caffe_data.variation`.
    """

    shape_mask: ShapeMask
    augmentations: Sequence[Augmentation]
    vary: bool = False

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
                    record,
                    files,
                    suffixes,
                    strict=True,
                )
            )
            for augmentation in self.augmentations
        ]

    def _version(self, record: Record, portrait: Portrait, augmentation: Augmentation) -> Record:
        changed = augmentation.apply(record)
        if not self.vary:
            return changed
        return variation_of(portrait.stem, augmentation.name).apply(changed)
