"""What the pixels of a photo show of people: hair, skin, clothes, and things they wear or hold.

The `multiclass` net (`prototxt.netspec.multiclass`) has attended to the whole photo before it
answers, and knows bodies in all poses: it says better who is a person than the segmenter, and
takes eight times as long for a view.  It sees the photo, its mirror image with more pixels, and
heads from near.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, reduce
from typing import TYPE_CHECKING

import cv2
import numpy as np

from prototxt.catalog import MULTICLASS, PERSON_CLASSES
from tools.matting.boundary import faded_in, from_boundary
from tools.matting.caffe_net import run_net
from tools.matting.converted_net import check_files, read_caffe_net, signed_rgb
from tools.matting.people import Box, blobs
from tools.matting.person_boxes import letterboxed

if TYPE_CHECKING:  # it is built when it is first needed
    import caffe

OUTPUT = "class_score"  # the net's blob
#: Planes of the scores.
BACKGROUND, HAIR = 0, 1 + PERSON_CLASSES.index("hair")
FACE = 1 + PERSON_CLASSES.index("face skin")
# Gray, BGR: what the net sees beside a photo that is no square.  Of 290 photos with masks the mean
# intersection over union is 0.919 with it, 0.914 with black.  On eight real portraits, and on 18
# rendered ones, the repeated border is worse than both.  Measured on 2026-11-29.
BARS = (127, 127, 127)
# Rows and columns of the squares in which it sees photos and close-ups, and mirror images.
SIDE, MIRRORED_SIDE = MULTICLASS
# How much the mirror image counts, and up to where.  More pixels show better where a boundary is,
# and less well who is a person: what the photo is certain of stays, see `near_boundary`.
MIRRORED_WEIGHT, MIRRORED_REACH = 0.7, 0.2
# A close-up of a head is for a square of so many sides of its box.  It shows no less of the photo
# than the zoom allows (small heads from nearer are taken for nothing).  For less of a zoom there is
# none.
HEAD_MARGIN, LEAST_ZOOM, MOST_ZOOM = 1.3, 1.15, 2.5
SMALLEST_HEAD = 0.002  # share of the photo
SMALLER_HEAD = 0.3  # share of the largest head
MOST_HEADS = 3
# How much a close-up counts, and from how far within its edges on, in its longer sides.
CLOSE_UP_WEIGHT, FADED_EDGE = 0.7, 0.06
CLOSE_UP_REACH = 0.06  # a scarf between two heads stays
CERTAIN_OF_WHOLE = 3.0  # from this logit on, and twice as much, other views count less and nothing


class MulticlassSegmenter:
    """Scores of the classes of a photo; its nets are read when they are first needed.

    Raises
    ------
    InputError
        If a file of the net is missing.
    """

    def __init__(self) -> None:
        for files in MULTICLASS.values():
            check_files(files)
        self._net = cache(net_of)

    def scores(self, photo: np.ndarray) -> np.ndarray:
        """Scores of background and `prototxt.catalog.PERSON_CLASSES`.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8
            BGR, upright.

        Returns
        -------
        ndarray of shape (6, H, W), float32
            Logarithms of probabilities, up to an offset that a pixel's scores share.
        """
        scores = self._with_mirror_image(photo)
        found = heads(scores)
        if not found:
            return scores
        weights = CLOSE_UP_WEIGHT * near_boundary(person_logit(scores), CLOSE_UP_REACH)
        for head, shown in found:
            near = self._seen(shown.crop(photo), SIDE)
            near = near[:, head.top - shown.top :, head.left - shown.left :]
            place = scores[:, head.rows, head.columns]
            weight = weights[head.rows, head.columns] * faded_edges(head)
            place += weight * (near[:, : head.shape[0], : head.shape[1]] - place)
        return scores

    def release(self) -> None:
        """Forget the nets; they are read again when they are needed."""
        self._net.cache_clear()

    def _with_mirror_image(self, photo: np.ndarray) -> np.ndarray:
        """(6, H, W) scores of a photo, and of its mirror image near boundaries."""
        scores = self._seen(photo, SIDE)
        weights = MIRRORED_WEIGHT * near_boundary(person_logit(scores), MIRRORED_REACH)
        if weights.any():
            scores += weights * (self._seen(photo, MIRRORED_SIDE, mirrored=True) - scores)
        return scores

    def _seen(self, photo: np.ndarray, side: int, mirrored: bool = False) -> np.ndarray:
        """(6, H, W) scores of a photo that is seen in a square, or of its mirror image."""
        square, corner, scale = letterboxed(photo, side, BARS)
        net = self._net(side)
        net.blobs["data"].data[...] = signed_rgb(cv2.flip(square, 1) if mirrored else square)
        scores = run_net(net, OUTPUT)[0]
        if mirrored:
            scores = np.ascontiguousarray(scores[:, :, ::-1])
        # From pixels of the photo to those of the square, whose corner is at -0.5 of its own.
        offset = -corner / scale - 0.5
        matrix = np.column_stack([np.eye(2) / scale, offset])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size_wh = photo.shape[1::-1]
        return np.stack([cv2.warpAffine(each, matrix, size_wh, flags=flags) for each in scores])


def net_of(side: int) -> caffe.Net:
    """The net that sees squares of so many rows and columns."""
    return read_caffe_net(MULTICLASS[side])


def heads(scores: np.ndarray) -> list[tuple[Box, Box]]:
    """Squares around the largest heads that a net sees more of in a close-up, the largest first.

    Parameters
    ----------
    scores : ndarray of shape (6, H, W), float32

    Returns
    -------
    list of (Box, Box)
        Around a head, and around what is shown of the photo to see it, cut off at its edges.
    """
    longest = max(scores.shape[1:])
    of_heads = HAIR, FACE
    is_head = largest(scores[of_heads, ...]) > largest(np.delete(scores, of_heads, axis=0))
    _, boxes, areas = blobs(is_head)
    least = max(SMALLEST_HEAD * is_head.size, SMALLER_HEAD * areas.max(initial=0))
    found = []
    for index in np.argsort(-areas, kind="stable")[:MOST_HEADS]:
        side = HEAD_MARGIN * max(boxes[index].shape)
        shown = max(side, longest / MOST_ZOOM)
        if areas[index] >= least and shown * LEAST_ZOOM <= longest:
            found.append((boxes[index].square(side), boxes[index].square(shown)))
    return found


def near_boundary(person: np.ndarray, reach: float) -> np.ndarray:
    """Where another view may move a photo's boundary.

    Parameters
    ----------
    person : ndarray of shape (H, W), float32
        `person_logit` of the photo.
    reach : float
        From the boundary, in square roots of the people's area.

    Returns
    -------
    ndarray of shape (H, W), float32
        1 where the photo is in doubt near its boundary, 0 where it is certain (twice
        `CERTAIN_OF_WHOLE`) or twice as far.
    """
    doubt = np.clip(2 - np.abs(person) / np.float32(CERTAIN_OF_WHOLE), 0, 1)
    return doubt * (1 - faded_in(from_boundary(person > 0), reach))


def faded_edges(box: Box) -> np.ndarray:
    """(h, w) float32 in a box: 0 at its edges, 1 within, but 1 at those that are the photo's."""
    reach = FADED_EDGE * max(box.shape)

    def of_axis(first: int, last: int, whole: int) -> np.ndarray:
        position = np.arange(first, last, dtype=np.float32)
        from_edges = np.full(last - first, np.inf, np.float32)
        if first > 0:
            from_edges = np.minimum(from_edges, position - first)
        if last < whole:
            from_edges = np.minimum(from_edges, last - 1 - position)
        return np.clip(from_edges / reach, 0, 1)

    rows = of_axis(box.top, box.bottom, box.image_shape[0])
    columns = of_axis(box.left, box.right, box.image_shape[1])
    return np.minimum(rows[:, None], columns)


def largest(planes: Iterable[np.ndarray]) -> np.ndarray:
    """Pixelwise maximum of planes; one after the other is ten times as fast as along an axis."""
    return reduce(np.maximum, planes)


def person_logit(scores: np.ndarray) -> np.ndarray:
    """Logit of any person's class against the background.

    Parameters
    ----------
    scores : ndarray of shape (6, H, W), float32

    Returns
    -------
    ndarray of shape (H, W), float32
        Positive where a person is likelier than not.
    """
    people = scores[BACKGROUND + 1 :]
    most = largest(people)
    odds = reduce(np.add, (cv2.exp(each - most) for each in people))
    return most + cv2.log(odds) - scores[BACKGROUND]


def hair_probability(scores: np.ndarray) -> np.ndarray:
    """(H, W) float32 probability of hair, of (6, H, W) scores."""
    most = largest(scores)
    odds = [cv2.exp(each - most) for each in scores]
    return odds[HAIR] / reduce(np.add, odds)
