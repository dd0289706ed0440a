"""From a photo to its matte: net, scores, and the matting solve at full size."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from google.protobuf import text_format

from caffe_layers.linear_solver import SolveError
from caffe_layers.matting import DEFAULT_LAMBDA, LAMBDA_FLOOR
from caffe_layers.tiled import solve_alpha_bounded
from data_prep.errors import InputError
from data_prep.landmarks import DETECTION_SIDE, DetectedFace, LandmarkDetector
from data_prep.pictures import eight_bits
from data_prep.shape_mask import NEUTRAL_MASK, ShapeMask
from prototxt.catalog import CERTAIN_LOGIT, MEAN_BGR
from tools.init_weights import Weights, read_caffemodel
from tools.looks import mean_of_looks
from tools.matting.orientation import (
    CERTAIN_FACE,
    TURN_LEAD,
    surest_turn,
    turned,
    turned_points,
)
from tools.matting.presence import CERTAIN_PERSON, mean_certainty, person_certainty
from tools.matting.pycaffe import load_caffe
from tools.models import MODELS
from tools.people import people_boxes
from tools.trimap import (
    HAZE,
    band_probabilities,
    own_band_probabilities,
    probabilities_from,
    work_size,
)

if TYPE_CHECKING:  # trimaps and masks from outside are matted without Caffe
    import caffe
    from caffe.proto import caffe_pb2
#: Of all mattes that are measured (nets, bands and solves, in this module and those it
#: and `tools.contenders` import): raise it when they change (`data_prep.common.versions`).
MATTES_VERSION = 1

# Logits and scores are cut off here before they are averaged: a net that is certain
# beyond measure should not outvote the other looks.
MOST_LOGIT = 2 * CERTAIN_LOGIT
MOST_SCORE = 20.0

# The photo is smoothed for the matting solve, edges kept.  Takes 8 to 11 % off the
# gradient error of rendered portraits that no table is made of, and 2 to 6 % off SAD;
# 5 to 19 pixels and 7 to 60 levels were tried.
SMOOTHED_DIAMETER, SMOOTHED_SIGMA = 13, 6.0  # pixels
SMOOTHED_LEVELS = 15.0  # of 255: larger differences are edges

# Longer photos are stretched for the net.
LONGEST_ASPECT = 2.5


@dataclass(frozen=True)
class Sight:
    """What a net sees in a photo, before the matting solve.

    Attributes
    ----------
    probabilities : (3, H, W) float32 ndarray
        Of foreground, background and unknown (eq. 3), at the photo's size.
        Read-only where nobody was found.
    faces : tuple of (68, 2) float64 ndarray
        Landmarks in pixels of the photo, the largest face first.
    person_found : bool
    haze : float
        Alpha up to this far from 0 and 1 is taken for 0 and 1 after the solve.
    certainty : float or None
        `presence.person_certainty`, where it was asked for because no face was found.
    """

    probabilities: np.ndarray
    faces: tuple[np.ndarray, ...]
    person_found: bool
    haze: float = 0.0
    certainty: float | None = None

    def turned(self, turns: int) -> Sight:
        """The same of the photo turned by so many quarters (`orientation.turned`)."""
        if not turns % 4:
            return self
        planes = np.rot90(self.probabilities, turns, axes=(1, 2))
        if self.person_found:  # else all pixels share three values
            planes = np.ascontiguousarray(planes)
        shape = self.probabilities.shape[1:]
        faces = tuple(turned_points(points, turns, shape) for points in self.faces)
        return replace(self, probabilities=planes, faces=faces)


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


def read_net(path: Path) -> caffe_pb2.NetParameter:
    """Read a deploy definition.

    Raises
    ------
    InputError
        If it is missing, no net definition, has no ``data`` and ``score``, or is for
        training (Caffe ends the process where it does not find the databases), or if
        Caffe is not built.
    """
    net = load_caffe().proto.caffe_pb2.NetParameter()
    try:
        text_format.Parse(path.read_text(), net)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write it with `make prototxt`.") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no net definition ({error}).") from None
    tops = {top for layer in net.layer for top in layer.top}
    for blob in ("data", "score"):
        if blob not in tops:
            raise InputError(f"{path} has no blob {blob}; give {_deploy_of(path)}.")
    if any("data" in layer.top and layer.type != "Input" for layer in net.layer):
        raise InputError(
            f"{path} is for training, its data come from databases; give {_deploy_of(path)}."
        )
    return net


def _deploy_of(path: Path) -> str:
    """The deploy definition beside a train_val net, for messages; else any."""
    name = path.stem.removesuffix("_train_val")
    beside = (path.with_name(f"{name}{tail}.prototxt") for tail in ("_trimap_deploy", "_deploy"))
    found = next((deploy for deploy in beside if deploy.is_file()), None)
    return f"its deploy definition, {found}" if found else "a deploy definition"
def takes_shape_mask(definition: caffe_pb2.NetParameter) -> bool:
    """Whether a net's input has a fourth channel, that of the shape mask."""
    inputs = [layer.input_param.shape for layer in definition.layer if "data" in layer.top]
    return any(shape.dim[1] == 4 for shapes in inputs for shape in shapes)


