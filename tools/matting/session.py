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
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from caffe_layers.affinities import unknown_region
from caffe_layers.color_models import foreground_colors
from caffe_layers.matting import DEFAULT_LAMBDA
from data_prep.common.errors import InputError
from data_prep.common.images import SMALLEST_SIDE
from prototxt.catalog import score_weights
from tools.matting.band import (
    COLOR_WEIGHT,
    SNAP_MARGIN,
    faces_of_people,
    is_positive_at,
    lean_to_belief,
    mask_logit,
    probabilities_from_logit,
    probabilities_from_trimap,
)
from tools.matting.face_detector import FaceDetector
from tools.matting.guidance import (
    MASK,
    NEARLY_WHITE,
    TRIMAP,
    Guidance,
    check_same_size,
    covers_border,
    levels_of,
)
from tools.matting.image_arrays import check_image, described
from tools.matting.logits import sigmoid
from tools.matting.models import AFFINITY_PIXELS, DEFAULT_MODEL
from tools.matting.orientation import turned
from tools.matting.photo_view import (
    FaceLandmarks,
    Faces,
    FoundFaces,
    PhotoView,
    work_shape,
)
from tools.matting.predictor import Predictor
from tools.matting.segmenter import Segmenter
from tools.matting.solve import solved
from tools.matting.trimap import TrimapEstimate, empty_estimate, estimate_trimap

#: Pixels.  Large nets are forgotten before larger photos are solved, which need the memory more; to
#: read the nets again takes a tenth of a second, of seconds.
LARGE_PHOTO = 4_000_000


@dataclass(frozen=True)
class Matte:
    """One photo and its matte.

    Attributes
    ----------
    photo : ndarray of shape (H, W, 3), uint8 or uint16
        As it was given, BGR.
    alpha : ndarray of shape (H, W), float64
        In [0, 1]; all 0 where nobody was found.
    probabilities : ndarray of shape (3, H, W), float32
        Class probabilities of foreground, background and unknown (eq. 3), as they were
        solved.
    faces : tuple of FaceBox
        In pixels, the largest face first; those that the net (or the mask) takes for
        people.  Empty where a trimap came from outside.
    person_found : bool
        Whether anything is foreground at all.
    """

    photo: np.ndarray
    alpha: np.ndarray
    probabilities: np.ndarray
    faces: Faces
    person_found: bool

    @cached_property
    def foreground(self) -> np.ndarray:
        """Colors of the person free of the old background, of the photo's shape and type.

        They are estimated when first asked for, are not premultiplied, and mean nothing
        where alpha is 0.
        """
        return foreground_colors(self.photo, self.alpha)


