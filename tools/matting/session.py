"""Mattes from Python: load once, then one call a photo.

>>> from data_prep.common.assets import fetch
>>> from data_prep.common.images import read_photo
>>> session = MattingSession()
>>> photo = read_photo(fetch("astronaut"))    # or the name of your file
>>> matte = session.matte(photo)
>>> photo.shape, matte.alpha.shape, matte.foreground.shape
((512, 512, 3), (512, 512), (512, 512, 3))
>>> bool(matte.person_found and 0 <= matte.alpha.min() and matte.alpha.max() <= 1)
True
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from caffe_layers.color_models import foreground_colors
from caffe_layers.matting import DEFAULT_LAMBDA
from data_prep.common.errors import InputError
from data_prep.common.landmarks import LandmarkDetector
from prototxt.catalog import score_weights
from tools.matting.band import (
    COLOR_WEIGHT,
    HAZE,
    Face,
    band_probabilities,
    mask_logit,
    trimap_probabilities,
    work_size,
)
from tools.matting.guidance import MASK, TRIMAP, Guidance, covers_border, levels_of
from tools.matting.models import DEFAULT_MODEL
from tools.matting.orientation import turned
from tools.matting.predictor import Predictor, detected_faces, seen
from tools.matting.solve import Sight, solved

SMALLEST_SIDE = 3  # one window of the matting Laplacian


@dataclass(frozen=True)
class Matte:
    """What a session makes of one photo.

    Attributes
    ----------
    photo : (H, W, 3) uint8 or uint16 ndarray
        As it was given, BGR.
    alpha : (H, W) float64 ndarray
        In [0, 1]; all 0 where nobody was found.
    probabilities : (3, H, W) float32 ndarray
        Of foreground, background and unknown (eq. 3), as they were solved.
    faces : tuple of (68, 2) float64 ndarray
        Landmarks in pixels (x, y), the largest face first; those that the net
        (or the mask) takes for people.  Empty where a trimap came from outside.
    person_found : bool
        Whether anything is foreground at all.
    """

    photo: np.ndarray
    alpha: np.ndarray
    probabilities: np.ndarray
    faces: tuple[np.ndarray, ...]
    person_found: bool

    @cached_property
    def foreground(self) -> np.ndarray:
        """Colors of the person free of the old background, of the photo's shape and type.

        Not premultiplied; without meaning where alpha is 0.
        """
        return foreground_colors(self.photo, self.alpha)


class MattingSession:
    """A loaded model that mattes any number of photos.

    It serves several threads: nets and detectors take turns, solves overlap.

    Parameters
    ----------
    model : str or None
        A key of `tools.matting.models.MODELS`.
        None loads nothing: trimaps and masks come from outside.

    Raises
    ------
    InputError
        If a file of the model is missing or damaged, or Caffe is not built.
    """

    def __init__(self, model: str | None = DEFAULT_MODEL) -> None:
        self._predictor = Predictor(model) if model else None
        self._turn = threading.Lock()

    @cached_property
    def _detector(self) -> LandmarkDetector:
        return LandmarkDetector()

    def matte(
        self,
        photo: np.ndarray,
        trimap: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> Matte:
        """Matte of one photo.

        Parameters
        ----------
        photo : (H, W, 3) uint8 or uint16 ndarray
            BGR.
        trimap : (h, w) uint8 ndarray, optional
            White foreground, black background, else unknown; stretched to the
            photo.  What it calls known is kept.
        mask : (h, w) uint8 or float ndarray, optional
            Of any segmenter, 0 background to 255 (float: 1) foreground;
            stretched to the photo.  Its border is refined as the model's is.

        Raises
        ------
        InputError
            If an array has another shape or type, both a trimap and a mask are
            given, one of them is refused by `tools.matting.guidance.levels_of`,
            is inverted or leaves no foreground or background, there is neither
            a model nor one of the two, or memory does not suffice.
        """
        check_photo(photo)
        if trimap is not None and mask is not None:
            raise InputError("Give a trimap or a mask, not both.")
        if trimap is not None:
            sight = self._sight_of_trimap(trimap, photo)
        elif mask is not None:
            sight = self._sight_of_mask(mask, photo)
        elif self._predictor is not None:
            with self._turn:
                sight = self._predictor.look(photo)
        else:
            raise InputError("This session has no model; give a trimap or a mask.")
        lambda_ = self._predictor.lambda_ if self._predictor else DEFAULT_LAMBDA
        alpha = solved(photo, sight, lambda_)
        return Matte(photo, alpha, sight.probabilities, sight.faces, bool(alpha.any()))

    def segment(self, photo: np.ndarray) -> np.ndarray:
        """The raw mask of the person segmenter, before any trimap or matting.

        Parameters
        ----------
        photo : (H, W, 3) uint8 or uint16 ndarray

        Returns
        -------
        (H, W) float32 ndarray
            In [0, 1].

        Raises
        ------
        InputError
            If the model is no segmenter.
        """
        check_photo(photo)
        if self._predictor is None or not self._predictor.segments:
            raise InputError("This session's model is no segmenter; take `selfie`.")
        with self._turn:
            logit = self._predictor.person_logit(photo)
        share = 1 / (1 + np.exp(-np.clip(logit, -50, 50)))
        return cv2.resize(share, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def _sight_of_trimap(self, trimap: np.ndarray, photo: np.ndarray) -> Sight:
        check_trimap(trimap)
        size = photo.shape[:2]
        stretched = cv2.resize(trimap, size[::-1], interpolation=cv2.INTER_NEAREST)
        levels = levels_of(TRIMAP, Guidance(stretched), "The trimap").values
        probabilities = trimap_probabilities(levels, size)
        person = probabilities[0] - probabilities[1]
        if covers_border(person):  # faces are looked for only where it matters
            turns, faces = self._faces(photo)
            shape = np.rot90(photo, turns).shape[:2]
            refuse_inverted(TRIMAP, turned(person, turns), faces, shape)
        return Sight(probabilities, (), True)

    def _sight_of_mask(self, mask: np.ndarray, photo: np.ndarray) -> Sight:
        check_mask(mask)
        mask = levels_of(MASK, Guidance(mask), "The mask").values
        size = work_size(photo.shape[:2])
        logit, least_radius = mask_logit(mask, size)
        turns, faces = self._faces(photo)
        upright, shape = turned(logit, turns), np.rot90(photo, turns).shape[:2]
        if covers_border(logit):
            refuse_inverted(MASK, upright, faces, shape)
        probabilities, faces = band_probabilities(
            turned(seen(photo, size), turns), upright, faces, shape, score_weights(), least_radius
        )
        for name, plane in zip(("foreground", "background"), probabilities):
            if plane.max() < COLOR_WEIGHT:  # less than a guess: the matte would fade away
                raise InputError(
                    f"The mask has no {name} wider than the doubt around its border, as where "
                    "it is noise; give a mask of the whole person."
                )
        return Sight(probabilities, faces, True, HAZE).turned(-turns)

    def _faces(self, photo: np.ndarray) -> tuple[int, tuple[np.ndarray, ...]]:
        """As `detected_faces`: quarters to turn the photo by, and its faces then."""
        with self._turn:
            return detected_faces(self._detector, photo)


def refuse_inverted(
    kind: str, person: np.ndarray, faces: Sequence[np.ndarray], size: tuple[int, int]
) -> None:
    """Refuse guidance that covers the border of a photo and calls its faces background.

    Parameters
    ----------
    kind : {"trimap", "mask"}
    person : (h, w) float32 ndarray
        Positive where a person is, negative in the background; covers the border.
    faces : sequence of (68, 2) ndarray
        Landmarks in pixels of the photo.
    size : (rows, columns)
        Of the photo.

    Raises
    ------
    InputError
        If there are faces, and all of them lie in the background.
    """
    scale = person.shape[1] / size[1], person.shape[0] / size[0]
    heads = [Face.of(points, scale) for points in faces]
    if heads and all(head.is_inside(-person) for head in heads):
        raise InputError(
            f"The {kind} is inverted: white covers the border of the photo, and the face is "
            "black; exchange black and white."
        )


def check_trimap(trimap: np.ndarray) -> None:
    """Refuse what is no trimap.

    Raises
    ------
    InputError
        If it is no (h, w) uint8 array.
    """
    if trimap.ndim != 2 or trimap.dtype != np.uint8 or not trimap.size:
        raise InputError(
            f"A trimap is an (H, W) array of uint8, not {trimap.shape} of {trimap.dtype}; "
            "save it as a gray PNG of 0, 128 and 255."
        )


def check_photo(photo: np.ndarray) -> None:
    """Refuse what is no photo.

    Raises
    ------
    InputError
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"A photo is an (H, W, 3) array of uint8 or uint16, not "
            f"{photo.shape} of {photo.dtype}; convert it first."
        )
    if min(photo.shape[:2]) < SMALLEST_SIDE:
        raise InputError(
            f"A photo of {photo.shape[1]}x{photo.shape[0]} pixels is too small; "
            f"it takes {SMALLEST_SIDE}x{SMALLEST_SIDE}."
        )


def check_mask(mask: np.ndarray) -> None:
    """Refuse what is no mask.

    Raises
    ------
    InputError
    """
    if mask.ndim != 2 or not mask.size or not (mask.dtype == np.uint8 or mask.dtype.kind == "f"):
        raise InputError(
            f"A mask is an (H, W) array of uint8 or float, not {mask.shape} of {mask.dtype}; "
            "save it as a gray PNG."
        )
    # Written this way round, so that NaN does not pass.
    if mask.dtype.kind == "f" and not (mask.min() >= 0 and mask.max() <= 1):
        raise InputError("A mask of floating-point values goes from 0 to 1; scale it.")


@functools.cache
def _default_session() -> MattingSession:
    return MattingSession()


def matte(image: np.ndarray) -> np.ndarray:
    """Alpha matte of one photo, with the default model, loaded once.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16 ndarray
        BGR.

    Returns
    -------
    (H, W) float64 ndarray
        In [0, 1]; all 0 where nobody was found.
    """
    return _default_session().matte(image).alpha
