"""Mattes from Python: load once, then one call a photo.

>>> from data_prep.images import read_photo
>>> from tools.session import MattingSession
>>> session = MattingSession()
>>> result = session.matte(read_photo("photo.jpg"))
>>> result.alpha            # (H, W) float64 in [0, 1]
>>> result.foreground       # (H, W, 3) colors without the old background
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_prep.errors import InputError
from tools.foreground import foreground_colors
from tools.predict import Predictor


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
        Landmarks in pixels (x, y), the largest face first; empty where the
        trimap or the mask came from outside.
    person_found : bool
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
    model : {"selfie", "lite", "fcn8s"} or None
        None loads nothing: trimaps and masks come from outside.

    Raises
    ------
    InputError
        If a file of the model is missing or damaged.
    """

    def __init__(self, model: str | None = "selfie") -> None:
        self._predictor = Predictor(model) if model else None
        self._turn = threading.Lock()

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
            255 foreground, 0 background, else unknown; stretched to the photo.
        mask : (h, w) uint8 or float ndarray, optional
            Of any segmenter, 0 background to 255 (float: 1) foreground;
            stretched to the photo.  Its border is refined.

        Raises
        ------
        InputError
            If an array has another shape or type, both a trimap and a mask are
            given, or memory does not suffice.
        """
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"A photo is an (H, W, 3) array of uint8 or uint16, not "
                f"{photo.shape} of {photo.dtype}; convert it first."
            )
        if trimap is not None or mask is not None:
            raise InputError("Trimaps and masks from outside come with the next commit.")
        if self._predictor is None:
            raise InputError("This session has no model; give a trimap or a mask.")
        eight_bits = photo if photo.dtype == np.uint8 else np.uint8((photo + 128.0) / 257)
        with self._turn:
            prediction = self._predictor(eight_bits)
        return Matte(
            photo, prediction.alpha, prediction.probabilities, (), bool(prediction.alpha.any())
        )


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
