"""What the pixels of a photo show of people: hair, skin, clothes, and things they wear or hold.

The `multiclass` net (`prototxt.netspec.multiclass`) has attended to the whole photo before it
answers, and knows bodies in all poses: it says better who is a person than the segmenter, and
takes eight times as long for a view.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from prototxt.catalog import MULTICLASS, MULTICLASS_SIDE, PERSON_CLASSES
from tools.matting.opencv_net import check_files, read_opencv_net
from tools.matting.person_boxes import letterboxed

#: Channels of the scores.
BACKGROUND, HAIR = 0, 1 + PERSON_CLASSES.index("hair")
# Gray, BGR: what the net sees beside a photo that is no square.  On eight real portraits, 18
# rendered ones and 290 photos with masks it is better than black or the repeated border.
BARS = (127, 127, 127)


class MulticlassSegmenter:
    """Scores of the classes of a photo; its net is read when it is first needed.

    Raises
    ------
    InputError
        If a file of the net is missing.
    """

    def __init__(self) -> None:
        check_files(MULTICLASS)

    @cached_property
    def _net(self) -> cv2.dnn.Net:
        return read_opencv_net(MULTICLASS)

    def scores(self, photo: np.ndarray) -> np.ndarray:
        """Scores of background and `prototxt.catalog.PERSON_CLASSES`.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8
            BGR, upright.

        Returns
        -------
        ndarray of shape (H, W, 6), float32
            Logarithms of probabilities, up to an offset that a pixel's scores share.
        """
        square, corner, scale = letterboxed(photo, MULTICLASS_SIDE, BARS)
        # RGB in [-1, 1]
        blob = cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5,) * 3, swapRB=True)
        self._net.setInput(blob)
        scores = np.ascontiguousarray(self._net.forward()[0].transpose(1, 2, 0))
        # From pixels of the photo to those of the square, whose corner is at -0.5 of its own.
        offset = -corner / scale - 0.5
        matrix = np.column_stack([np.eye(2) / scale, offset])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        planes = [
            cv2.warpAffine(plane, matrix, photo.shape[1::-1], flags=flags)
            for plane in (scores[:, :, :3], scores[:, :, 3:])  # OpenCV warps up to four at once
        ]
        return np.dstack(planes)


def person_logit(scores: np.ndarray) -> np.ndarray:
    """Logit of any person's class against the background.

    Parameters
    ----------
    scores : ndarray of shape (H, W, 6), float32

    Returns
    -------
    ndarray of shape (H, W), float32
        Positive where a person is likelier than not.
    """
    people = scores[:, :, BACKGROUND + 1 :]
    most = people.max(axis=2)
    total = np.exp(people - most[:, :, None]).sum(axis=2)
    return most + np.log(total) - scores[:, :, BACKGROUND]


def hair_probability(scores: np.ndarray) -> np.ndarray:
    """(H, W) float32 probability of hair, of (H, W, 6) scores."""
    odds = np.exp(scores - scores.max(axis=2, keepdims=True))
    return odds[:, :, HAIR] / odds.sum(axis=2)
