"""A second opinion on a segmenter's people: masks of the persons that a pose detector finds.

MediaPipe's pose detector finds people by their hips and size; the `person_mask` net, which has
been trained on whole bodies, looks at the square around each, upright and close.  It knows arms,
skirts and feet that the segmenter, trained on selfies, loses.  It may mean another person or
thing than the segmenter, so its mask counts only where the two agree on who it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from prototxt.catalog import (
    PERSON_MASK,
    PERSON_MASK_SIDE,
    POSE_ANCHORS,
    POSE_DETECTOR,
    POSE_DETECTOR_SIDE,
)
from tools.matting.converted_net import LazyNet, signed_rgb
from tools.matting.detections import merged
from tools.matting.people import Box, tiles
from tools.matting.person_boxes import PersonBox, decoded, letterboxed

LEAST_SCORE = 0.5
# From here on a person is believed whom the segmenter does not see, and with them all others of
# the photo.  Among 73 pictures without people the most is 0.75 (a rocket; a butterfly); in the
# dark, against a window, far away in a street and sitting in the grass people whom it misses have
# 0.86 to 0.96.  Measured on 2026-11-29.
SURE_SCORE = 0.8
# The parts of a photo in which people are looked for whom the segmenter does not see: so many
# rows and columns of them, with such sides in those of the photo.
TILINGS = ((1, 1.0), (2, 0.6), (3, 0.4))
MOST_PEOPLE = 8
SMALLEST_SQUARE = 8.0  # pixels of the photo
# The square of a whole body is about three photos wide where head and shoulders fill the photo:
# there the net sees less than the segmenter.  Sides in longest sides of the photo.  On ten
# portraits of the sample the segmenter's mean intersection over union is 0.984, corrected
# 0.975 without a limit, 0.984 with 2.5 and less; on 97 real photos with hard masks 0.901,
# corrected 0.908 without a limit, 0.909 with 2, 0.910 with 1.5, 0.909 with 1.25; on eight
# real portraits 0.929, then 0.945, 0.945, 0.949, 0.940.  Measured on 2026-11-28.
LARGEST_SQUARE = 1.5

# A mask counts where the segmenter believes this share of it, and where it is this share of what
# the segmenter sees in the square; against the segmenter where both shares are the second pair
# and nobody else is found.
LEAST_BELIEVED, LEAST_COVERED = 0.5, 0.3
MOSTLY_BELIEVED, MOSTLY_COVERED = 0.8, 0.8
# How much a mask's logit weighs, and where it is clipped: a mask that counts is certain of
# nearly every pixel, and outvotes a segmenter that is not.
WEIGHT = 2.0
MOST_OPINION = 4.0


@dataclass(frozen=True)
class PersonMask:
    """One person of a photo.

    Attributes
    ----------
    logit : ndarray of shape (H, W), float32
        Positive where the person is; means nothing outside of the square.
    inside : ndarray of shape (H, W), bool
        The square that the net has seen.
    """

    logit: np.ndarray
    inside: np.ndarray


class PersonMasker:
    """Finds people and their masks; its nets are read when they are first needed.

    Raises
    ------
    InputError
        If a file of the nets is missing.
    """

    def __init__(self) -> None:
        self._detector = LazyNet(POSE_DETECTOR)
        self._mask_net = LazyNet(PERSON_MASK)

    def masks(self, photo: np.ndarray, boxes: Sequence[Box] = ()) -> list[PersonMask]:
        """Masks of the people in a photo, the surest first.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8
            BGR, upright, reduced (`tools.matting.photo_view.work_shape`).
        boxes : sequence of Box
            Where a segmenter sees people: small ones are looked for from near too.
        """
        near = [box for box in boxes if box.needs_close_up]
        return self._masks_of(photo, merged(self.people(photo) + self._people_in(photo, near)))

    def sure_logit(self, photo: np.ndarray) -> np.ndarray | None:
        """What masks alone say of a photo, where the detector is sure of somebody.

        It looks at the whole photo and from near at all parts of it.

        Returns
        -------
        ndarray of shape (H, W), float32, or None
            Positive where a person is; None where it is sure of nobody.
        """
        shape = (photo.shape[0], photo.shape[1])
        parts = [part for count, share in TILINGS for part in tiles(shape, count, share)]
        people = merged(self._people_in(photo, parts))
        if not people or people[0].score < SURE_SCORE:
            return None
        masks = self._masks_of(photo, people)
        if not masks:
            return None
        planes = [np.where(each.inside, each.logit, -np.inf) for each in masks]
        return np.max(planes, axis=0).astype(np.float32)

    def _people_in(self, photo: np.ndarray, parts: Sequence[Box]) -> list[PersonBox]:
        """Upright people of parts of a photo, in its pixels; several may be of one."""
        return [
            person.moved(part.corner(photo.shape))
            for part in parts
            for person in self.people(part.crop(photo))
        ]

    def _masks_of(self, photo: np.ndarray, people: Sequence[PersonBox]) -> list[PersonMask]:
        """Masks of those people whose squares have a size that the net can do with."""
        largest = LARGEST_SQUARE * max(photo.shape[:2])
        fit = [each for each in people if SMALLEST_SQUARE <= each.square_side <= largest]
        return [self.mask(photo, person) for person in fit[:MOST_PEOPLE]]

    def small_people(self, photo: np.ndarray) -> list[Box]:
        """Parts around the upright people that are small in an (H, W, 3) uint8 BGR photo.

        A segmenter that looks at the whole photo may miss them.  The parts may overlap.
        """
        shape = (photo.shape[0], photo.shape[1])
        parts = [
            each.part_of(shape)
            for each in merged(self.people(photo))
            if each.square_side >= SMALLEST_SQUARE
        ]
        return [part for part in parts if min(part.shape) > 0 and part.needs_close_up]

    def shows_person(self, photo: np.ndarray, part: Box) -> bool:
        """Whether anybody is found in a part of an (H, W, 3) uint8 BGR photo."""
        return bool(self.people(part.crop(photo)))

    def people(self, photo: np.ndarray) -> list[PersonBox]:
        """Upright people of an (H, W, 3) uint8 BGR photo; several boxes may be of one."""
        square, corner, scale = letterboxed(photo, POSE_DETECTOR_SIDE)
        self._detector.net.setInput(signed_rgb(square))
        names = [f"{kind}{stride}" for kind in ("score", "people") for stride in POSE_ANCHORS]
        outputs = [output[0] for output in self._detector.net.forward(names)]
        logits, values = (dict(zip(POSE_ANCHORS, part)) for part in (outputs[:3], outputs[3:]))
        found = decoded(logits, values, LEAST_SCORE)
        # The square's corner, at -0.5 of its pixels, goes to the photo's.
        return [each.mapped(np.full(2, scale)).moved(corner + 0.5) for each in found]

    def mask(self, photo: np.ndarray, person: PersonBox) -> PersonMask:
        """Mask of a person found in an (H, W, 3) uint8 BGR photo."""
        matrix = person.square(PERSON_MASK_SIDE)
        size_wh = photo.shape[1::-1]
        reduction = person.square_side / PERSON_MASK_SIDE
        if reduction > 1:  # so that pixels between the samples count
            photo = cv2.GaussianBlur(photo, (0, 0), 0.5 * (reduction**2 - 1) ** 0.5)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        square = cv2.warpAffine(photo, matrix, (PERSON_MASK_SIDE, PERSON_MASK_SIDE), flags=flags)
        # RGB in [0, 1]
        self._mask_net.net.setInput(cv2.dnn.blobFromImage(square, 1 / 255, swapRB=True))
        logit = self._mask_net.net.forward()[0, 0]
        logit = cv2.warpAffine(logit, matrix, size_wh, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(
            np.ones((PERSON_MASK_SIDE, PERSON_MASK_SIDE), np.float32), matrix, size_wh
        )
        return PersonMask(logit, inside > 0.5)


def share(these: np.ndarray, of: np.ndarray) -> float:
    """Part of the True pixels of a mask that are True in another too; 0 where there are none."""
    return float(np.mean(these[of])) if of.any() else 0.0


def with_second_opinion(logit: np.ndarray, masks: Sequence[PersonMask]) -> np.ndarray:
    """A segmenter's logit, corrected by the masks of people that it sees too.

    Parameters
    ----------
    logit : ndarray of shape (H, W), float32
        Positive where a person is.
    masks : sequence of PersonMask
        Of one photo; where several overlap, the one that is surest of a person counts.

    Returns
    -------
    ndarray of shape (H, W), float32
    """
    seen = logit > 0
    opinion = np.full(logit.shape, -np.inf, np.float32)
    for mask in masks:
        person = (mask.logit > 0) & mask.inside
        believed = share(seen, person)
        covered = share(person, seen & mask.inside)
        if believed < LEAST_BELIEVED or covered < LEAST_COVERED:
            continue
        agree = believed >= MOSTLY_BELIEVED and covered >= MOSTLY_COVERED
        least = -MOST_OPINION if agree and len(masks) == 1 else 0.0
        heard = np.clip(mask.logit, least, MOST_OPINION)
        np.maximum(opinion, heard, out=opinion, where=mask.inside)
    return logit + WEIGHT * np.where(np.isfinite(opinion), opinion, 0)
