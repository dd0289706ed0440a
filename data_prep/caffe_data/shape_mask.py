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

from data_prep.caffe_data.alignment import Neck, estimate_alignment, transform_points
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.landmark_scheme import LANDMARK_COUNT

#: Version of the mask, its template and its place over a face: raise it when they change
#: (`data_prep.common.versions`).
SHAPE_MASK_VERSION = 1


MASK_ALPHA = 0.5  # contour drawn in pictures
TILE_SHAPE = (320, 240)  # (H, W)
TILES_A_ROW = 6
#: Mask value (of 0-255) where no face was found: "no information", 0 to the net.
NEUTRAL_MASK = 128


def align_matte(
    matte: np.ndarray, matrix: np.ndarray, frame: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """T(M) and m of eq. 2 for one matte.

    Parameters
    ----------
    matte : (H, W) uint8 ndarray
    matrix : (3, 3) ndarray
        Maps the matte's pixels to the template's frame.
    frame : (H, W)
        Shape of the template.

    Returns
    -------
    aligned : (H, W) float32 ndarray
        The warped matte, 0 to 1; meaningful where `inside` is 1.
    inside : (H, W) uint8 ndarray
        1 where the pixel comes from inside the matte, 0 elsewhere.
    """
    size = frame[::-1]
    # Replicated, so that interpolation at the border mixes in no black.
    aligned = cv2.warpPerspective(
        matte.astype(np.float32) / 255,
        matrix,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
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

        Beyond the mask's own frame its border values are repeated: below it the body
        continues, beside and above it mostly the background does.

        Parameters
        ----------
        landmarks : (68, 2) ndarray
            The photo's: x and y in pixels.
        frame : (H, W)
            Shape of the photo.

        Returns
        -------
        (H, W) float32 ndarray
            0 to 1.
        """
        face = estimate_alignment(self.template, landmarks, frame)
        aligned = transform_points(np.linalg.inv(face), landmarks)
        matrix = face @ self.neck.body(landmarks, aligned, self.template)
        return cv2.warpPerspective(
            self.mean,
            matrix,
            frame[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

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
            raise InputError(f"{path} is no shape mask; make it again with `make data`.") from None
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
    weighted : (H, W) float64 ndarray
        Sum of the mattes where they are inside.
    count : (H, W) float32 ndarray
        How many are.

    Raises
    ------
    ValueError
        If there is none.
    """
    sums: tuple[np.ndarray, np.ndarray] | None = None
    for matte, inside in aligned:
        if sums is None:
            sums = np.zeros(matte.shape), np.zeros(matte.shape, np.float32)
        cv2.accumulate(matte, sums[0], mask=inside)
        cv2.accumulate(inside, sums[1])
    if sums is None:
        raise ValueError("no matte was given")
    return sums


def average_mattes(sums: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The mean mask M of eq. 2.

    Parameters
    ----------
    sums : iterable of (weighted, count)
        `sum_mattes` of groups of portraits, one or more; taken one by one.

    Returns
    -------
    (H, W) float32 ndarray
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

        nearest = distance_transform_edt(count == 0, return_distances=False, return_indices=True)
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
    tiles = [cv2.resize(each, TILE_SHAPE[::-1], interpolation=cv2.INTER_AREA) for each in pictures]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % TILES_A_ROW)
    rows = [np.hstack(tiles[i : i + TILES_A_ROW]) for i in range(0, len(tiles), TILES_A_ROW)]
    # As high as all rows together.
    height, width = (len(rows) * side for side in TILE_SHAPE)
    return np.hstack(
        [cv2.resize(mean, (width, height), interpolation=cv2.INTER_AREA), np.vstack(rows)]
    )
