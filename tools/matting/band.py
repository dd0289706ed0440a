"""From scores or a mask to class probabilities: foreground, background and the unknown band.

A mask says where a person is, to within a few pixels, and cuts off hair.  The band that is
left open around its border is wide where hair is, or can be (around a head, outwards above
all), and narrow at shoulders, in units of the distance between the eyes.  Inside the band nearby
colors give a weak opinion on alpha, which helps where the band is wide and the Laplacian
alone would fade.

All of it happens on a reduced photo, see `tools.matting.photo_view.work_shape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from caffe_layers.color_models import sampled_alpha
from prototxt.catalog import CERTAIN_LOGIT
from tools.matting.face_boxes import FaceBox
from tools.matting.guidance import KNOWN_BLACK, KNOWN_WHITE
from tools.matting.logits import sigmoid
from tools.matting.photo_view import resized

# Half widths of the band in distances between the eyes: inwards at heads and hair, outwards where
# hair is near or can be, outwards at heads of which a net tells where their hair is, and at bodies.
# They were chosen by SAD and gradient error on eight real portraits and on 63 rendered ones of
# people that no test has, docs/design.md, "Two segmenters".
INTO_HEAD, OUT_OF_HAIR, OUT_OF_HEAD, BODY = 0.1, 0.2, 0.15, 0.045
# A head reaches this far from the middle of the eyes and below the chin.
HEAD_WIDTH, BELOW_CHIN = 3.5, 0.3
# Without a face: eye distance / square root of the person's area, the median
# of the sample's training portraits.
EYES_TO_PERSON = 0.17
# Half width at everything, without a face and without knowing where hair is.
FACELESS = 0.08

# F + B that a confident color sample puts into the band.  More would pull
# hair to the samples' noise, as it does to gray (docs/design.md).
COLOR_WEIGHT = 1e-5
COLOR_REACH = 1.0  # in distances between the eyes

# F + B that the belief of a segmenter or mask puts into the band, the same in the band of nets that
# know hair, and the logit that is believed for three quarters.  The first: on eight real portraits
# SAD, MSE and gradient error of the segmenter's mattes go from 9.11, 10.8e-3, 5.00 to 9.03, 9.9e-3,
# 4.85 (2026-11-28).  The second: without it the eight portraits' gradient error rises by 1 %, with
# the first in its place the SAD of 63 rendered ones by 3 % (2026-11-30).
BELIEF_WEIGHT, BELIEF_WEIGHT_WITH_HAIR = 1e-5, 2e-6
BELIEF_SCALE = 2.0

# A net that has learned the band on renders marks clothes unseen in the renders unknown.
# This deep inside the segmenter's person, in distances between the eyes, unknown cannot be
# hair.  On ten rendered validation portraits 0.2 costs 3 % of the matte, 0.4 half a percent,
# 0.7 nothing.
WELL_INSIDE = 0.5
CERTAIN_LEAD = 10.0  # by which the score of foreground leads there

# Alpha this near to 0 and 1 is snapped to them after the solve: where the band is wide, the
# solve fades toward the known regions instead of reaching them.
SNAP_MARGIN = 0.025

# Regularization of the matting Laplacian in a segmenter's band, which is wider than a true trimap:
# with the usual 1e-7 the gradient errors of eight real portraits and of 63 rendered ones are 0.5 to
# 1 % larger.  Measured on 2026-11-30.
BAND_EPSILON = 3e-7


@dataclass(frozen=True)
class Face:
    """What the band takes from a face, in pixels.

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
    def of(cls, face: FaceBox, scale: tuple[float, float] = (1.0, 1.0)) -> Face:
        """From a face of a photo, scaled in x and y."""
        scaled = face.mapped(np.array(scale))
        x, y = scaled.eyes.tolist()
        return cls(x, y, scaled.eye_distance, scaled.chin)

    def is_inside(self, logit: np.ndarray) -> bool:
        """Whether the logit is positive (a person) at the middle of the eyes."""
        return is_positive_at(logit, self.x, self.y)


