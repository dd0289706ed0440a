"""The shape mask: mean of all training mattes, aligned by the face (eq. 2).

**The neck.** Eq. 2 aligns faces, but the mask is mostly body, and a body does not
follow a head that turns, nods or tilts: the landmarks move, the shoulders stay.
How far the head turns or nods shows in the landmarks themselves, as the nose
then moves against the outline of the face.  So the alignment is corrected by
what the training portraits say about bodies under such heads (`Neck`).  Tilts
beyond theirs, moves and changes of scale are the photo's: there the mask follows.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from data_prep.errors import InputError
from data_prep.images import atomic_write
from data_prep.landmarks import LANDMARK_COUNT

#: Of the mask, its template and how it is laid over a face: raise it when they change
#: (`data_prep.common.versions`).
SHAPE_MASK_VERSION = 1

# How far a homography may depart from the similarity of the same landmarks
# before it counts as an extrapolation gone wrong: at the corners of the frame,
# the local magnification in every direction, relative to the similarity's.
LARGEST_DISTORTION = 2.0

TEMPLATE_ROUNDS = 20

NOSE = slice(27, 36)
EDGES = [0, 1, 2, 14, 15, 16]  # of the face, before the ears

# Few portraits say little: to them `fit_shift` adds one whose head turns by this
# share of the width of the face, and whose body follows.
PRIOR_TURN = 0.1

MASK_ALPHA = 0.5  # contour drawn in pictures
TILE_SIZE = (240, 320)  # width, height
TILES_A_ROW = 6
#: Mask value (of 0-255) where no face was found: "no information", 0 to the net.
NEUTRAL_MASK = 128


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
    frame : (height, width)
        Of the image warped to: every pixel of it will be looked up.

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
            transform_points(estimate_similarity(points, template), points)
            for points in landmarks
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
        Of the body against the face, in pixels per pixel of `head_turn`.
    tilt : float
        Up to this many radians a head tilts alone; what is more tilts the body.
    """

    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))
    tilt: float = 0.0

    def body(
        self, landmarks: np.ndarray, aligned: np.ndarray, template: np.ndarray
    ) -> np.ndarray:
        """Where a portrait that is aligned by its face has its body.

        Parameters
        ----------
        landmarks, aligned, template : (68, 2) ndarray
            Of the portrait as it is and aligned to the template, and the template.

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
        Of the template, in pixels.

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
    frame : (height, width)
        Of the template.

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
    frame : (height, width)
        Of the template.

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
        transform_points(face, center[None])[0]
        for face, center in zip(faces, centers, strict=True)
    ]
    tilts = [head_tilt(points, template) for points in landmarks]
    shift = fit_shift(np.array(turns), np.array(bodies), np.ptp(template[:, 0]))
    return template, Neck(shift, float(np.sqrt(np.mean(np.square(tilts)))))


def align_matte(
    matte: np.ndarray, matrix: np.ndarray, frame: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """T(M) and m of eq. 2 for one matte.

    Parameters
    ----------
    matte : (H, W) uint8 ndarray
    matrix : (3, 3) ndarray
        Maps the matte's pixels to the template's frame.
    frame : (height, width)
        Of the template.

    Returns
    -------
    aligned : (height, width) float32 ndarray
        The warped matte, 0 to 1; meaningful where `inside` is 1.
    inside : (height, width) uint8 ndarray
        1 where the pixel comes from inside the matte, 0 elsewhere.
    """
    size = frame[::-1]
    # Replicated, so that interpolation at the border mixes in no black.
    aligned = cv2.warpPerspective(
        matte.astype(np.float32) / 255, matrix, size,
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    inside = cv2.warpPerspective(np.ones_like(matte), matrix, size, flags=cv2.INTER_NEAREST)
    return aligned, inside


@dataclass(frozen=True)
class ShapeMask:
    """The mean mask M of eq. 2 and the template it is aligned to.

    Attributes
    ----------
    mean : (H, W) float32 ndarray
        Mean alpha, 0 to 1.
    template : (68, 2) float64 ndarray
        Landmarks of the mean face in that frame, x and y in pixels.
    neck : Neck
    """

    mean: np.ndarray
    template: np.ndarray
    neck: Neck = field(default_factory=Neck)

    def warp_to(self, landmarks: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
        """The mask laid over a photo by the landmarks of its face.

        Beyond the mask's own frame its border values go on: below it the body
        continues, beside and above it mostly background.

        Parameters
        ----------
        landmarks : (68, 2) ndarray
            Of the photo, x and y in pixels.
        frame : (height, width)
            Of the photo.

        Returns
        -------
        (height, width) float32 ndarray
            0 to 1.
        """
        face = estimate_alignment(self.template, landmarks, frame)
        aligned = transform_points(np.linalg.inv(face), landmarks)
        matrix = face @ self.neck.body(landmarks, aligned, self.template)
        return cv2.warpPerspective(
            self.mean, matrix, frame[::-1],
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip

    def save(self, path: Path | str) -> None:
        """Write to an .npz file, atomically."""
        with atomic_write(path) as scratch:
            np.savez(
                scratch,
                mean=self.mean,
                template=self.template,
                neck_shift=self.neck.shift,
                neck_tilt=self.neck.tilt,
            )

    @classmethod
    def load(cls, path: Path | str) -> ShapeMask:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file is missing or is no shape mask.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} does not exist; make it with `make data`.")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                neck = Neck(arrays["neck_shift"], float(arrays["neck_tilt"]))
                mask = cls(arrays["mean"], arrays["template"], neck)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            raise InputError(
                f"{path} is no shape mask; make it again with `make data`."
            ) from None
        shapes = mask.template.shape, mask.neck.shift.shape
        if mask.mean.ndim != 2 or shapes != ((LANDMARK_COUNT, 2), (2,)):
            raise InputError(f"{path} is no shape mask; make it again with `make data`.")
        return mask


def sum_mattes(
    aligned: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of eq. 2 over some portraits.

    Parameters
    ----------
    aligned : iterable of (aligned, inside)
        As `align_matte` gives them, one or more; taken one by one.

    Returns
    -------
    weighted : (height, width) float64 ndarray
        Sum of the mattes where they are inside.
    count : (height, width) float32 ndarray
        How many are.
    """
    weighted = count = None
    for matte, inside in aligned:
        if weighted is None:
            weighted, count = np.zeros(matte.shape), np.zeros(matte.shape, np.float32)
        cv2.accumulate(matte, weighted, mask=inside)
        cv2.accumulate(inside, count)
    return weighted, count


