"""From a person mask to what the matting solve takes: F, B and the unknown band.

A mask says where a person is, to within a few pixels; hair it cuts off.  The
band that is left open around its border is wide where hair can be (around a
head, outwards above all) and narrow at shoulders, in units of the distance
between the eyes.  Inside the band nearby colors give a weak opinion on alpha,
which helps where the band is wide and the Laplacian alone would fade.

All of it happens on a reduced photo, of at most `WORK_SIDE` pixels: a
segmenter does not know more, and the band of a large photo is as smooth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from caffe_layers.color_models import sampled_alpha
from prototxt.catalog import CERTAIN_LOGIT
from tools.matting.guidance import KNOWN_BLACK, KNOWN_WHITE

WORK_SIDE = 800

# Half widths of the band in distances between the eyes.  These and the
# constants of the head (prototxt/catalog.py) and of the color samples were
# chosen by SAD and gradient error on the rendered training portraits.
INTO_HEAD, OUT_OF_HEAD, BODY = 0.1, 0.2, 0.05
# A head reaches this far from the middle of the eyes and below the chin.
HEAD_WIDTH, BELOW_CHIN = 3.5, 0.3
# Without a face: eye distance / square root of the person's area, the median
# of the sample's training portraits, and one width for everything.
EYES_TO_PERSON = 0.17
FACELESS = 0.12

# F + B that a confident color sample puts into the band.  More would pull
# hair to the samples' noise, as it does to gray (docs/design.md).
COLOR_WEIGHT = 1e-5
COLOR_REACH = 0.5  # in distances between the eyes

# A net that has learned the band on renders doubts suits that no render wears.  This
# far inside a segmenter's person, in distances between the eyes, doubt is not hair.
# On ten rendered validation portraits 0.2 costs 3 % of the matte, 0.4 half a percent,
# 0.7 nothing.
WELL_INSIDE = 0.5
CERTAIN_LEAD = 10.0  # of the score of foreground there

# Alpha this near to 0 and 1 is haze: where the band is wide the solve fades
# towards the known regions instead of reaching them.
HAZE = 0.03


@dataclass(frozen=True)
class Face:
    """What the band takes from 68 landmarks, in pixels.

    Attributes
    ----------
    x, y : float
        Middle of the eyes.
    eyes : float
        Distance between the centers of the eyes.
    chin : float
        Row of the chin.
    """

    x: float
    y: float
    eyes: float
    chin: float

    @classmethod
    def of(cls, landmarks: np.ndarray, scale: tuple[float, float] = (1.0, 1.0)) -> Face:
        """From (68, 2) landmarks (iBUG order), scaled in x and y."""
        points = landmarks * scale
        right, left = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        x, y = (right + left) / 2
        return cls(float(x), float(y), float(np.linalg.norm(left - right)), float(points[8, 1]))

    def is_inside(self, logit: np.ndarray) -> bool:
        """Whether the middle of the eyes is a person's."""
        height, width = logit.shape
        row, column = np.clip((round(self.y), round(self.x)), 0, (height - 1, width - 1))
        return bool(logit[row, column] > 0)


def work_size(shape: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the reduced photo, at most `WORK_SIDE`."""
    scale = min(1.0, WORK_SIDE / max(shape))
    return max(3, round(scale * shape[0])), max(3, round(scale * shape[1]))


def eye_distances(logit: np.ndarray, faces: Sequence[Face]) -> list[float]:
    """Of every face; without one a guess from the area where the logit is positive."""
    return [face.eyes for face in faces] or [EYES_TO_PERSON * np.count_nonzero(logit > 0) ** 0.5]


def widened(
    logit: np.ndarray, faces: Sequence[Face], least_radius: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest logit of the surroundings of every pixel.

    Parameters
    ----------
    logit : (H, W) float32 ndarray
        Positive where a person is.
    faces : sequence of Face
        In pixels of the logit.
    least_radius : float
        Half width of the narrowest surroundings: how well an edge is placed.

    Returns
    -------
    low, high : (H, W) float32 ndarray
        Surroundings are disks: smaller ones below the heads, and above the
        chin wider ones, for `high` (the band towards the background) more so.
    """

    def disk(radius: float) -> np.ndarray:
        side = 2 * max(1, round(max(radius, least_radius))) + 1
        return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))

    if not faces:
        kernel = disk(FACELESS * eye_distances(logit, ())[0])
        return cv2.erode(logit, kernel), cv2.dilate(logit, kernel)
    kernel = disk(BODY * float(np.median([face.eyes for face in faces])))
    low, high = cv2.erode(logit, kernel), cv2.dilate(logit, kernel)
    rows, columns = np.ogrid[: logit.shape[0], : logit.shape[1]]
    for face in faces:
        head = (np.abs(columns - face.x) < HEAD_WIDTH * face.eyes) & (
            rows < face.chin + BELOW_CHIN * face.eyes
        )
        low[head] = np.minimum(low, cv2.erode(logit, disk(INTO_HEAD * face.eyes)))[head]
        high[head] = np.maximum(high, cv2.dilate(logit, disk(OUT_OF_HEAD * face.eyes)))[head]
    return low, high


