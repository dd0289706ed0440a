"""Class scores of a photo by a model's nets, before any trimap or matte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from caffe_layers.matting import DEFAULT_LAMBDA, LAMBDA_FLOOR
from data_prep.caffe_data.shape_mask import NEUTRAL_MASK, ShapeMask
from data_prep.common.errors import InputError
from prototxt.catalog import CERTAIN_LOGIT, MEAN_BGR
from tools.matting.caffe_net import load_net, read_caffemodel, read_net, run_net
from tools.matting.ensemble import (
    SOME_HAIR,
    ensemble_logit,
    near_hair,
    settled,
    without_holes,
    without_things,
)
from tools.matting.models import MODELS
from tools.matting.multiclass import MulticlassSegmenter
from tools.matting.orientation import TURN_LEAD, surest_turn, turned
from tools.matting.people import Box, joined_boxes, people_boxes
from tools.matting.person_masks import PersonMasker, with_second_opinion
from tools.matting.photo_view import PhotoView, eight_bit_resized, work_shape
from tools.matting.presence import CERTAIN_PERSON, mean_certainty, person_certainty
from tools.matting.test_time import VIEWS, View, mean_over_views
from tools.matting.trimap import ClassScores, SegmenterScores, TrimapScores

if TYPE_CHECKING:  # trimaps and masks from outside are matted without Caffe
    from caffe.proto import caffe_pb2

# Logits and scores are clipped here before they are averaged, to keep one overconfident
# view from dominating the mean.
MOST_LOGIT = 2 * CERTAIN_LOGIT
MOST_SCORE = 20.0

# Longer photos are stretched for the net.
LONGEST_ASPECT = 2.5


def takes_shape_mask(definition: caffe_pb2.NetParameter) -> bool:
    """Whether a net's input has a fourth channel, that of the shape mask."""
    inputs = [layer.input_param.shape for layer in definition.layer if "data" in layer.top]
    return any(shape.dim[1] == 4 for shapes in inputs for shape in shapes)


