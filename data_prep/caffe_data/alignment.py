"""Alignment of the mean face to the landmarks of a portrait (eq. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from data_prep.common.errors import InputError

# How far a homography may depart from the similarity of the same landmarks
# before it counts as an extrapolation gone wrong: at the corners of the frame,
# the local magnification in every direction, relative to the similarity's.
LARGEST_DISTORTION = 2.0
TEMPLATE_ROUNDS = 20
NOSE = slice(27, 36)
EDGES = [0, 1, 2, 14, 15, 16]  # of the face, before the ears
# A few portraits determine the shift badly: to them `fit_shift` adds one whose head
# turns by this share of the width of the face, and whose body follows.
PRIOR_TURN = 0.1


def estimate_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarity (rotation, scale, shift; no mirroring).

    Parameters
    ----------
    source, target : (N, 2) ndarray
        Corresponding points, x and y.

    Returns
    -------
    (3, 3) float64 ndarray
        Homogeneous matrix that maps `source` to `target`.
    """
    # As complex numbers a similarity is z -> a z + b, and least squares is closed.
    z = source[:, 0] + 1j * source[:, 1]
    w = target[:, 0] + 1j * target[:, 1]
    centered = z - z.mean()
    a = np.vdot(centered, w - w.mean()) / np.vdot(centered, centered)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map (N, 2) points by a (3, 3) homogeneous matrix."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def _jacobian(matrix: np.ndarray, point: np.ndarray) -> np.ndarray | None:
    """(2, 2) derivative of a homography; None at or beyond its horizon."""
    u, v, w = matrix @ [*point, 1.0]
    if w <= 0:
        return None
    image = np.array([u / w, v / w])
    return (matrix[:2, :2] - np.outer(image, matrix[2, :2])) / w


def _is_tame(matrix: np.ndarray, similarity: np.ndarray, frame: tuple[int, int]) -> bool:
    """Whether a homography resembles the similarity at the frame's corners.

    Its local magnifications there, relative to the similarity's, lie between
    1/`LARGEST_DISTORTION` and `LARGEST_DISTORTION`, and it mirrors nothing.
    A homography is monotone along lines, so its corners are its extremes.
    """
    height, width = frame
    scale = np.sqrt(np.linalg.det(similarity[:2, :2]))
    for corner in [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]:
        derivative = _jacobian(matrix, np.array(corner, dtype=np.float64))
        if derivative is None or np.linalg.det(derivative) <= 0:
            return False
        magnifications = np.linalg.svd(derivative, compute_uv=False) / scale
        if magnifications[0] > LARGEST_DISTORTION:
            return False
        if magnifications[1] < 1 / LARGEST_DISTORTION:
            return False
    return True


def estimate_alignment(
    source: np.ndarray, target: np.ndarray, frame: tuple[int, int]
) -> np.ndarray:
    """The transform T of eq. 2: a homography from landmarks to landmarks.

    Landmarks are noisy and cover a small part of the frame, and a homography
    fitted to them may fold or explode outside the face.  Where the
    least-squares homography does so anywhere in the target's frame, the
    least-squares similarity takes its place.

    Parameters
    ----------
    source, target : (68, 2) ndarray
        Landmarks in the image warped from, and in the one warped to.
    frame : (H, W)
        Shape of the image warped to: every pixel of it will be looked up.

    Returns
    -------
    (3, 3) float64 ndarray
        Maps `source` to `target`, scaled so that its last entry is 1.
    """
    similarity = estimate_similarity(source, target)
    homography, _ = cv2.findHomography(source, target, method=0)
    if homography is None or abs(np.linalg.det(homography)) < 1e-12:
        return similarity
    # Pixels are looked up backward: the backward map has to be well-behaved.
    backward = np.linalg.inv(homography)
    # The sign of a homogeneous matrix is free: make w positive on the face.
    backward *= np.sign(backward[2] @ [*target.mean(axis=0), 1.0])
    if not _is_tame(backward, np.linalg.inv(similarity), frame):
        return similarity
    return homography


def mean_template(landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """Mean face: landmark sets aligned by similarities, then averaged.

    Generalized Procrustes analysis, started from the plain mean; the result
    is put back where the plain mean lies, so it has the position, size and
    tilt in the frame that faces have on average.

    Parameters
    ----------
    landmarks : sequence of (68, 2) ndarray

    Returns
    -------
    (68, 2) float64 ndarray
    """
    plain = np.mean(landmarks, axis=0)
    template = plain
    for _ in range(TEMPLATE_ROUNDS):
        aligned = [
            transform_points(estimate_similarity(points, template), points) for points in landmarks
        ]
        mean = np.mean(aligned, axis=0)
        # Without this the mean would shrink a little in every round.
        template = transform_points(estimate_similarity(mean, plain), mean)
    return template


def head_turn(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """How far the nose lies off its place between the edges of the face.

    Parameters
    ----------
    points, template : (68, 2) ndarray
        Landmarks aligned to the template, and the template.

    Returns
    -------
    (2,) float64 ndarray
        x (the head turns) and y (it nods) in pixels; 0 for the template.
    """
    nose, template_nose = points[NOSE].mean(axis=0), template[NOSE].mean(axis=0)
    edges, template_edges = points[EDGES].mean(axis=0), template[EDGES].mean(axis=0)
    return (nose - edges) - (template_nose - template_edges)


def head_tilt(landmarks: np.ndarray, template: np.ndarray) -> float:
    """Angle in radians by which the template has to turn to lie on a face."""
    matrix = estimate_similarity(template, landmarks)
    return float(np.arctan2(matrix[1, 0], matrix[0, 0]))


def _shift(offset: np.ndarray) -> np.ndarray:
    """(3, 3) matrix of a translation."""
    return np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]])


