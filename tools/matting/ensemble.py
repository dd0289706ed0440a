"""Two segmenters as one: the large one leads, the small one has a voice.

The `multiclass` net knows bodies in all poses.  The segmenter, which looks at small people from
near, is asked too: what only one of the two takes for a person is mostly none.
"""

from __future__ import annotations

import cv2
import numpy as np

from prototxt.catalog import CERTAIN_LOGIT
from tools.matting.multiclass import hair_probability, person_logit

SEGMENTER_WEIGHT = 0.5
# What the multiclass net's logit is multiplied by, away from hair and near it: how narrow the
# band of pixels is that are unknown because the net is not certain of them.
SHARPNESS, SHARPNESS_AT_HAIR = 5.0, 1.5
HAIR_REACH = 0.02  # in longest sides of the photo
# Doubt is settled from this far of a boundary, all of it twice as far, in square roots of the
# people's area.  With 0.05 SAD of 18 rendered training portraits rises from 3.70 to 3.74; with 0.08
# it stays, as it does on eight real portraits (5.56, 5.58).  Measured with a sharpness of 4 on
# 2026-11-29.
DOUBT_REACH = 0.08


def near_hair(probability: np.ndarray) -> np.ndarray:
    """Largest probability of hair in the surroundings of every pixel, (H, W) float32."""
    radius = max(1, round(HAIR_REACH * max(probability.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(probability, disk)


def ensemble_logit(segmenter: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The logit of both nets.

    Parameters
    ----------
    segmenter : ndarray of shape (H, W), float32
        The segmenter's logit; positive where a person is.
    scores : ndarray of shape (6, H, W), float32
        Of `multiclass.MulticlassSegmenter`.

    Returns
    -------
    ndarray of shape (H, W), float32
        Positive where a person is.
    """
    hair = near_hair(hair_probability(scores))
    sharpness = SHARPNESS + (SHARPNESS_AT_HAIR - SHARPNESS) * hair
    return SEGMENTER_WEIGHT * segmenter + sharpness * person_logit(scores)


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
    person = (logit > 0).astype(np.uint8)
    count, blobs = cv2.connectedComponents(person)
    is_certain = np.zeros(count, bool)
    is_certain[blobs[logit > CERTAIN_LOGIT]] = True
    if is_certain.any():
        person = is_certain[blobs].astype(np.uint8)
    if not person.any() or person.all():
        return logit
    inside, outside = (
        cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_5) for side in (person, 1 - person)
    )
    reach = DOUBT_REACH * np.count_nonzero(person) ** 0.5
    certain = np.clip((inside + outside - reach) / reach, 0, 1)
    least = (2 * CERTAIN_LOGIT * certain).astype(np.float32)
    return np.where(person > 0, np.maximum(logit, least), np.minimum(logit, -least))