def enlarged(scores: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A net's logit or scores at (H, W)."""
    return cv2.resize(scores, shape[::-1], interpolation=cv2.INTER_LINEAR)


def clipped_scores(scores: np.ndarray) -> np.ndarray:
    """A net's output, clipped to +-`MOST_LOGIT` or +-`MOST_SCORE`.

    Parameters
    ----------
    scores : ndarray of shape (H, W) or (H, W, 3)
        A logit, or scores of foreground, background and unknown.

    Returns
    -------
    ndarray of the same shape
        The score of unknown is subtracted from the others first.
    """
    if scores.ndim == 2:
        return np.clip(scores, -MOST_LOGIT, MOST_LOGIT)
    return np.clip(scores - scores[:, :, 2:], -MOST_SCORE, MOST_SCORE)


def person_margin(scores: np.ndarray) -> np.ndarray:
    """(H, W) of a logit or of (H, W, 3) scores, positive where person is likelier than not."""
    if scores.ndim == 2:
        return scores
    return scores[:, :, 0] - scores[:, :, 1]


def is_inside(points: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether the middle of (N, 2) points lies within an image of shape (H, W, ...)."""
    middle = points.mean(axis=0)
    return bool((middle >= 0).all() and (middle < shape[1::-1]).all())


def shape_like(shape: tuple[int, int], area: int, multiple: int = 16) -> tuple[int, int]:
    """Shape (H, W) of about an area and the aspect of another shape (H, W).

    They are multiples of what a net's strides want; photos longer than `LONGEST_ASPECT`
    are stretched.
    """
    aspect = float(np.clip(shape[0] / shape[1], 1 / LONGEST_ASPECT, LONGEST_ASPECT))
    sides = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    rows, columns = (multiple * max(1, round(side / multiple)) for side in sides)
    return rows, columns


class Predictor:
    """The loaded nets of a model: from a photo to class scores.

    Parameters
    ----------
    model : str
        A key of `MODELS`; names the files not given below.
    deploy : Path, optional
        Net definition without Python layers, from ``data`` to ``score``.
    weights : Path, optional
    shape_mask : Path, optional
        Used only where the net's ``data`` has 4 channels; the model's own one, where it is
        aligned (`tools.matting.models.Model`).

    Attributes
    ----------
    deploy, weights : Path
        The files in use.
    segments : bool
        Whether the net has a ``logit`` of people and learned no unknown band.
    lambda_ : float
        Weight of the known pixels in the solve: as learned, else the paper's initial value.
    affinity_weight : float
        The model's (`tools.matting.models.Model`).

    Raises
    ------
    InputError
        If there is no such model, a file is missing or belongs to another net, or Caffe is not
        built.
    """

    def __init__(
        self,
        model: str,
        deploy: Path | None = None,
        weights: Path | None = None,
        shape_mask: Path | None = None,
    ) -> None:
        if model not in MODELS:
            raise InputError(f"There is no model {model!r}; it is one of {', '.join(MODELS)}.")
        files = MODELS[model]
        self.deploy = deploy or files.deploy
        self.weights = weights or files.weights
        self._definition = read_net(self.deploy)
        if not self.weights.is_file():
            raise InputError(
                f"{self.weights} does not exist; make the weights of {model} "
                f"with `{files.command}`."
            )
        trained = read_caffemodel(self.weights)
        self._net = load_net(self._definition, trained, self.weights)
        learned = trained.get("alpha")  # the MattingLayer's blob
        # The layer applies the floor when it runs: a snapshot may be below.
        self.lambda_ = max(float(learned[0].item()), LAMBDA_FLOOR) if learned else DEFAULT_LAMBDA
        rows, columns = self._net.blobs["data"].shape[2:]
        self._input_shape = rows, columns
        self._is_masked = takes_shape_mask(self._definition)
        self._mask = ShapeMask.load(shape_mask or files.shape_mask) if self._is_masked else None
        self.segments = "logit" in self._net.blobs
        self.affinity_weight = files.affinity_weight
        self._test_time_augmentation = files.test_time_augmentation
        self._second_opinion = Predictor(files.second_opinion) if files.second_opinion else None
        self._masker = PersonMasker() if files.person_masks else None
        self._multiclass = MulticlassSegmenter() if files.multiclass else None

    def release(self) -> None:
        """Forget large nets; they are read again when they are needed."""
        if self._multiclass is not None:
            self._multiclass.release()

    @property
    def _segmenter(self) -> Predictor | None:
        """The net that says where people are; None without one."""
        return self if self.segments else self._second_opinion

    def scores(self, view: PhotoView) -> ClassScores:
        """Scores of a photo in the turn that shows a person best.

        Parameters
        ----------
        view : PhotoView

        Returns
        -------
        ClassScores
            Without scores where nobody is found.

        Raises
        ------
        InputError
            If a net's scores are not finite (the message names the layer).
        """
        turns, certainty = view.turns, None
        if not view.faces and self._segmenter:
            turns, certainty = _turn_of_people(view, self._segmenter)
            if certainty < CERTAIN_PERSON:
                turns, certainty = 0, self._segmenter._certainty_from_near(view.upright(0))
            if certainty < CERTAIN_PERSON:
                return ClassScores(turns, certainty=certainty)
        upright = view.upright(turns)
        landmarks = view.aligned_landmarks if self._mask else ()
        scores = replace(self._upright_scores(upright, landmarks), turns=turns)
        if self._segmenter and not scores.faces_of_people(view.faces, view.upright_shape(turns)):
            if certainty is None:  # faces that are no person's: a poster, a mistake
                certainty = self._segmenter._certainty(upright)
            if certainty < CERTAIN_PERSON:
                return ClassScores(turns, certainty=certainty)
        return replace(scores, certainty=certainty)

    def person_logit(self, photo: np.ndarray) -> np.ndarray:
        """A segmenter's logit of one view of a photo.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8

        Returns
        -------
        ndarray of shape (H, W), float32
            At the net's shape; positive where a person is.
        """
        return self._output(self._picture(photo, (), self._input_shape))

    def mean_logit(self, photo: np.ndarray) -> np.ndarray:
        """`person_logit` as the mean over several views, each clipped (`clipped_scores`)."""
        return self._mean_scores(photo, ())

    def _certainty(self, photo: np.ndarray) -> float:
        """How certain a segmenter is of the people in an upright (H, W, 3) uint8 photo."""
        certainty = person_certainty(self.mean_logit(photo))
        return certainty if certainty >= CERTAIN_PERSON else self._certainty_from_near(photo)

    def _certainty_from_near(self, photo: np.ndarray) -> float:
        """`_certainty` of people that are small in the photo; 0 where none are found."""
        parts = [box.crop(photo) for box in self._small_people(photo)]
        certain = max((person_certainty(self.mean_logit(part)) for part in parts), default=0.0)
        if certain < CERTAIN_PERSON and (logit := self._masks_alone(photo)) is not None:
            certain = person_certainty(logit)
        return certain

    def _upright_scores(self, photo: np.ndarray, landmarks: Sequence[np.ndarray]) -> ClassScores:
        """Scores of an upright (H, W, 3) uint8 photo; (68, 2) landmarks align its shape mask."""
        if self.segments:
            return ClassScores(segmenter=self._segmenter_scores(photo))
        if not self._test_time_augmentation:
            output = self._output(self._picture(photo, landmarks, self._input_shape))
            return ClassScores(net=TrimapScores(output.transpose(2, 0, 1), is_final=True))
        return ClassScores(net=self._trimap_scores(photo, landmarks))

    def _segmenter_scores(self, photo: np.ndarray) -> SegmenterScores | None:
        """Scores of a net that says where people are; None where it finds nobody."""
        logit = self._scores_with_close_ups(photo, ())
        is_seen = logit is not None
        if logit is None:
            logit = self._masks_alone(photo)
        if logit is None:
            return None
        logit, hair = self._corrected(logit, photo, is_seen)
        if not people_boxes(logit):
            return None
        kernel, bias = (blob.data.copy() for blob in self._net.params["score"])
        return SegmenterScores(logit, (kernel[:, :, 0, 0], bias), hair)

    def _masks_alone(self, photo: np.ndarray) -> np.ndarray | None:
        """A logit at a photo's `work_shape` of people whom a segmenter does not see, if any."""
        if self._masker is None:
            return None
        logit = self._masker.sure_logit(eight_bit_resized(photo, work_shape(photo.shape)))
        return None if logit is None else clipped_scores(logit)

    def _corrected(
        self, logit: np.ndarray, photo: np.ndarray, is_seen: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A segmenter's logit at a photo's `work_shape`, with what the model's other nets say.

        Where the segmenter itself has not seen the people, the logit is that of their masks.  With
        it, where hair is near, if a net tells.
        """
        small = eight_bit_resized(photo, (logit.shape[0], logit.shape[1]))
        segmenter, hair = logit, None
        if self._multiclass is not None:
            scores = self._multiclass.scores(small)
            probability = near_hair(scores)
            hair = probability > SOME_HAIR
            logit = ensemble_logit(segmenter, scores, probability)
            logit = without_holes(logit, segmenter)
        if self._masker is not None and is_seen:
            masks = self._masker.masks(small, people_boxes(logit))
            logit = with_second_opinion(logit, masks)
            if self._multiclass is not None:
                shows_person = partial(self._masker.shows_person, small)
                logit = without_things(logit, segmenter, masks, shows_person)
        if self._multiclass is not None:
            logit = settled(logit)
        return clipped_scores(logit), hair

    def _trimap_scores(
        self, photo: np.ndarray, landmarks: Sequence[np.ndarray]
    ) -> TrimapScores | None:
        """Scores of a net that has learned the unknown band; None where it finds nobody."""
        output = self._scores_with_close_ups(photo, landmarks)
        if output is None:
            return None
        second_opinion = None
        # One view suffices, as it counts far from the borders only.
        if self._segmenter is not None:
            logit = self._segmenter.person_logit(photo)
            second_opinion = enlarged(logit, work_shape(photo.shape))
        return TrimapScores(np.ascontiguousarray(output.transpose(2, 0, 1)), second_opinion)

    def _scores_with_close_ups(
        self, photo: np.ndarray, landmarks: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        """Mean scores at a photo's `work_shape`; None where nobody is found.

        Where people are small, the scores are those of a close-up.
        """
        # Beside a larger net, which leads, the photo and its mirror image suffice.
        views = VIEWS[:1] if self._multiclass is not None else VIEWS
        scores = enlarged(self._mean_scores(photo, landmarks, views), work_shape(photo.shape))
        margin = person_margin(scores)
        boxes = people_boxes(margin)
        if (
            self._masker is not None
            and person_certainty(margin) < CERTAIN_PERSON
            and (parts := self._small_people(photo))
        ):
            boxes = joined_boxes(parts)
            scores.fill(-MOST_LOGIT)  # what is seen in the whole photo is not to be trusted
        for box in boxes:
            if not box.needs_close_up:
                continue
            close_up, corner = box.crop(photo), box.corner(photo.shape)
            moved = [points - corner for points in landmarks]
            moved = [points for points in moved if is_inside(points, close_up.shape)]
            found = self._mean_scores(close_up, moved, views)
            scores[box.rows, box.columns] = enlarged(found, box.shape)
        return scores if people_boxes(person_margin(scores)) else None

    def _small_people(self, photo: np.ndarray) -> list[Box]:
        """Parts of a photo at its `work_shape` around people that a segmenter may miss."""
        if self._masker is None:
            return []
        return self._masker.small_people(eight_bit_resized(photo, work_shape(photo.shape)))

    def _mean_scores(
        self,
        photo: np.ndarray,
        landmarks: Sequence[np.ndarray],
        views: Sequence[View] = VIEWS,
    ) -> np.ndarray:
        """Mean of the clipped scores of several views of a photo (`test_time`)."""
        shape = self._input_shape if self.segments else self._fit_to(photo.shape[:2])
        double = self._picture(photo, landmarks, (2 * shape[0], 2 * shape[1]))
        return mean_over_views(double, lambda picture: clipped_scores(self._output(picture)), views)

    def _fit_to(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Reshape the net's input to the aspect of (H, W), at about its own area."""
        data = self._net.blobs["data"]
        fitted = shape_like(shape, self._input_shape[0] * self._input_shape[1])
        if tuple(data.shape[2:]) != fitted:
            data.reshape(1, data.shape[1], *fitted)
            self._net.reshape()
        return fitted

    def _picture(
        self, photo: np.ndarray, landmarks: Sequence[np.ndarray], shape: tuple[int, int]
    ) -> np.ndarray:
        """The photo reduced to (H, W), uint8, and the shape mask beside it if the net has one.

        Returns
        -------
        ndarray of shape (H, W, 3 or 4), uint8
        """
        colors = eight_bit_resized(photo, shape)
        if not self._is_masked:
            return colors
        if self._mask is None or not landmarks:
            mask = np.full(shape, NEUTRAL_MASK, np.uint8)
        else:
            scale = np.array([shape[1] / photo.shape[1], shape[0] / photo.shape[0]])
            points = (landmarks[0] + 0.5) * scale - 0.5
            mask = np.rint(255 * self._mask.warp_to(points, shape)).astype(np.uint8)
        return np.dstack([colors, mask])

    def _output(self, picture: np.ndarray) -> np.ndarray:
        """Logit (H, W) or scores (H, W, 3) of a `_picture`."""
        offset = np.array([*MEAN_BGR, NEUTRAL_MASK][: picture.shape[2]], np.float32)
        self._net.blobs["data"].data[0] = (picture - offset).transpose(2, 0, 1)
        if self.segments:
            return self._forward("logit")[0, 0].copy()
        return np.ascontiguousarray(self._forward("score")[0].transpose(1, 2, 0))

    def _forward(self, blob: str) -> np.ndarray:
        """A blob of the net that was run up to it; `InputError` where it is not finite."""
        net = self._net
        values = run_net(net, blob)
        if np.isfinite(values).all():
            return values
        layer = next(
            name
            for name, tops in net.top_names.items()
            if not all(np.isfinite(net.blobs[top].data).all() for top in tops)
        )
        raise InputError(
            f"{self.weights} gives scores that are not finite, first in layer {layer}; "
            "train again with a smaller learning rate."
        )


def _turn_of_people(view: PhotoView, segmenter: Predictor) -> tuple[int, float]:
    """The turn of a photo without faces, and how certain a segmenter is of people in it."""
    logits = [segmenter.mean_logit(view.reduced)]
    if mean_certainty(logits[0]) * TURN_LEAD < MOST_LOGIT:  # else no other can lead
        logits += [segmenter.mean_logit(turned(view.reduced, turns)) for turns in (1, 2, 3)]
    turns = surest_turn(logits)
    return turns, person_certainty(logits[turns])
