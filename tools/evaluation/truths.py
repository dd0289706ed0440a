"""Photos and what says which of their pixels are the person: of a dataset or of any folder."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.pictures import read_alpha
from data_prep.datasets.dataset import Portrait
from data_prep.datasets.layouts import Pair
from data_prep.datasets.matte_checks import check_matte
from tools.evaluation.portraits import people_of
from tools.matting.guidance import KNOWN_BLACK, KNOWN_WHITE
from tools.matting.photo_view import Faces

MATTES, MASKS = "mattes", "masks"  # what is measured: soft truths, or hard ones


@dataclass(frozen=True)
class PhotoTruth:
    """A photo, and what says which of its pixels are the person.

    Attributes
    ----------
    pair : Pair
    ignore : Path or None
        White where pixels do not count.
    person : hashable or None
        Who is on the photo; None where nobody says so.
    is_portrait : bool
        Whether it is a dataset's: then its true matte is one of 8 bits, and covers the face.
    """

    pair: Pair
    ignore: Path | None = None
    person: Hashable | None = None
    is_portrait: bool = False

    @property
    def name(self) -> str:
        """Stem of the photo."""
        return self.pair.stem

    @property
    def who(self) -> Hashable:
        """The person, and the photo's own name where it is not known who that is."""
        return self.name if self.person is None else self.person

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        return [self.pair.photo, self.pair.matte, *([self.ignore] if self.ignore else [])]

    def read_photo(self) -> np.ndarray:
        """The photo, (H, W, 3) uint8 BGR, cropped where its collection says so."""
        photo = read_photo(self.pair.photo)
        if self.pair.crop is None:
            return photo
        top, bottom, left, right = self.pair.crop
        return np.ascontiguousarray(photo[top:bottom, left:right])

    def read_truth(self) -> np.ndarray:
        """The true matte or mask, (H, W) float64 in [0, 1]."""
        if self.is_portrait or self.pair.matte.suffix == ".mat":
            return self.pair.read_matte(self.pair.matte) / 255.0
        return read_alpha(self.pair.matte)

    def read_region(self, truth: np.ndarray) -> np.ndarray | None:
        """Pixels of the true matte that count, (H, W) bool; None for all.

        Raises
        ------
        InputError
            If the ignore picture has another size than the truth, or leaves nothing.
        """
        if self.ignore is None:
            return None
        ignored = read_alpha(self.ignore)
        if ignored.shape != truth.shape:
            raise InputError(f"{self.ignore} has another size than {self.pair.matte}; scale it.")
        if (ignored >= 0.5).all():
            raise InputError(f"{self.ignore} leaves no pixel to count; remove {self.pair.photo}.")
        return ignored < 0.5

    def check(self, truth: np.ndarray, faces: Faces) -> None:
        """Refuse what cannot be the true matte of a portrait, as where its face is background.

        Raises
        ------
        InputError
        """
        # In other folders the largest face need not be that of the person in question.
        if self.is_portrait:
            levels = np.rint(255 * truth).astype(np.uint8)
            check_matte(levels, self.pair.matte, faces[0].points if faces else None)


def truths_of_portraits(folder: Path, portraits: Sequence[Portrait]) -> list[PhotoTruth]:
    """Portraits of the dataset in a folder, with the people that its manifest names."""
    people = people_of(folder, portraits)
    return [
        PhotoTruth(
            Pair(each.stem, each.photo, each.matte), person=people[each.stem], is_portrait=True
        )
        for each in portraits
    ]


def measured_as(truths: Sequence[PhotoTruth]) -> str:
    """`MASKS` if every truth is hard, else `MATTES`; every file is read.

    Raises
    ------
    InputError
        If files cannot be read or do not fit each other: all of them are named.
    """
    faults, hard = [], True
    for each in truths:
        try:
            truth = each.read_truth()
            each.read_region(truth)
        except InputError as error:
            faults.append(str(error))
            continue
        levels = np.rint(255 * truth)
        hard &= not ((levels > KNOWN_BLACK) & (levels < KNOWN_WHITE)).any()
    if faults:
        raise InputError("\n".join(faults))
    return MASKS if hard else MATTES