def is_positive_at(plane: np.ndarray, x: float, y: float) -> bool:
    """Whether an (H, W) plane is positive at a point, or where it is nearest to one outside."""
    height, width = plane.shape
    row, column = np.clip((round(y), round(x)), 0, (height - 1, width - 1))
    return bool(plane[row, column] > 0)


def faces_of_people(
    person: np.ndarray, faces: Sequence[FaceBox], shape: tuple[int, int]
) -> tuple[FaceBox, ...]:
    """Those faces that belong to a person.

    Parameters
    ----------
    person : ndarray of shape (h, w)
        Positive where a person is.
    faces : sequence of FaceBox
        In pixels of the photo.
    shape : (H, W)
        The photo's.
    """
    scale = _scale_of(person, shape)
    return tuple(face for face in faces if Face.of(face, scale).is_inside(person))


def _scale_of(plane: np.ndarray, shape: tuple[int, int]) -> tuple[float, float]:
    """Factors in x and y from pixels of a photo of a shape to those of a smaller plane."""
    return plane.shape[1] / shape[1], plane.shape[0] / shape[0]


def eye_distances(logit: np.ndarray, faces: Sequence[Face]) -> list[float]:
    """Eye distance of every face; without one, a guess from the area of positive logit."""
    return [face.eyes for face in faces] or [EYES_TO_PERSON * np.count_nonzero(logit > 0) ** 0.5]


