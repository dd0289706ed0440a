"""From a photo to its matte: net, scores, and the matting solve at full size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from caffe_layers.matting import DEFAULT_LAMBDA, LAMBDA_FLOOR
from data_prep.caffe_data.shape_mask import NEUTRAL_MASK, ShapeMask
from data_prep.common.errors import InputError
from data_prep.common.landmarks import DETECTION_SIDE, DetectedFace, LandmarkDetector
from data_prep.common.pictures import eight_bits
from prototxt.catalog import CERTAIN_LOGIT, MEAN_BGR
from tools.matting.band import (
    HAZE,
    band_probabilities,
    own_band_probabilities,
    probabilities_from,
    work_size,
)
from tools.matting.caffe_net import build_net, load_weights, read_caffemodel, read_net
from tools.matting.ensemble import near_boundary
from tools.matting.models import MODELS
from tools.matting.orientation import (
    CERTAIN_FACE,
    TURN_LEAD,
    surest_turn,
    turned,
)
from tools.matting.people import people_boxes
from tools.matting.presence import CERTAIN_PERSON, mean_certainty, person_certainty
from tools.matting.solve import Sight, nobody, solved
from tools.matting.test_time import mean_of_looks

if TYPE_CHECKING:  # trimaps and masks from outside are matted without Caffe
    from caffe.proto import caffe_pb2

# Logits and scores are cut off here before they are averaged: a net that is certain
# beyond measure should not outvote the other looks.
MOST_LOGIT = 2 * CERTAIN_LOGIT
MOST_SCORE = 20.0


# Longer photos are stretched for the net.
LONGEST_ASPECT = 2.5


@dataclass(frozen=True)
class Prediction:
    """The matte of one photo.

    Attributes
    ----------
    alpha : (H, W) float64 ndarray
        In [0, 1], at the photo's size.
    probabilities, faces, person_found
        See `Sight`.
    """

    alpha: np.ndarray
    probabilities: np.ndarray
    faces: tuple[np.ndarray, ...]
    person_found: bool

    @property
    def face_found(self) -> bool:
        """Whether there is any face."""
        return bool(self.faces)


def takes_shape_mask(definition: caffe_pb2.NetParameter) -> bool:
    """Whether a net's input has a fourth channel, that of the shape mask."""
    inputs = [layer.input_param.shape for layer in definition.layer if "data" in layer.top]
    return any(shape.dim[1] == 4 for shapes in inputs for shape in shapes)