def average_mattes(sums: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The mean mask M of eq. 2.

    Parameters
    ----------
    sums : iterable of (weighted, count)
        `sum_mattes` of groups of portraits, one or more; taken one by one.

    Returns
    -------
    (height, width) float32 ndarray
        0 to 1.  A pixel that no portrait covers after alignment (every m_i is 0
        there) takes the value of the nearest one that some portrait covers.
    """
    sums = iter(sums)
    weighted, count = (array.copy() for array in next(sums))
    for more_weighted, more_count in sums:
        weighted += more_weighted
        count += more_count
    mean = weighted / np.maximum(count, 1)
    if not count.all():
        # Imported here: worker processes do not average.
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(
            count == 0, return_distances=False, return_indices=True
        )
        mean = mean[tuple(nearest)]
    return mean.astype(np.float32)


def draw_alignment(photo: np.ndarray, mask: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The photo dimmed outside the mask, with its 0.5 contour and the landmarks.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    mask : (H, W) float32 ndarray
        As `ShapeMask.warp_to` gives it.
    landmarks : (68, 2) ndarray

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    picture = (photo * (0.35 + 0.65 * mask[:, :, None])).astype(np.uint8)
    region = (mask >= MASK_ALPHA).astype(np.uint8)
    contours, _ = cv2.findContours(region, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, (0, 255, 255), 2)
    for x, y in np.rint(landmarks).astype(int):
        cv2.circle(picture, (int(x), int(y)), 2, (0, 255, 0), -1)
    return picture


def draw_alignments(
    mask: ShapeMask, portraits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """The mean mask with its template, and beside it portraits under the mask.

    Parameters
    ----------
    mask : ShapeMask
    portraits : sequence of (photo, landmarks)

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    mean = cv2.cvtColor(np.rint(255 * mask.mean).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    for x, y in np.rint(mask.template).astype(int):
        cv2.circle(mean, (int(x), int(y)), 2, (0, 160, 0), -1)
    pictures = [
        draw_alignment(photo, mask.warp_to(points, photo.shape[:2]), points)
        for photo, points in portraits
    ]
    tiles = [cv2.resize(each, TILE_SIZE, interpolation=cv2.INTER_AREA) for each in pictures]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % TILES_A_ROW)
    rows = [np.hstack(tiles[i : i + TILES_A_ROW]) for i in range(0, len(tiles), TILES_A_ROW)]
    # As high as all rows together.
    size = (TILE_SIZE[0] * len(rows), TILE_SIZE[1] * len(rows))
    return np.hstack([cv2.resize(mean, size, interpolation=cv2.INTER_AREA), np.vstack(rows)])