def widened(
    logit: np.ndarray,
    faces: Sequence[Face],
    least_radius: float = 1.0,
    hair: np.ndarray | None = None,
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
    hair : (H, W) bool ndarray, optional
        Where hair is near.  Unless it is told, hair can be anywhere around a head.

    Returns
    -------
    low, high : (H, W) float32 ndarray
        Surroundings are disks: small ones at bodies, wider ones around heads and hair, for `high`
        (the band toward the background) more so.
    """
    eyes = float(np.median(eye_distances(logit, faces)))
    kernel = _disk((BODY if faces or hair is not None else FACELESS) * eyes, least_radius)
    low, high = cv2.erode(logit, kernel), cv2.dilate(logit, kernel)

    def widen(region: np.ndarray, into: float, out_of: float) -> None:
        """Take the extremes of larger disks in a region, if it is not empty."""
        if not region.any():
            return
        for radius, spread, limit, extremes in (
            (into, cv2.erode, np.minimum, low),
            (out_of, cv2.dilate, np.maximum, high),
        ):
            kernel = _disk(radius, least_radius)
            part = _around(region, kernel.shape[0] // 2)
            found = limit(extremes[part], spread(logit[part], kernel))
            np.copyto(extremes[part], found, where=region[part])

    rows, columns = np.ogrid[: logit.shape[0], : logit.shape[1]]
    for face in faces:
        head = (np.abs(columns - face.x) < HEAD_WIDTH * face.eyes) & (
            rows < face.chin + BELOW_CHIN * face.eyes
        )
        out_of = OUT_OF_HAIR if hair is None else OUT_OF_HEAD
        widen(head, INTO_HEAD * face.eyes, out_of * face.eyes)
    if hair is not None:
        widen(hair, INTO_HEAD * eyes, OUT_OF_HAIR * eyes)
    return low, high


def _disk(radius: float, least_radius: float) -> np.ndarray:
    """A disk of at least one pixel around its center."""
    side = 2 * max(1, round(max(radius, least_radius))) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _around(region: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of a region and of a margin around it."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    return (
        slice(max(0, top - margin), top + height + margin),
        slice(max(0, left - margin), left + width + margin),
    )


def head_scores(
    low: np.ndarray, high: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Scores of foreground, background and unknown (`prototxt.netspec.selfie.trimap_head`).

    Parameters
    ----------
    low, high : (H, W) ndarray
        From `widened`.
    kernel : (3, 2) ndarray
        The kernel of the head's layer ``score``, applied to (-low, high).
    bias : (3,) ndarray

    Returns
    -------
    (3, H, W) float32 ndarray
    """
    scores = np.tensordot(kernel, np.stack([-low, high]), axes=1)
    return (scores + bias[:, None, None]).astype(np.float32)


def reached(region: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Those connected parts of a region that touch another one.

    Parameters
    ----------
    region, other : (H, W) bool ndarray

    Returns
    -------
    (H, W) bool ndarray
    """
    count, labels = cv2.connectedComponents(region.astype(np.uint8))
    touched = cv2.dilate(other.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    kept = np.zeros(count, bool)
    kept[labels[touched]] = True
    kept[0] = False  # what is outside the region
    return kept[labels]


def likeliest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each of three (3, H, W) scores is the largest, (H, W) bool; of equals the first."""
    first = (scores[0] >= scores[1]) & (scores[0] >= scores[2])
    second = (scores[1] > scores[0]) & (scores[1] >= scores[2])
    return first, second, ~(first | second)


def color_opinion(
    photo: np.ndarray, scores: np.ndarray, logit: np.ndarray, faces: Sequence[Face]
) -> np.ndarray:
    """Weak foreground and background of the unknown band, from the photo's colors.

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
    foreground, background, unknown = likeliest(scores)
    if not foreground.any() or not background.any() or not unknown.any():
        return np.zeros((2, *logit.shape), np.float32)
    eyes = max(eye_distances(logit, faces))
    alpha, confidence = sampled_alpha(photo, foreground, background, COLOR_REACH * eyes)
    weight = COLOR_WEIGHT * confidence * reached(unknown, background)
    return np.stack([weight * alpha, weight * (1 - alpha)])


def probabilities_from_logit(
    photo: np.ndarray,
    logit: np.ndarray,
    faces: Sequence[FaceBox],
    shape: tuple[int, int],
    score_weights: tuple[np.ndarray, np.ndarray],
    least_radius: float = 1.0,
    hair: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities of a photo from a segmenter's logit, with a band around its people.

    Parameters
    ----------
    photo : ndarray of shape (h, w, 3), uint8
        Reduced.
    logit : ndarray of shape (h, w), float32
        Positive where a person is.
    faces : sequence of FaceBox
        Those of people (`faces_of_people`), in pixels of the full photo.
    shape : (H, W)
        The full photo's.
    score_weights : (kernel, bias), ndarrays of shape (3, 2) and (3,)
        See `head_scores`.
    least_radius, hair
        See `widened`.

    Returns
    -------
    ndarray of shape (3, H, W), float32
        Foreground, background and unknown.
    """
    scale = _scale_of(logit, shape)
    heads = [Face.of(face, scale) for face in faces]
    low, high = widened(logit, heads, least_radius, hair)
    scores = head_scores(low, high, *score_weights)
    opinion = color_opinion(photo, scores, logit, heads)
    return softmax_at(scores, shape, opinion)


def well_inside(logit: np.ndarray, heads: Sequence[Face]) -> np.ndarray:
    """Where a segmenter is certain of a person, `WELL_INSIDE` all around too.

    Parameters
    ----------
    logit : (H, W) float32 ndarray
        A person at its edge is taken to continue beyond.
    heads : sequence of Face
        In pixels of the logit.

    Returns
    -------
    (H, W) bool ndarray
    """
    certain = (logit > CERTAIN_LOGIT).astype(np.uint8)
    depth = cv2.distanceTransform(certain, cv2.DIST_L2, cv2.DIST_MASK_5)
    return depth > WELL_INSIDE * np.median(eye_distances(logit, heads))


def probabilities_from_scores(
    photo: np.ndarray,
    scores: np.ndarray,
    faces: Sequence[FaceBox],
    shape: tuple[int, int],
    logit: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities of a photo from a net that has learned the band.

    Parameters
    ----------
    photo : ndarray of shape (h, w, 3), uint8
        Reduced.
    scores : ndarray of shape (3, h, w), float32
        Foreground, background and unknown.
    faces, shape
        See `probabilities_from_logit`.
    logit : ndarray of shape (h, w), float32, optional
        A segmenter's, as a second opinion (`well_inside`).

    Returns
    -------
    ndarray of shape (3, H, W), float32
    """
    person = scores[0] - scores[1]
    scale = _scale_of(person, shape)
    heads = [Face.of(face, scale) for face in faces]
    if logit is not None:
        inside = well_inside(logit, heads)
        # A hole in a person is closed.  Background that continues outside is a bystander
        # whom the segmenter took for one of the people.
        _, background, _ = likeliest(scores)
        inside &= ~reached(background, ~inside)
        scores = scores.copy()
        scores[0, inside] = scores.max(axis=0)[inside] + CERTAIN_LEAD
    opinion = color_opinion(photo, scores, person, heads)
    return softmax_at(scores, shape, opinion)


def softmax_at(
    scores: np.ndarray, shape: tuple[int, int], opinion: np.ndarray | None = None
) -> np.ndarray:
    """Softmax (eq. 3) of scores that are enlarged first.

    Scores, not probabilities, are interpolated: between a certain pixel and
    an unknown one the probability then falls as steeply as the net meant.

    Parameters
    ----------
    scores : ndarray of shape (3, h, w), float32
    shape : (H, W)
        The result's.
    opinion : ndarray of shape (2, h, w), float32, optional
        From `color_opinion`; moved from unknown to foreground and background.

    Returns
    -------
    ndarray of shape (3, H, W), float32
    """

    def enlarge(plane: np.ndarray, into: np.ndarray) -> None:
        cv2.resize(plane, shape[::-1], into, interpolation=cv2.INTER_LINEAR)

    probabilities = np.empty((3, *shape), np.float32)
    for score, plane in zip(scores, probabilities):
        enlarge(score, plane)
    probabilities -= probabilities.max(axis=0)
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(axis=0)
    if opinion is not None:
        unknown, share = probabilities[2].copy(), np.empty(shape, np.float32)
        for plane, known in zip(opinion, probabilities):
            enlarge(plane, share)
            share *= unknown
            known += share
            probabilities[2] -= share
    return probabilities


def lean_to_belief(
    probabilities: np.ndarray, logit: np.ndarray, weight: float = BELIEF_WEIGHT
) -> None:
    """Let unknown pixels lean, weakly, to what a segmenter believes of them.

    Where the band is wide, as at a hand that the segmenter half sees, the solve alone
    fades to gray.

    Parameters
    ----------
    probabilities : ndarray of shape (3, H, W), float32
        Changed in place.
    logit : ndarray of shape (h, w), float32
        Positive where a person is.
    weight : float
        The share of unknown that goes to foreground and background.
    """
    foreground, background, unknown = probabilities
    enlarged = cv2.resize(logit, unknown.shape[::-1], interpolation=cv2.INTER_LINEAR)
    share = weight * unknown
    leaning = share * sigmoid(enlarged / BELIEF_SCALE)
    foreground += leaning
    background += share - leaning
    unknown -= share


def mask_logit(mask: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """A segmenter's logit that stands for a mask from outside.

    Parameters
    ----------
    mask : ndarray of shape (h, w), uint8 or float
        0 background to 255 (float: 1) foreground.
    shape : (H, W)
        Shape that it is stretched to.

    Returns
    -------
    logit : ndarray of shape (H, W), float32
        Certain where the mask is below 5 % or above 95 %.
    least_radius : float
        Pixels of the result that a mask pixel covers, at least 1.
    """
    share = mask.astype(np.float32) / (255 if mask.dtype == np.uint8 else 1)
    share = resized(share, shape)
    least_radius = max(1.0, shape[0] / mask.shape[0], shape[1] / mask.shape[1])
    logit = CERTAIN_LOGIT * (2 * share - 1) / 0.9
    return logit.astype(np.float32), least_radius


def probabilities_from_trimap(trimap: np.ndarray) -> np.ndarray:
    """Class probabilities of a trimap from outside.

    Parameters
    ----------
    trimap : ndarray of shape (H, W), uint8
        At least `KNOWN_WHITE` foreground, at most `KNOWN_BLACK` background, else
        unknown.

    Returns
    -------
    ndarray of shape (3, H, W), float32
        Zeros and ones.
    """
    foreground, background = trimap >= KNOWN_WHITE, trimap <= KNOWN_BLACK
    return np.stack([foreground, background, ~(foreground | background)]).astype(np.float32)
