"""From a photo to its matte: net, scores, and the matting solve at full size."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import caffe
import cv2
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_layers.linear_solver import SolveError
from caffe_layers.matting import DEFAULT_LAMBDA
from caffe_layers.tiled import solve_alpha_bounded
from data_prep.errors import InputError
from data_prep.landmarks import DETECTION_SIDE, LandmarkDetector
from data_prep.shape_mask import NEUTRAL_MASK, ShapeMask
from prototxt.blocks import MEAN_BGR
from prototxt.selfie import CERTAIN_LOGIT
from tools.init_weights import Weights, read_caffemodel
from tools.looks import mean_of_looks
from tools.people import people_boxes
from tools.trimap import HAZE, band_probabilities, probabilities_from, work_size

ROOT = Path(__file__).resolve().parents[1]

# Logits are cut off here before they are averaged: a net that is certain beyond
# measure should not outvote the other looks.
MOST_LOGIT = 2 * CERTAIN_LOGIT


@dataclass(frozen=True)
class Model:
    """Where the files of a net are, and the command that makes its weights."""

    deploy: Path
    weights: Path
    shape_mask: Path
    command: str


def _model(name: str, command: str) -> Model:
    return Model(
        ROOT / f"prototxt/{name}_trimap_deploy.prototxt",
        ROOT / f"data/models/{name}.caffemodel",
        ROOT / f"data/models/{name}.shape_mask.npz",
        command,
    )


MODELS = {
    "selfie": _model("selfie", "make"),
    "lite": _model("lite", "make train"),
    "fcn8s": _model("fcn8s", "tools/train.py fcn8s"),
}


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
    """

    probabilities: np.ndarray
    faces: tuple[np.ndarray, ...]
    person_found: bool
    haze: float = 0.0


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
        If it is missing, no net definition, or has no ``data`` and ``score``.
    """
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(path.read_text(), net)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write it with `make prototxt`.") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no net definition ({error}).") from None
    tops = {top for layer in net.layer for top in layer.top}
    for blob in ("data", "score"):
        if blob not in tops:
            raise InputError(f"{path} has no blob {blob}; give a deploy definition.")
    return net


def build_net(definition: caffe_pb2.NetParameter) -> caffe.Net:
    """A `caffe.Net` (TEST) from a definition in memory."""
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


def eight_bits(photo: np.ndarray) -> np.ndarray:
    """A photo as uint8; 16-bit values are rounded."""
    return photo if photo.dtype == np.uint8 else np.uint8((photo + np.float32(128)) / 257)


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
        levels = photo if photo.dtype == np.uint8 else photo.astype(np.float32) / 257
        alpha = solve_alpha_bounded(levels, *sight.probabilities[:2], lambda_)
    except (SolveError, MemoryError) as error:
        raise InputError(
            f"The matte of a {width}x{height} photo could not be solved ({error}); "
            "if memory is short, make the photo smaller."
        ) from error
    alpha -= sight.haze
    alpha /= 1 - 2 * sight.haze
    return np.clip(alpha, 0, 1, out=alpha)


def detected_faces(detector: LandmarkDetector, photo: np.ndarray) -> tuple[np.ndarray, ...]:
    """Landmarks of every face of a uint8 or uint16 photo, the largest first."""
    scale = min(1.0, DETECTION_SIDE / max(photo.shape[:2]))
    rows, columns = (max(1, round(scale * side)) for side in photo.shape[:2])
    small = eight_bits(reduced(photo, (rows, columns)))
    stretch = np.array([photo.shape[1] / columns, photo.shape[0] / rows])
    return tuple(
        (points + 0.5) * stretch - 0.5 for points in detector.detect_all(small)
    )  # fmt: skip


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
        If a file is missing or belongs to another net.
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
        self.lambda_ = float(learned[0].item()) if learned else DEFAULT_LAMBDA
        _, channels, *self._size = self._net.blobs["data"].shape
        self._mask = ShapeMask.load(shape_mask or files.shape_mask) if channels == 4 else None
        self.segments = "logit" in self._net.blobs
        self._detector = LandmarkDetector()

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
        return Prediction(alpha, sight.probabilities, sight.faces, sight.person_found)

    def look(self, photo: np.ndarray) -> Sight:
        """What the net sees; parameters and errors as `__call__`."""
        if self.segments:
            return self._look_for_people(photo)
        faces = self.faces(photo)
        self._net.blobs["data"].data[0] = self._net_input(photo, faces)
        self._forward()
        scores = self._net.blobs["score"].data[0]
        return Sight(probabilities_from(scores, photo.shape[:2]), faces, True)

    def faces(self, photo: np.ndarray) -> tuple[np.ndarray, ...]:
        """(68, 2) landmarks of every face, the largest first."""
        return detected_faces(self._detector, photo)

    def _look_for_people(self, photo: np.ndarray) -> Sight:
        """With a net that says where a person is: the band is ours (tools/trimap.py)."""
        size = work_size(photo.shape[:2])
        logit = cv2.resize(self._logit(photo), size[::-1], interpolation=cv2.INTER_LINEAR)
        boxes = people_boxes(logit)
        if not boxes:
            nobody = np.float32([0, 1, 0])[:, None, None]
            return Sight(np.broadcast_to(nobody, (3, *photo.shape[:2])), (), False)
        for box in boxes:
            if not box.worth_a_look:
                continue
            near = box.of(photo)
            logit[box.rows, box.columns] = cv2.resize(
                self._logit(near), box.size[::-1], interpolation=cv2.INTER_LINEAR
            )
        faces = self.faces(photo)
        kernel, bias = (blob.data for blob in self._net.params["score"])
        small = eight_bits(reduced(photo, size))
        probabilities, faces = band_probabilities(
            small, logit, faces, photo.shape[:2], (kernel[:, :, 0, 0], bias)
        )
        return Sight(probabilities, faces, True, HAZE)

    def person_logit(self, photo: np.ndarray) -> np.ndarray:
        """What the segmenter says of a photo: positive where a person is.

        Returns
        -------
        (rows, columns) float32 ndarray
            At the net's size.
        """
        self._net.blobs["data"].data[0] = self._net_input(photo, ())
        self._forward()
        return self._net.blobs["logit"].data[0, 0].copy()

    def _logit(self, photo: np.ndarray) -> np.ndarray:
        """Mean of the logits of several looks at a photo (`tools.looks`), each cut off."""
        double = eight_bits(reduced(photo, (2 * self._size[0], 2 * self._size[1])))
        return mean_of_looks(
            double, lambda seen: np.clip(self.person_logit(seen), -MOST_LOGIT, MOST_LOGIT)
        )

    def _net_input(self, photo: np.ndarray, faces: tuple[np.ndarray, ...]) -> np.ndarray:
        """Mean-subtracted BGR and, where the net has one, the shape mask."""
        colors = eight_bits(reduced(photo, self._size)) - np.float32(MEAN_BGR)
        if self._mask is None:
            return colors.transpose(2, 0, 1)
        if not faces:
            mask = np.zeros(self._size, np.float32)
        else:
            warped = self._mask.warp_to(faces[0], photo.shape[:2])
            mask = reduced(warped, self._size) * 255 - NEUTRAL_MASK
        return np.dstack([colors, mask]).transpose(2, 0, 1)

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