def head_scores(
    low: np.ndarray, high: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Scores of F, B and unknown (`prototxt.netspec.selfie.trimap_head`).

    Parameters
    ----------
    low, high : (H, W) ndarray
        From `widened`.
    kernel : (3, 2) ndarray
        Of the head's layer ``score``, applied to (-low, high).
    bias : (3,) ndarray

    Returns
    -------
    (3, H, W) float32 ndarray
    """
    scores = np.tensordot(kernel, np.stack([-low, high]), axes=1)
    return np.float32(scores + bias[:, None, None])


def reached(region: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Those connected parts of a region that touch another one.

    Parameters
    ----------
    region, other : (H, W) bool ndarray

    Returns
    -------
    (H, W) bool ndarray
    """
    count, labels = cv2.connectedComponents(np.uint8(region))
    touched = cv2.dilate(np.uint8(other), np.ones((3, 3), np.uint8)) > 0
    kept = np.zeros(count, bool)
    kept[labels[touched]] = True
    kept[0] = False  # what is outside the region
    return kept[labels]


def color_opinion(
    photo: np.ndarray, scores: np.ndarray, logit: np.ndarray, faces: Sequence[Face]
) -> np.ndarray:
    """Weak F and B of the unknown band, from the photo's colors.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    scores : (3, H, W) ndarray
    logit : (H, W) ndarray
    faces : sequence of Face

    Returns
    -------
    (2, H, W) float32 ndarray
        At most `COLOR_WEIGHT`; 0 where a pixel is known, and on islands of
        doubt inside a person (a badge, a strap): colors of a background far
        away would make holes there.
    """
    winner = np.argmax(scores, axis=0)
    foreground, background = winner == 0, winner == 1
    if not foreground.any() or not background.any() or not (winner == 2).any():
        return np.zeros((2, *logit.shape), np.float32)
    eyes = max(eye_distances(logit, faces))
    alpha, confidence = sampled_alpha(photo, foreground, background, COLOR_REACH * eyes)
    weight = COLOR_WEIGHT * confidence * reached(winner == 2, background)
    return np.stack([weight * alpha, weight * (1 - alpha)])


def band_probabilities(
    photo: np.ndarray,
    logit: np.ndarray,
    faces: Sequence[np.ndarray],
    size: tuple[int, int],
    score_weights: tuple[np.ndarray, np.ndarray],
    least_radius: float = 1.0,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """F, B and unknown of a photo from the logit of its people.

    Parameters
    ----------
    photo : (h, w, 3) uint8 ndarray
        Reduced (see `work_size`).
    logit : (h, w) float32 ndarray
    faces : sequence of (68, 2) ndarray
        Landmarks in pixels of the photo of `size`.
    size : (rows, columns)
        Of the result.
    score_weights : (3, 2) and (3,) ndarray
        Kernel and bias of the head, see `head_scores`.
    least_radius : float
        See `widened`.

    Returns
    -------
    probabilities : (3, rows, columns) float32 ndarray
    faces : tuple of (68, 2) ndarray
        Those that belong to a person of the logit.
    """
    scale = logit.shape[1] / size[1], logit.shape[0] / size[0]
    heads = [Face.of(points, scale) for points in faces]
    inside = [head.is_inside(logit) for head in heads]
    heads = [head for head, kept in zip(heads, inside) if kept]
    low, high = widened(logit, heads, least_radius)
    scores = head_scores(low, high, *score_weights)
    opinion = color_opinion(photo, scores, logit, heads)
    kept_faces = tuple(points for points, kept in zip(faces, inside) if kept)
    return probabilities_from(scores, size, opinion), kept_faces


def well_inside(logit: np.ndarray, heads: Sequence[Face]) -> np.ndarray:
    """Where a segmenter is certain of a person, `WELL_INSIDE` all around too.

    Parameters
    ----------
    logit : (H, W) float32 ndarray
        Beyond its edge a person is taken to go on.
    heads : sequence of Face
        In pixels of the logit.

    Returns
    -------
    (H, W) bool ndarray
    """
    certain = np.uint8(logit > CERTAIN_LOGIT)
    depth = cv2.distanceTransform(certain, cv2.DIST_L2, cv2.DIST_MASK_5)
    return depth > WELL_INSIDE * np.median(eye_distances(logit, heads))


def own_band_probabilities(
    photo: np.ndarray,
    scores: np.ndarray,
    faces: Sequence[np.ndarray],
    size: tuple[int, int],
    logit: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """F, B and unknown of a photo from a net that has learned the band.

    Parameters
    ----------
    photo : (h, w, 3) uint8 ndarray
        Reduced (see `work_size`).
    scores : (3, h, w) float32 ndarray
        Of foreground, background and unknown.
    faces, size
        As `band_probabilities` takes them and gives them back.
    logit : (h, w) float32 ndarray, optional
        Of a segmenter, as a second opinion (`well_inside`).
    """
    scale = scores.shape[2] / size[1], scores.shape[1] / size[0]
    person = scores[0] - scores[1]
    heads = [(Face.of(points, scale), points) for points in faces]
    heads = [(head, points) for head, points in heads if head.is_inside(person)]
    faces_inside = [head for head, _ in heads]
    if logit is not None:
        inside = well_inside(logit, faces_inside)
        # A hole in a person is closed; background that goes on outside is somebody else
        # whom the segmenter took for one of them.
        background = np.argmax(scores, axis=0) == 1
        inside &= ~reached(background, ~inside)
        scores = scores.copy()
        scores[0, inside] = scores.max(axis=0)[inside] + CERTAIN_LEAD
    opinion = color_opinion(photo, scores, person, faces_inside)
    return probabilities_from(scores, size, opinion), tuple(points for _, points in heads)


def probabilities_from(
    scores: np.ndarray, size: tuple[int, int], opinion: np.ndarray | None = None
) -> np.ndarray:
    """Softmax (eq. 3) of scores enlarged to (rows, columns).

    Scores, not probabilities, are interpolated: between a certain pixel and
    an unknown one the probability then falls as steeply as the net meant.

    Parameters
    ----------
    scores : (3, h, w) float32 ndarray
    size : (rows, columns)
    opinion : (2, h, w) float32 ndarray, optional
        From `color_opinion`: moved from "unknown" to F and B.

    Returns
    -------
    (3, rows, columns) float32 ndarray
    """
    probabilities = np.empty((3, *size), np.float32)
    for score, plane in zip(scores, probabilities):
        cv2.resize(score, size[::-1], dst=plane, interpolation=cv2.INTER_LINEAR)
    probabilities -= probabilities.max(axis=0)
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(axis=0)
    if opinion is not None:
        unknown = probabilities[2].copy()
        for plane, known in zip(opinion, probabilities):
            share = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) * unknown
            known += share
            probabilities[2] -= share
    return probabilities


def mask_logit(mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """A logit that says what a mask from outside says.

    Parameters
    ----------
    mask : (h, w) uint8 or float ndarray
        0 background to 255 (float: 1) foreground.
    size : (rows, columns)
        To which it is stretched.

    Returns
    -------
    logit : (rows, columns) float32 ndarray
        Certain where the mask is below 5 % or above 95 %.
    least_radius : float
        Pixels of the result that a mask pixel covers, at least 1.
    """
    share = mask.astype(np.float32) / (255 if mask.dtype == np.uint8 else 1)
    smaller = size[0] <= mask.shape[0] and size[1] <= mask.shape[1]
    filter_ = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    share = cv2.resize(share, size[::-1], interpolation=filter_)
    least_radius = max(1.0, size[0] / mask.shape[0], size[1] / mask.shape[1])
    return np.float32(CERTAIN_LOGIT * (2 * share - 1) / 0.9), least_radius


def trimap_probabilities(trimap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """F, B and unknown of a trimap from outside.

    Parameters
    ----------
    trimap : (h, w) uint8 ndarray
        At least `KNOWN_WHITE` foreground, at most `KNOWN_BLACK` background, else
        unknown.
    size : (rows, columns)
        To which it is stretched.

    Returns
    -------
    (3, rows, columns) float32 ndarray
        Zeros and ones.
    """
    stretched = cv2.resize(trimap, size[::-1], interpolation=cv2.INTER_NEAREST)
    foreground, background = stretched >= KNOWN_WHITE, stretched <= KNOWN_BLACK
    return np.stack([foreground, background, ~(foreground | background)]).astype(np.float32)
