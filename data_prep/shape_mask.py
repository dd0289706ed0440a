"""The shape mask: mean of all training mattes, aligned by the face (eq. 2)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from data_prep.errors import InputError
from data_prep.images import atomic_write
from data_prep.landmarks import LANDMARK_COUNT

# How far a homography may depart from the similarity of the same landmarks
# before it counts as an extrapolation gone wrong: at the corners of the frame,
# the local magnification in every direction, relative to the similarity's.
LARGEST_DISTORTION = 2.0

TEMPLATE_ROUNDS = 20
MASK_ALPHA = 0.5  # contour drawn in pictures
TILE_SIZE = (240, 320)  # width, height
TILES_A_ROW = 7
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
    """

    mean: np.ndarray
    template: np.ndarray

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
        matrix = estimate_alignment(self.template, landmarks, frame)
        return cv2.warpPerspective(
            self.mean, matrix, frame[::-1],
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip

    def save(self, path: Path | str) -> None:
        """Write to an .npz file, atomically."""
        with atomic_write(path) as scratch:
            np.savez_compressed(scratch, mean=self.mean, template=self.template)

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
                mask = cls(arrays["mean"], arrays["template"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise InputError(
                f"{path} is no shape mask; make it again with `make data`."
            ) from None
        if mask.mean.ndim != 2 or mask.template.shape != (LANDMARK_COUNT, 2):
            raise InputError(f"{path} is no shape mask; make it again with `make data`.")
        return mask


def build_shape_mask(
    mattes: Iterable[np.ndarray], landmarks: Sequence[np.ndarray]
) -> ShapeMask:
    """Shape mask of a training set (eq. 2).

    Parameters
    ----------
    mattes : iterable of (H, W) uint8 ndarray
        All of one size, which becomes the mask's frame; read one by one.
    landmarks : sequence of (68, 2) ndarray
        Of their photos, in the same order.

    Returns
    -------
    ShapeMask
        A pixel that no portrait covers after alignment (every m_i is 0 there)
        takes the value of the nearest one that some portrait covers.

    Raises
    ------
    InputError
        If there is no portrait, or the mattes are of several sizes.
    """
    if len(landmarks) == 0:
        raise InputError("No training portrait shows a face; the shape mask needs one.")
    template = mean_template(landmarks)
    weighted = count = None
    for matte, points in zip(mattes, landmarks, strict=True):
        if weighted is None:
            frame = matte.shape
            weighted, count = np.zeros(frame), np.zeros(frame)
        if matte.shape != frame:
            raise InputError(
                f"Mattes of {frame[1]}x{frame[0]} and {matte.shape[1]}x{matte.shape[0]} "
                "pixels cannot be averaged; crop them to one size."
            )
        matrix = estimate_alignment(points, template, frame)
        aligned, inside = align_matte(matte, matrix, frame)
        weighted += inside * aligned
        count += inside
    mean = weighted / np.maximum(count, 1)
    if not count.all():
        nearest = distance_transform_edt(
            count == 0, return_distances=False, return_indices=True
        )
        mean = mean[tuple(nearest)]
    return ShapeMask(mean.astype(np.float32), template)


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
    """Contact sheet: the mean mask with its template, then portraits under it.

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
    pictures = [mean] + [
        draw_alignment(photo, mask.warp_to(points, photo.shape[:2]), points)
        for photo, points in portraits
    ]
    tiles = [cv2.resize(each, TILE_SIZE, interpolation=cv2.INTER_AREA) for each in pictures]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % TILES_A_ROW)
    rows = [np.hstack(tiles[i : i + TILES_A_ROW]) for i in range(0, len(tiles), TILES_A_ROW)]
    return np.vstack(rows)