def build_net(definition: caffe_pb2.NetParameter) -> caffe.Net:
    """A `caffe.Net` (TEST) from a definition in memory."""
    caffe = load_caffe()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")  # Caffe reads definitions from files only
        path.write_text(text_format.MessageToString(definition))
        return caffe.Net(str(path), caffe.TEST)


def load_weights(net: caffe.Net, weights: Weights, path: Path) -> None:
    """Fill a net, after checking what Caffe would abort on or pass over.

    Raises
    ------
    InputError
        If a layer of the net has no weights in the file, or others.
    """
    for layer, blobs in net.params.items():
        wanted = [tuple(blob.data.shape) for blob in blobs]
        given = [array.shape for array in weights.get(layer, ())]
        if wanted != given:
            found = " and ".join(map(str, given)) or "nothing"
            raise InputError(
                f"{path} belongs to another net: layer {layer} wants "
                f"{' and '.join(map(str, wanted))}, the file has {found}; "
                "give the weights of this model."
            )
    for layer, blobs in net.params.items():
        for blob, array in zip(blobs, weights[layer]):
            blob.data[...] = array


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


def smoothed(photo: np.ndarray) -> np.ndarray:
    """A photo as the matting solve should see it: without grain and fine texture.

    Parameters
    ----------
    photo : (H, W, 3) uint8 or uint16 ndarray

    Returns
    -------
    (H, W, 3) float32 ndarray
        From 0 to 255.
    """
    levels = photo.astype(np.float32)
    if photo.dtype == np.uint16:
        levels /= 257
    return cv2.bilateralFilter(levels, SMOOTHED_DIAMETER, SMOOTHED_LEVELS, SMOOTHED_SIGMA)


def solved(photo: np.ndarray, sight: Sight, lambda_: float) -> np.ndarray:
    """Alpha of a photo from what was seen in it.

    Parameters
    ----------
    photo : (H, W, 3) uint8 or uint16 ndarray
    sight : Sight
    lambda_ : float

    Returns
    -------
    (H, W) float64 ndarray
        In [0, 1]; all 0 where nobody was found.

    Raises
    ------
    InputError
        If the system cannot be solved or memory does not suffice.
    """
    height, width = photo.shape[:2]
    if not sight.person_found:
        return np.zeros((height, width))
    try:
        alpha = solve_alpha_bounded(smoothed(photo), *sight.probabilities[:2], lambda_)
    except (SolveError, MemoryError) as error:
        raise InputError(
            f"The matte of a {width}x{height} photo could not be solved ({error}); "
            "if memory is short, make the photo smaller."
        ) from error
    alpha -= sight.haze
    alpha /= 1 - 2 * sight.haze
    return np.clip(alpha, 0, 1, out=alpha)


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


def nobody(size: tuple[int, int], certainty: float | None = None) -> Sight:
    """A photo of (rows, columns) without people."""
    background = np.float32([0, 1, 0])[:, None, None]
    return Sight(np.broadcast_to(background, (3, *size)), (), False, certainty=certainty)


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
        if self._looks_again:
            return self._look_for_trimap(photo, faces)
        scores = self._answer(self._picture(photo, faces, self._size))
        return Sight(probabilities_from(scores.transpose(2, 0, 1), photo.shape[:2]), faces, True)

    def _look_for_people(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> Sight:
        """With a net that says where a person is: the band is ours (tools/trimap.py)."""
        logit = self._repeated_answer(photo, ())
        if logit is None:
            return nobody(photo.shape[:2])
        kernel, bias = (blob.data for blob in self._net.params["score"])
        small = seen(photo, logit.shape)
        probabilities, faces = band_probabilities(
            small, logit, faces, photo.shape[:2], (kernel[:, :, 0, 0], bias)
        )
        return Sight(probabilities, faces, True, HAZE)

    def _look_for_trimap(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> Sight:
        """With a net that is good at all three classes."""
        answer = self._repeated_answer(photo, faces)
        if answer is None:
            return nobody(photo.shape[:2])
        small = seen(photo, answer.shape[:2])
        scores = np.ascontiguousarray(answer.transpose(2, 0, 1))
        people = None
        if self._second:  # one look will do: it counts far from the borders only
            people = enlarged(self._second.person_logit(photo), answer.shape[:2])
        probabilities, faces = own_band_probabilities(
            small, scores, faces, photo.shape[:2], people
        )
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
        """Mean of the answers to several looks at a photo (`tools.looks`), each cut off."""
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