class MattingSession:
    """A loaded model that mattes any number of photos.

    It serves several threads: nets and detectors take turns, solves overlap.

    Parameters
    ----------
    model : str, Predictor, Segmenter or None
        A key of `tools.matting.models.MODELS`, nets that are loaded already, or any
        segmenter (`tools.matting.segmenter`), whose masks are refined.
        None loads nothing: trimaps and masks come from outside.
    mu : float, optional
        Weight of the affinities between unknown pixels of like colors
        (`caffe_layers.affinities`); 0: there are none.  Without it, the model's own
        (`tools.matting.models.Model`); masks and trimaps from outside have none.

    Raises
    ------
    InputError
        If there is no such model, a file of it is missing or damaged, or Caffe is not built.
    """

    def __init__(
        self, model: str | Predictor | Segmenter | None = DEFAULT_MODEL, mu: float | None = None
    ) -> None:
        self._mu = mu
        self._model = Predictor(model) if isinstance(model, str) else model
        # Reentrant, because a predictor asks its view for faces.
        self._lock = threading.RLock()
        self._finder = _LockedFinder(self._lock)

    def matte(
        self,
        photo: np.ndarray,
        trimap: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        alpha: np.ndarray | None = None,
    ) -> Matte:
        """Matte of one photo.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8 or uint16
            BGR.
        trimap : ndarray of shape (h, w), uint8, optional
            White foreground, black background, else unknown; stretched to the
            photo.  What it calls known is kept.
        mask : ndarray of shape (h, w), bool, uint8 or float, optional
            From any segmenter, 0 background to 255 (bool and float: 1) foreground;
            stretched to the photo.  Its border is refined as the model's is.
        alpha : ndarray of shape (H, W), uint8, uint16 or float, optional
            The matte itself, kept as it is: nothing is solved, and only the colors of
            the foreground are estimated.

        Raises
        ------
        InputError
            If an array has another shape or type, several of trimap, mask and alpha
            are given, one of them is refused by `tools.matting.guidance.levels_of`,
            is inverted or leaves no foreground or background, there is neither
            a model nor one of them, or memory does not suffice.
        """
        refuse_several(trimap, mask, alpha)
        if alpha is not None:
            return matte_as_given(photo, alpha)
        view = self._view(photo)
        mu = self._mu or 0.0
        estimate = self._guided_trimap(view, trimap, mask)
        if estimate is None:
            estimate = self._estimate(view)
            mu = self._mu_of(estimate)
        solution = solved(photo, estimate, self._lambda, mu)
        # `Matte.foreground` is estimated from photo and alpha when it is asked for.
        return Matte(photo, solution, estimate.probabilities, estimate.faces, bool(solution.any()))

    def estimate_trimap(self, photo: np.ndarray) -> TrimapEstimate:
        """The trimap of one photo by the model or segmenter, without the solve.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8 or uint16
            BGR.

        Raises
        ------
        InputError
            If the array is no photo, there is no model, or its scores are not finite.
        """
        return self._estimate(self._view(photo))

    def segment(self, photo: np.ndarray) -> np.ndarray:
        """The raw mask of a segmenter, before any trimap or matting.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8 or uint16
            BGR.

        Returns
        -------
        ndarray of shape (H, W), float32
            In [0, 1].

        Raises
        ------
        InputError
            If the model is no segmenter.
        """
        view = self._view(photo)
        with self._lock:
            if isinstance(self._model, Segmenter):
                share = self._model.mask(view.eight_bit)
            elif self._model is not None and self._model.segments:
                share = sigmoid(self._model.person_logit(view.eight_bit))
            else:
                raise InputError("This session's model is no segmenter; take `selfie`.")
        return cv2.resize(share, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    @property
    def _lambda(self) -> float:
        return self._model.lambda_ if isinstance(self._model, Predictor) else DEFAULT_LAMBDA

    def _mu_of(self, estimate: TrimapEstimate) -> float:
        """Weight of the affinities in the solve of the model's own trimap."""
        if self._mu is not None:
            return self._mu
        if not (isinstance(self._model, Predictor) and self._model.affinity_weight):
            return 0.0
        foreground, background, _ = estimate.probabilities
        count = np.count_nonzero(unknown_region(foreground, background))
        return self._model.affinity_weight if count <= AFFINITY_PIXELS else 0.0

    def _view(self, photo: np.ndarray) -> PhotoView:
        check_photo(photo)
        return PhotoView(photo, self._finder)

    def _guided_trimap(
        self, view: PhotoView, trimap: np.ndarray | None, mask: np.ndarray | None
    ) -> TrimapEstimate | None:
        """What a trimap or mask from outside gives in the model's place; None without either."""
        if trimap is not None:
            return trimap_as_given(view, trimap)
        return None if mask is None else trimap_around_mask(view, mask)

    def _estimate(self, view: PhotoView) -> TrimapEstimate:
        if self._model is None:
            raise InputError("This session has no model; give a trimap or a mask.")
        if isinstance(self._model, Predictor):
            with self._lock:
                scores = self._model.scores(view)
                if np.prod(view.shape) > LARGE_PHOTO:
                    self._model.release()
            return estimate_trimap(view, scores)
        upright = view.upright(view.turns)
        with self._lock:
            mask = self._model.mask(upright)
        if mask.max() < NEARLY_WHITE / 255:  # nobody of whom the segmenter is certain
            return empty_estimate(view.shape)
        mask = turned(mask, -view.turns)
        return trimap_around_mask(view, mask, f"The mask that {self._model.settings.path} gives")


class _LockedFinder:
    """A face detector, loaded when it is first asked, that one thread asks at a time."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock

    @cached_property
    def _detector(self) -> FaceDetector:
        return FaceDetector()

    def find(self, photo: np.ndarray) -> FoundFaces:
        with self._lock:
            return self._detector.find(photo)

    def landmarks(self, photo: np.ndarray, found: FoundFaces) -> tuple[FaceLandmarks, ...]:
        with self._lock:
            return self._detector.landmarks(photo, found)


def refuse_several(*given: np.ndarray | None) -> None:
    """Refuse more than one of trimap, mask and alpha.

    Raises
    ------
    InputError
    """
    if sum(each is not None for each in given) > 1:
        raise InputError("Give one of trimap, mask and alpha, not several.")


def matte_as_given(photo: np.ndarray, alpha: np.ndarray) -> Matte:
    """A photo and its matte from outside, checked.

    Parameters and errors are those of `MattingSession.matte`.  The class probabilities are
    those of the trimap that the matte shows.
    """
    check_photo(photo)
    shares = shares_of(alpha)
    check_same_size(shares, "The matte", photo.shape, "the photo")
    classes = np.stack([shares == 1, shares == 0, (shares > 0) & (shares < 1)])
    return Matte(photo, shares, classes.astype(np.float32), (), bool(shares.any()))


def shares_of(alpha: np.ndarray) -> np.ndarray:
    """A matte of uint8, uint16 or float as (H, W) float64 in [0, 1].

    Raises
    ------
    InputError
        If it is none.
    """
    kinds = (np.uint8, np.uint16)
    if not _is_plane(alpha) or not (alpha.dtype in kinds or alpha.dtype.kind == "f"):
        raise InputError(
            f"A matte is an (H, W) array of uint8, uint16 or float, not {described(alpha)}; "
            "read it with data_prep.common.pictures.read_alpha."
        )
    if alpha.dtype.kind == "u":
        return alpha / float(np.iinfo(alpha.dtype).max)
    # Written this way round, so that NaN does not pass.
    if alpha.size and not (alpha.min() >= 0 and alpha.max() <= 1):
        raise InputError("A matte of floating-point values goes from 0 to 1; scale it.")
    return alpha.astype(np.float64)


def trimap_as_given(view: PhotoView, trimap: np.ndarray) -> TrimapEstimate:
    """A trimap from outside, checked; parameters and errors as `MattingSession.matte`."""
    check_trimap(trimap)
    stretched = cv2.resize(trimap, view.shape[::-1], interpolation=cv2.INTER_NEAREST)
    levels = levels_of(TRIMAP, Guidance(stretched), "The trimap").values
    probabilities = probabilities_from_trimap(levels)
    margin = probabilities[0] - probabilities[1]
    if covers_border(margin):  # faces are looked for only where it matters
        turns = view.turns
        refuse_inverted(TRIMAP, turned(margin, turns), view.upright_shape(turns), view.faces)
    return TrimapEstimate(probabilities, (), True)


def trimap_around_mask(view: PhotoView, mask: np.ndarray, name: str = "The mask") -> TrimapEstimate:
    """A band around the border of a mask from outside, as around a segmenter's.

    Parameters and errors are those of `MattingSession.matte`; messages call the mask `name`.
    """
    check_mask(mask)
    if mask.dtype == np.bool_:
        mask = mask * np.uint8(255)
    levels = levels_of(MASK, Guidance(mask), name).values
    logit, least_radius = mask_logit(levels, work_shape(view.shape))
    turns = view.turns
    upright, shape = turned(logit, turns), view.upright_shape(turns)
    if covers_border(logit):
        refuse_inverted(MASK, upright, shape, view.faces)
    small = turned(view.reduced, turns)
    faces = faces_of_people(upright, view.faces, shape)
    probabilities = probabilities_from_logit(
        small, upright, faces, shape, score_weights(), least_radius
    )
    for layer, plane in zip(("foreground", "background"), probabilities):
        if plane.max() < COLOR_WEIGHT:  # less than a guess: the matte would fade away
            raise InputError(
                f"{name} has no {layer} wider than the doubt around its border, as where "
                "it is noise; give a mask of the whole person."
            )
    lean_to_belief(probabilities, upright)
    return TrimapEstimate(probabilities, faces, True, SNAP_MARGIN).turned(-turns)


def refuse_inverted(kind: str, margin: np.ndarray, shape: tuple[int, int], faces: Faces) -> None:
    """Refuse guidance that covers the border of a photo and calls its faces background.

    Parameters
    ----------
    kind : {"trimap", "mask"}
    margin : ndarray of shape (h, w), float32
        Of the upright photo; positive where a person is, negative in the background; covers
        the border.
    shape : (H, W)
        The upright photo's.
    faces : tuple of FaceBox
        In pixels of it.

    Raises
    ------
    InputError
        If there are faces, and all of them lie in the background.
    """
    scale = np.array([margin.shape[1] / shape[1], margin.shape[0] / shape[0]])
    if faces and all(is_positive_at(-margin, *(face.eyes * scale)) for face in faces):
        raise InputError(
            f"The {kind} is inverted: white covers the border of the photo, and the face is "
            "black; exchange black and white."
        )


def _is_plane(values: object) -> bool:
    """Whether it is an (H, W) array."""
    return isinstance(values, np.ndarray) and values.ndim == 2


def check_trimap(trimap: np.ndarray) -> None:
    """Refuse what is no trimap.

    Raises
    ------
    InputError
        If it is no (h, w) uint8 array.
    """
    if not _is_plane(trimap) or trimap.dtype != np.uint8 or not trimap.size:
        raise InputError(
            f"A trimap is an (H, W) array of uint8, not {described(trimap)}; "
            "save it as a gray PNG of 0, 128 and 255."
        )


def check_photo(photo: np.ndarray) -> None:
    """Refuse what is no photo.

    Raises
    ------
    InputError
        If it is no (H, W, 3) array of uint8 or uint16, or too small.
    """
    check_image(photo, "A photo")
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
        If it is no (h, w) array of bool, uint8 or float, or its floats are not in [0, 1].
    """
    kinds = (np.bool_, np.uint8)
    if not _is_plane(mask) or not mask.size or not (mask.dtype in kinds or mask.dtype.kind == "f"):
        raise InputError(
            f"A mask is an (H, W) array of bool, uint8 or float, not {described(mask)}; "
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
    image : ndarray of shape (H, W, 3), uint8 or uint16
        BGR.

    Returns
    -------
    ndarray of shape (H, W), float64
        In [0, 1]; all 0 where nobody was found.
    """
    return _default_session().matte(image).alpha
