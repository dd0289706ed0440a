"""Two segmenters as one: the large one leads, the small one has a voice.

The `multiclass` net knows bodies in all poses.  The segmenter, which looks at small people from
near, is asked too: what only one of the two takes for a person is mostly none, and is none if the
pose detector finds nobody there either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from prototxt.catalog import CERTAIN_LOGIT
from tools.matting.boundary import faded_in, from_boundary
from tools.matting.multiclass import hair_probability, person_logit
from tools.matting.people import SMALLEST_BLOB, Box, blobs
from tools.matting.person_masks import PersonMask

# What the segmenter's logit is multiplied by, away from the multiclass net's boundary, which is
# placed better than its own, and at it; up to what distance the second counts, and from twice as
# far the first alone, in square roots of the people's area.
SEGMENTER_WEIGHT, SEGMENTER_WEIGHT_AT_BOUNDARY = 0.5, 0.25
BOUNDARY_REACH = 0.02
# What the multiclass net's logit is multiplied by, away from hair and near it: how narrow the
# band of pixels is that are unknown because the net is not certain of them.
SHARPNESS, SHARPNESS_AT_HAIR = 4.0, 1.5
HAIR_REACH = 0.02  # in longest sides of the photo
SOME_HAIR = 0.2  # probability of hair from which the band is as wide as hair needs it
# Doubt is settled from this far of a boundary, all of it twice as far, in square roots of the
# people's area.  With 0.05 SAD of 18 rendered training portraits rises from 3.70 to 3.74; with 0.08
# it stays, as it does on eight real portraits (5.56, 5.58).  Measured with a sharpness of 4 on
# 2026-11-29.
DOUBT_REACH = 0.08
# Up to this share of a thing's pixels the segmenter may doubt that nobody is there, of a hole's
# that a person is.
MOST_DOUBTED = 0.02


def near_hair(scores: np.ndarray) -> np.ndarray:
    """Largest probability of hair in the surroundings of every pixel.

    Parameters
    ----------
    scores : ndarray of shape (6, H, W), float32
        Of `multiclass.MulticlassSegmenter`.

    Returns
    -------
    ndarray of shape (H, W), float32
    """
    probability = hair_probability(scores)
    radius = max(1, round(HAIR_REACH * max(probability.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(probability, disk)


def ensemble_logit(segmenter: np.ndarray, scores: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """The logit of both nets.

    Parameters
    ----------
    segmenter : ndarray of shape (H, W), float32
        The segmenter's logit; positive where a person is.
    scores : ndarray of shape (6, H, W), float32
        Of `multiclass.MulticlassSegmenter`.
    hair : ndarray of shape (H, W), float32
        `near_hair` of the same scores.

    Returns
    -------
    ndarray of shape (H, W), float32
        Positive where a person is.
    """
    sharpness = SHARPNESS + (SHARPNESS_AT_HAIR - SHARPNESS) * hair
    person = person_logit(scores)
    away = faded_in(from_boundary(person > 0), BOUNDARY_REACH)
    gain = SEGMENTER_WEIGHT - SEGMENTER_WEIGHT_AT_BOUNDARY
    return (SEGMENTER_WEIGHT_AT_BOUNDARY + gain * away) * segmenter + sharpness * person


def pixels_of_blobs(region: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """How many pixels of a region lie in each of so many `people.blobs`, given by their labels."""
    return np.bincount(labels[region], minlength=count + 1)[1:]


def is_in_blobs(chosen: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether a pixel lies in a chosen one of `people.blobs`, given by their labels."""
    return np.append(False, chosen)[labels]


def without_holes(logit: np.ndarray, segmenter: np.ndarray) -> np.ndarray:
    """A logit without holes in people that the multiclass net alone sees: a red jacket on red.

    Parameters
    ----------
    logit : ndarray of shape (H, W), float32
        Of both nets.
    segmenter : ndarray of shape (H, W), float32
        The segmenter's.

    Returns
    -------
    ndarray of shape (H, W), float32
        The segmenter counts twice in connected parts that people enclose and of which it is certain
        that a person is there: the multiclass net's doubt is outvoted, its certainty is not.  The
        photo's lower edge encloses, as people go on below it.
    """
    frame = ((1, 0), (1, 1))
    labels, boxes, areas = blobs(np.pad(logit <= 0, frame, constant_values=True))
    if len(boxes) < 2:
        return logit
    doubted = pixels_of_blobs(np.pad(segmenter < CERTAIN_LOGIT, frame), labels, len(boxes))
    is_hole = doubted <= MOST_DOUBTED * areas
    is_hole[labels[0, 0] - 1] = False  # what is around the people
    return logit + SEGMENTER_WEIGHT * segmenter * is_in_blobs(is_hole, labels[1:, 1:-1])


def without_things(
    logit: np.ndarray,
    segmenter: np.ndarray,
    masks: Sequence[PersonMask],
    shows_person: Callable[[Box], bool],
) -> np.ndarray:
    """A logit without what the multiclass net alone takes for a person: clothes on a table.

    Parameters
    ----------
    logit : ndarray of shape (H, W), float32
        Of both nets.
    segmenter : ndarray of shape (H, W), float32
        The segmenter's.
    masks : sequence of PersonMask
        Of the people that the pose detector has found.
    shows_person : callable
        Whether that detector finds anybody in a part of the photo, which it has not yet looked at
        by itself.

    Returns
    -------
    ndarray of shape (H, W), float32
        Certain of nobody in connected parts without a mask of which the segmenter is certain that
        nobody is there, and that show nobody.  Specks stay as they are.  Where that leaves nobody
        at all, `logit`.
    """
    labels, boxes, areas = blobs(logit > 0)
    if len(boxes) < 2:
        return logit
    is_masked = np.zeros(logit.shape, bool)
    for mask in masks:
        is_masked |= mask.inside & (mask.logit > 0)
    doubted, masked = (
        pixels_of_blobs(where, labels, len(boxes))
        for where in (segmenter > -CERTAIN_LOGIT, is_masked)
    )
    is_large = areas >= SMALLEST_BLOB * areas.max()
    is_thing = is_large & (doubted <= MOST_DOUBTED * areas) & (masked == 0)
    for index in np.flatnonzero(is_thing):
        is_thing[index] = not shows_person(boxes[index].grown())
    if is_thing[is_large].all():
        return logit
    return np.where(is_in_blobs(is_thing, labels), -2 * CERTAIN_LOGIT, logit)


def settled(logit: np.ndarray) -> np.ndarray:
    """A logit without doubt far from the boundaries of people.

    The unknown region is to hold the boundary of a person.  Where the solve finds none in it, as
    in a whole person of whom the nets are not certain, it gives gray.

    Parameters
    ----------
    logit : ndarray of shape (H, W), float32
        Positive where a person is.

    Returns
    -------
    ndarray of shape (H, W), float32
        Nowhere positive where nothing that is connected is certain, if something else is.
    """
    person = logit > 0
    labels, _, areas = blobs(person)
    is_certain = np.zeros(areas.size + 1, bool)
    is_certain[labels[logit > CERTAIN_LOGIT]] = True
    if is_certain.any():
        person = is_certain[labels]
    if not person.any() or person.all():
        return logit
    least = 2 * CERTAIN_LOGIT * faded_in(from_boundary(person), DOUBT_REACH)
    return np.where(person, np.maximum(logit, least), np.minimum(logit, -least))
