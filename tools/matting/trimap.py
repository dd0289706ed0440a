"""The trimap of a photo: class probabilities, made from the scores of a model's nets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from caffe_layers.laplacian import DEFAULT_EPSILON
from tools.matting.band import (
    BAND_EPSILON,
    BELIEF_WEIGHT,
    BELIEF_WEIGHT_WITH_HAIR,
    SNAP_MARGIN,
    faces_of_people,
    lean_to_belief,
    probabilities_from_logit,
    probabilities_from_scores,
    softmax_at,
)
from tools.matting.photo_view import Faces, PhotoView


@dataclass(frozen=True)
class SegmenterScores:
    """A segmenter's output for one photo; the unknown band is made around its people.

    Attributes
    ----------
    logit : ndarray of shape (h, w), float32
        Positive where a person is.
    head : (kernel, bias), ndarrays of shape (3, 2) and (3,)
        Weights of its trimap head, see `band.head_scores`.
    hair : ndarray of shape (h, w), bool, or None
        Where hair is near; None where no net tells.
    """

    logit: np.ndarray
    head: tuple[np.ndarray, np.ndarray]
    hair: np.ndarray | None = None

    @property
    def person_margin(self) -> np.ndarray:
        """(h, w), positive where person is likelier than background."""
        return self.logit


@dataclass(frozen=True)
class TrimapScores:
    """Output of a net that has learned the unknown band, for one photo.

    Attributes
    ----------
    scores : ndarray of shape (3, h, w), float32
        Foreground, background and unknown.
    second_opinion : ndarray of shape (h, w), float32, or None
        A segmenter's logit, which closes what the scores leave open deep inside a person.
    is_final : bool
        Whether nothing but the scores decides: colors give no opinion on the unknown band,
        every face counts, and alpha is not snapped.
    """

    scores: np.ndarray
    second_opinion: np.ndarray | None = None
    is_final: bool = False

    @property
    def person_margin(self) -> np.ndarray:
        """(h, w), positive where person is likelier than background."""
        return self.scores[0] - self.scores[1]


@dataclass(frozen=True)
class ClassScores:
    """Output of a model's nets for one photo.

    Attributes
    ----------
    turns : int
        Quarters by which the photo was turned for the nets (`orientation.turned`).
    segmenter : SegmenterScores or None
    net : TrimapScores or None
        In its place.  Without either nobody is found.
    certainty : float or None
        `presence.person_certainty`, asked for where no face belongs to a person.
    """

    turns: int = 0
    segmenter: SegmenterScores | None = None
    net: TrimapScores | None = None
    certainty: float | None = None

    def faces_of_people(self, faces: Faces, shape: tuple[int, int]) -> Faces:
        """Those faces of the upright (H, W) photo that the scores take for people."""
        deciding = self.segmenter or self.net
        if deciding is None:
            return ()
        if self.net is deciding and self.net.is_final:
            return faces
        return faces_of_people(deciding.person_margin, faces, shape)


@dataclass(frozen=True)
class TrimapEstimate:
    """What is known of a photo before the matting solve.

    Attributes
    ----------
    probabilities : ndarray of shape (3, H, W), float32
        Class probabilities of foreground, background and unknown (eq. 3), at the photo's
        shape.  Read-only where nobody was found.
    faces : tuple of FaceBox
        In pixels of the photo, the largest face first.
    person_found : bool
    snap_margin : float
        Alpha up to this far from 0 and 1 is snapped to them after the solve.
    epsilon : float
        Regularization of the matting Laplacian, for colors in [0, 1].
    certainty : float or None
        See `ClassScores`.
    """

    probabilities: np.ndarray
    faces: Faces
    person_found: bool
    snap_margin: float = 0.0
    epsilon: float = DEFAULT_EPSILON
    certainty: float | None = None

    def turned(self, turns: int) -> TrimapEstimate:
        """The same for the photo turned counterclockwise by quarters (`orientation.turned`)."""
        if not turns % 4:
            return self
        planes = np.rot90(self.probabilities, turns, axes=(1, 2))
        if self.person_found:  # else all pixels share three values
            planes = np.ascontiguousarray(planes)
        shape = self.probabilities.shape[1:]
        faces = tuple(face.turned(turns, shape) for face in self.faces)
        return replace(self, probabilities=planes, faces=faces)


def empty_estimate(shape: tuple[int, int], certainty: float | None = None) -> TrimapEstimate:
    """The trimap of a (H, W) photo without people: background everywhere."""
    background = np.array([0, 1, 0], np.float32)[:, None, None]
    probabilities = np.broadcast_to(background, (3, *shape))
    return TrimapEstimate(probabilities, (), False, certainty=certainty)


def estimate_trimap(view: PhotoView, scores: ClassScores) -> TrimapEstimate:
    """The trimap of a photo from the scores of a model's nets.

    Parameters
    ----------
    view : PhotoView
    scores : ClassScores
        `tools.matting.predictor.Predictor.scores` of the same view.
    """
    segmenter, net = scores.segmenter, scores.net
    shape = view.upright_shape(scores.turns)
    faces = scores.faces_of_people(view.faces, shape)
    snap_margin, epsilon = SNAP_MARGIN, DEFAULT_EPSILON
    if segmenter is not None:
        small = view.upright_reduced(scores.turns)
        probabilities = probabilities_from_logit(
            small, segmenter.logit, faces, shape, segmenter.head, hair=segmenter.hair
        )
        belief = BELIEF_WEIGHT if segmenter.hair is None else BELIEF_WEIGHT_WITH_HAIR
        lean_to_belief(probabilities, segmenter.logit, belief)
        epsilon = BAND_EPSILON
    elif net is None:
        return empty_estimate(view.shape, scores.certainty)
    elif net.is_final:
        probabilities, snap_margin = softmax_at(net.scores, shape), 0.0
    else:
        small = view.upright_reduced(scores.turns)
        probabilities = probabilities_from_scores(
            small, net.scores, faces, shape, net.second_opinion
        )
    estimate = TrimapEstimate(probabilities, faces, True, snap_margin, epsilon, scores.certainty)
    return estimate.turned(-scores.turns)