def _rotation(angle: float, center: np.ndarray) -> np.ndarray:
    """(3, 3) matrix of a rotation by `angle` radians about a point."""
    c, s = np.cos(angle), np.sin(angle)
    return _shift(center) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ _shift(-center)


@dataclass(frozen=True)
class Neck:
    """Where the body is under a head that moved; by default it moves along.

    Attributes
    ----------
    shift : (2,) float64 ndarray
        Movement of the body against the face, in pixels per pixel of `head_turn`.
    tilt : float
        Up to this many radians a head tilts alone; what is more tilts the body.
    """

    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))
    tilt: float = 0.0

    def body(self, landmarks: np.ndarray, aligned: np.ndarray, template: np.ndarray) -> np.ndarray:
        """Where a portrait that is aligned by its face has its body.

        Parameters
        ----------
        landmarks, aligned, template : (68, 2) ndarray
            The portrait's as it is, the same aligned to the template, and the template's.

        Returns
        -------
        (3, 3) float64 ndarray
            In the template's frame: from the body's usual place to where it is.
        """
        alone = np.clip(head_tilt(landmarks, template), -self.tilt, self.tilt)
        upright = _rotation(-alone, template.mean(axis=0))
        return _shift(self.shift * head_turn(aligned, template)) @ upright


def fit_shift(turns: np.ndarray, centers: np.ndarray, face_width: float) -> np.ndarray:
    """`Neck.shift` of a training set.

    Ridge regression, for x and for y: the slope k of ``center = k turn + c``.

    Parameters
    ----------
    turns : (N, 2) ndarray
        `head_turn` of the portraits.
    centers : (N, 2) ndarray
        Centers of gravity of their mattes, aligned to the template by the face.
    face_width : float
        Width of the template's face, in pixels.

    Returns
    -------
    (2,) float64 ndarray
    """
    turns = turns - turns.mean(axis=0)
    centers = centers - centers.mean(axis=0)
    prior = (PRIOR_TURN * face_width) ** 2
    return (turns * centers).sum(axis=0) / ((turns**2).sum(axis=0) + prior)


def align_to_template(
    landmarks: np.ndarray, template: np.ndarray, neck: Neck, frame: tuple[int, int]
) -> np.ndarray:
    """T of eq. 2 from a portrait to the template, the head's own moves taken back.

    Parameters
    ----------
    landmarks, template : (68, 2) ndarray
    neck : Neck
    frame : (H, W)
        Shape of the template.

    Returns
    -------
    (3, 3) float64 ndarray
    """
    face = estimate_alignment(landmarks, template, frame)
    body = neck.body(landmarks, transform_points(face, landmarks), template)
    return np.linalg.inv(body) @ face


def center_of_gravity(matte: np.ndarray) -> np.ndarray:
    """(2,) x and y of a matte's foreground; the frame's center where it is empty."""
    columns, rows = matte.sum(axis=0, dtype=np.float64), matte.sum(axis=1, dtype=np.float64)
    if not columns.any():
        return (np.array(matte.shape[::-1]) - 1) / 2
    return np.array([np.average(np.arange(len(w)), weights=w) for w in (columns, rows)])


def fit_alignment(
    landmarks: Sequence[np.ndarray], centers: Sequence[np.ndarray], frame: tuple[int, int]
) -> tuple[np.ndarray, Neck]:
    """Template and neck of a training set.

    Parameters
    ----------
    landmarks : sequence of (68, 2) ndarray
    centers : sequence of (2,) ndarray
        `center_of_gravity` of the mattes, each in its own frame.
    frame : (H, W)
        Shape of the template.

    Returns
    -------
    template : (68, 2) float64 ndarray
    neck : Neck
        Its tilt is the root mean square over the portraits.

    Raises
    ------
    InputError
        If there is no portrait.
    """
    if len(landmarks) == 0:
        raise InputError("No training portrait shows a face; the shape mask needs one.")
    template = mean_template(landmarks)
    faces = [estimate_alignment(points, template, frame) for points in landmarks]
    turns = [
        head_turn(transform_points(face, points), template)
        for face, points in zip(faces, landmarks, strict=True)
    ]
    bodies = [
        transform_points(face, center[None])[0] for face, center in zip(faces, centers, strict=True)
    ]
    tilts = [head_tilt(points, template) for points in landmarks]
    shift = fit_shift(np.array(turns), np.array(bodies), np.ptp(template[:, 0]))
    return template, Neck(shift, float(np.sqrt(np.mean(np.square(tilts)))))