def reduced(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (rows, columns); averages pixels where it makes smaller."""
    rows, columns = size
    smaller = rows <= image.shape[0] and columns <= image.shape[1]
    filter_ = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (columns, rows), interpolation=filter_)


def seen(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photo resized to (rows, columns), as nets and detectors see it: with 8 bits.

    Rounded first, so that a photo looks the same stored with 16 bits.
    """
    return reduced(eight_bits(photo), size)


def detected_faces(
    detector: LandmarkDetector, photo: np.ndarray
) -> tuple[int, tuple[np.ndarray, ...]]:
    """The faces of a photo, in the turn that shows the surest one.

    Other turns are looked at where no upright face is certain.

    Parameters
    ----------
    detector : LandmarkDetector
    photo : (H, W, 3) uint8 or uint16 ndarray

    Returns
    -------
    turns : int
        Quarters by which the photo has to be turned (`orientation.turned`); 0 without a
        face.
    faces : tuple of (68, 2) float64 ndarray
        Landmarks in pixels of the turned photo, the largest face first.
    """
    scale = min(1.0, DETECTION_SIDE / max(photo.shape[:2]))
    rows, columns = (max(1, round(scale * side)) for side in photo.shape[:2])
    small = seen(photo, (rows, columns))
    found = [detector.detect_faces(small)]
    if _surest(found[0]) < CERTAIN_FACE:
        found += [detector.detect_faces(turned(small, turns)) for turns in (1, 2, 3)]
    turns = int(np.argmax([_surest(faces) for faces in found]))
    stretch = np.array([photo.shape[1] / columns, photo.shape[0] / rows])
    if turns % 2:
        stretch = stretch[::-1]
    return turns, tuple((face.landmarks + 0.5) * stretch - 0.5 for face in found[turns])


def _surest(faces: Sequence[DetectedFace]) -> float:
    """Confidence of the surest face; 0 without one."""
    return max((face.confidence for face in faces), default=0.0)


def judged(sight: Sight, certainty: float) -> Sight:
    """What was seen without a face; nobody where the certainty does not suffice."""
    if certainty < CERTAIN_PERSON:
        return nobody(sight.probabilities.shape[1:], certainty)
    return replace(sight, certainty=certainty)


def enlarged(answer: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A net's answer at (rows, columns)."""
    return cv2.resize(answer, size[::-1], interpolation=cv2.INTER_LINEAR)


def bounded(answer: np.ndarray) -> np.ndarray:
    """A logit, or scores (H, W, 3) against that of unknown, without extremes."""
    if answer.ndim == 2:
        return np.clip(answer, -MOST_LOGIT, MOST_LOGIT)
    return np.clip(answer - answer[:, :, 2:], -MOST_SCORE, MOST_SCORE)


def person_of(answer: np.ndarray) -> np.ndarray:
    """(H, W), positive where a logit, or scores (H, W, 3), say that a person is."""
    if answer.ndim == 2:
        return answer
    return answer[:, :, 0] - answer[:, :, 1]


def is_inside(points: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether the middle of (N, 2) points lies within an image of (height, width, ...)."""
    return bool((points.mean(axis=0) >= 0).all() and (points.mean(axis=0) < shape[1::-1]).all())


def size_like(shape: tuple[int, int], area: int, multiple: int = 16) -> tuple[int, int]:
    """(rows, columns) of about an area and the aspect of (height, width).

    Whole multiples of what a net's strides want; photos longer than `LONGEST_ASPECT`
    are stretched.
    """
    aspect = float(np.clip(shape[0] / shape[1], 1 / LONGEST_ASPECT, LONGEST_ASPECT))
    sides = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    rows, columns = (multiple * max(1, round(side / multiple)) for side in sides)
    return rows, columns


class Predictor:
    """A loaded net that turns photos into mattes.

    Parameters
    ----------
    model : str
        A key of `MODELS`; names the files not given below.
    deploy : Path, optional
        Net definition without Python layers, from ``data`` to ``score``.
    weights : Path, optional
    shape_mask : Path, optional
        Used only where the net's ``data`` has 4 channels.

    Attributes
    ----------
    deploy, weights : Path
        The files in use.
    segments : bool
        Whether the net has a ``logit`` of people; the band is then ours.
    lambda_ : float
        As learned, else the paper's initial value.

    Raises
    ------
    InputError
        If a file is missing or belongs to another net, or Caffe is not built.
    """

    def __init__(
        self,
        model: str,
        deploy: Path | None = None,
        weights: Path | None = None,
        shape_mask: Path | None = None,
    ) -> None:
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
        self._net = build_net(self._definition)
        load_weights(self._net, trained, self.weights)
        learned = trained.get("alpha")  # the MattingLayer's blob
        # The layer applies the floor when it runs: a snapshot may be below.
        self.lambda_ = max(float(learned[0].item()), LAMBDA_FLOOR) if learned else DEFAULT_LAMBDA
        self._size = tuple(self._net.blobs["data"].shape[2:])
        self._area = self._size[0] * self._size[1]
        masked = takes_shape_mask(self._definition)
        self._mask = ShapeMask.load(shape_mask or files.shape_mask) if masked else None
        self.segments = "logit" in self._net.blobs
        self._looks_again = files.looks_again
        self._second = Predictor(files.second_opinion) if files.second_opinion else None
        self._at_boundary_only = files.at_boundary_only

    @cached_property
    def _detector(self) -> LandmarkDetector:
        return LandmarkDetector()

    @property
    def uses_shape_mask(self) -> bool:
        """Whether the net's input has a fourth channel."""
        return self._mask is not None

    def __call__(self, photo: np.ndarray) -> Prediction:
        """Matte of a photo.

        Parameters
        ----------
        photo : (H, W, 3) uint8 or uint16 ndarray
            BGR.

        Raises
        ------
        InputError
            If the net's scores are not finite (the message names the layer)
            or the photo is too large to solve.
        """
        sight = self.look(photo)
        alpha = solved(photo, sight, self.lambda_)
        return Prediction(alpha, sight.probabilities, sight.faces, bool(alpha.any()))

    def look(self, photo: np.ndarray) -> Sight:
        """What the net sees; parameters and errors as `__call__`.

        It sees the photo in the turn that shows a person best; the answer is turned back.
        """
        turns, faces = detected_faces(self._detector, photo)
        certainty = None
        if not faces and self._segmenter:
            turns, certainty = self._turn_of_people(photo)
            if certainty < CERTAIN_PERSON:
                return nobody(photo.shape[:2], certainty)
        upright = turned(photo, turns)
        sight = self._look_upright(upright, faces)
        if not sight.faces and self._segmenter:
            if certainty is None:  # faces that are no person's: a poster, a mistake
                certainty = person_certainty(self._segmenter.mean_logit(upright))
            sight = judged(sight, certainty)
        return sight.turned(-turns)

    @property
    def _segmenter(self) -> Predictor | None:
        """The net that says where people are, if there is any."""
        return self if self.segments else self._second

    def _turn_of_people(self, photo: np.ndarray) -> tuple[int, float]:
        """The turn of a photo without faces, and how certain people are in it.

        By the segmenter, which has to be there.
        """
        small = seen(photo, work_size(photo.shape[:2]))
        logits = [self._segmenter.mean_logit(small)]
        if mean_certainty(logits[0]) * TURN_LEAD < MOST_LOGIT:  # else no other can lead
            logits += [self._segmenter.mean_logit(turned(small, turns)) for turns in (1, 2, 3)]
        turns = surest_turn(logits)
        return turns, person_certainty(logits[turns])

    def _look_upright(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> Sight:
        """`look` at a photo that is the right way up, whose faces are known."""
        if self.segments:
            return self._look_for_people(photo, faces)
        if self._at_boundary_only:
            return self._look_at_boundary(photo, faces)
        if self._looks_again:
            return self._look_for_trimap(photo, faces)
        scores = self._answer(self._picture(photo, faces, self._size))
        return Sight(probabilities_from(scores.transpose(2, 0, 1), photo.shape[:2]), faces, True)

    def _look_for_people(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> Sight:
        """With a net that says where a person is: the band is ours (tools/matting/band.py)."""
        logit = self._repeated_answer(photo, ())
        return nobody(photo.shape[:2]) if logit is None else self._people(photo, faces, logit)

    def _people(self, photo: np.ndarray, faces: tuple[np.ndarray, ...], logit: np.ndarray) -> Sight:
        """What the logit of a segmenter means: a band around its people, and the color in it."""
        kernel, bias = (blob.data for blob in self._net.params["score"])
        small = seen(photo, logit.shape)
        probabilities, faces = band_probabilities(
            small, logit, faces, photo.shape[:2], (kernel[:, :, 0, 0], bias)
        )
        return Sight(probabilities, faces, True, HAZE)

    def _look_at_boundary(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> Sight:
        """With this net near the boundary of the people, with the segmenter elsewhere."""
        logit = self._second._repeated_answer(photo, ())
        if logit is None:
            return nobody(photo.shape[:2])
        people = self._second._people(photo, faces, logit)
        own = self._look_for_trimap(photo, faces)
        if own.person_found:
            near = near_boundary(logit, photo.shape[:2])
            np.copyto(people.probabilities, own.probabilities, where=near)
        return people

    def _look_for_trimap(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> Sight:
        """With a net that is good at all three classes."""
        answer = self._repeated_answer(photo, faces)
        if answer is None:
            return nobody(photo.shape[:2])
        small = seen(photo, answer.shape[:2])
        scores = np.ascontiguousarray(answer.transpose(2, 0, 1))
        people = None
        # One look will do, as it counts far from the borders only.
        if self._second and not self._at_boundary_only:
            people = enlarged(self._second.person_logit(photo), answer.shape[:2])
        probabilities, faces = own_band_probabilities(small, scores, faces, photo.shape[:2], people)
        return Sight(probabilities, faces, True, HAZE)

    def _repeated_answer(
        self, photo: np.ndarray, faces: tuple[np.ndarray, ...]
    ) -> np.ndarray | None:
        """What many looks at a photo say, at its `work_size`; None if nobody is there.

        Small people are looked at from near.
        """
        size = work_size(photo.shape[:2])
        answer = enlarged(self._mean_answer(photo, faces), size)
        boxes = people_boxes(person_of(answer))
        for box in boxes:
            if not box.worth_a_look:
                continue
            near, corner = box.of(photo), box.corner(photo.shape)
            seen = [points - corner for points in faces]
            seen = [points for points in seen if is_inside(points, near.shape)]
            answer[box.rows, box.columns] = enlarged(self._mean_answer(near, seen), box.size)
        return answer if boxes else None

    def person_logit(self, photo: np.ndarray) -> np.ndarray:
        """What the segmenter says of a photo: positive where a person is.

        Returns
        -------
        (rows, columns) float32 ndarray
            At the net's size.
        """
        return self._answer(self._picture(photo, (), self._size))

    def mean_logit(self, photo: np.ndarray) -> np.ndarray:
        """`person_logit` as the mean of several looks, each cut off (`bounded`)."""
        return self._mean_answer(photo, ())

    def _mean_answer(self, photo: np.ndarray, faces: Sequence[np.ndarray]) -> np.ndarray:
        """Mean of the answers to several looks at a photo (`test_time`), each cut off."""
        if not self.segments:
            self._fit_to(photo.shape[:2])
        double = self._picture(photo, faces, (2 * self._size[0], 2 * self._size[1]))
        return mean_of_looks(double, lambda seen: bounded(self._answer(seen)))

    def _fit_to(self, shape: tuple[int, int]) -> None:
        """Give the net an input of (rows, columns)' aspect and of its own area."""
        data = self._net.blobs["data"]
        self._size = size_like(shape, self._area)
        if tuple(data.shape[2:]) != self._size:
            data.reshape(1, data.shape[1], *self._size)
            self._net.reshape()

    def _picture(
        self, photo: np.ndarray, faces: Sequence[np.ndarray], size: tuple[int, int]
    ) -> np.ndarray:
        """(rows, columns, 3 or 4) uint8: a reduced photo and, if the net wants it, its mask."""
        colors = seen(photo, size)
        if self._mask is None:
            return colors
        if not faces:
            mask = np.full(size, NEUTRAL_MASK, np.uint8)
        else:
            scale = np.array([size[1] / photo.shape[1], size[0] / photo.shape[0]])
            points = (faces[0] + 0.5) * scale - 0.5
            mask = np.uint8(np.rint(255 * self._mask.warp_to(points, size)))
        return np.dstack([colors, mask])

    def _answer(self, picture: np.ndarray) -> np.ndarray:
        """Logit (rows, columns) or scores (rows, columns, 3) of a `_picture`."""
        offset = np.float32([*MEAN_BGR, NEUTRAL_MASK][: picture.shape[2]])
        self._net.blobs["data"].data[0] = (picture - offset).transpose(2, 0, 1)
        self._forward()
        if self.segments:
            return self._net.blobs["logit"].data[0, 0].copy()
        return np.ascontiguousarray(self._net.blobs["score"].data[0].transpose(1, 2, 0))

    def _forward(self) -> None:
        """Run the net; `InputError` where its scores are not finite."""
        net = self._net
        net.forward()
        if np.isfinite(net.blobs["score"].data).all():
            return
        layer = next(
            name
            for name, tops in net.top_names.items()
            if not all(np.isfinite(net.blobs[top].data).all() for top in tops)
        )
        raise InputError(
            f"{self.weights} gives scores that are not finite, first in layer {layer}; "
            "train again with a smaller learning rate."
        )
