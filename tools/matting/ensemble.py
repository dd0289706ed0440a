"""Two segmenters as one: the small one's views and close-ups, and the large one's understanding.

The `multiclass` net leads: it knows bodies in all poses.  The segmenter, whose logit is the mean
over many views of the photo, still has a voice: what only one of the two takes for a person is
mostly none.
"""

from __future__ import annotations

import cv2
import numpy as np

from tools.matting.multiclass import hair_probability, person_logit

SEGMENTER_WEIGHT = 0.5
# What the multiclass net's logit is multiplied by, away from hair and near it: how narrow the
# band of pixels is that are unknown because the net is not certain of them.
SHARPNESS, SHARPNESS_AT_HAIR = 4.0, 1.5
HAIR_REACH = 0.02  # in longest sides of the photo


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
    scores : ndarray of shape (H, W, 6), float32
        Of `multiclass.MulticlassSegmenter`.

    Returns
    -------
    ndarray of shape (H, W), float32
        Positive where a person is.
    """
    hair = near_hair(hair_probability(scores))
    sharpness = SHARPNESS + (SHARPNESS_AT_HAIR - SHARPNESS) * hair
    return SEGMENTER_WEIGHT * segmenter + sharpness * person_logit(scores)
