"""From a photo to its matte: net, scores, and the matting solve at full size."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe is imported
import caffe  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402
from google.protobuf import text_format  # noqa: E402

from caffe_layers.linear_solver import SolveError  # noqa: E402
from caffe_layers.matting import DEFAULT_LAMBDA, solve_alpha  # noqa: E402
from data_prep.errors import InputError  # noqa: E402
from data_prep.landmarks import LandmarkDetector  # noqa: E402
from data_prep.shape_mask import NEUTRAL_MASK, ShapeMask  # noqa: E402
from prototxt.blocks import MEAN_BGR  # noqa: E402
from prototxt.selfie import BAND_LAYERS, set_band_radius  # noqa: E402
from tools.init_weights import Weights, read_caffemodel  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

# Half width of the window of the trimap head, in distances between the eyes.
# Chosen with the head's other constants (prototxt/selfie.py).
BAND_RADIUS = 0.1
# Without a face: eye distance / square root of the person's area, the median
# of the sample's training portraits.
EYES_TO_PERSON = 0.17


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
class Prediction:
    """The matte of one photo.

    Attributes
    ----------
    alpha : (H, W) float64 ndarray
        In [0, 1], at the photo's size.
    probabilities : (3, H, W) float32 ndarray
        Of foreground, background and unknown (eq. 3).
    face_found : bool
    """

    alpha: np.ndarray
    probabilities: np.ndarray
    face_found: bool


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


def probabilities_from(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Softmax (eq. 3) of scores enlarged to (rows, columns).

    Scores, not probabilities, are interpolated: between a certain pixel and
    an unknown one the probability then falls as steeply as the net meant.
    """
    enlarged = np.stack(
        [cv2.resize(score, size[::-1], interpolation=cv2.INTER_LINEAR) for score in scores]
    )
    powers = np.exp(enlarged - enlarged.max(axis=0))
    return powers / powers.sum(axis=0)


def eye_distance(landmarks: np.ndarray) -> float:
    """Distance between the centers of the two eyes (68 iBUG landmarks)."""
    right, left = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    return float(np.linalg.norm(right - left))


def band_radius(eyes: float, scale: tuple[float, float]) -> tuple[int, int]:
    """Window of the trimap head that fits a head.

    Parameters
    ----------
    eyes : float
        Eye distance in pixels of the photo.
    scale : (float, float)
        Net pixels per photo pixel, vertically and horizontally.

    Returns
    -------
    (rows, columns) : int
        Half height and half width in net pixels, at least 1: the net does
        not place an edge more exactly than that.
    """
    rows, columns = (max(1, round(BAND_RADIUS * eyes * each)) for each in scale)
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
        layers = {layer.name for layer in self._definition.layer}
        self._has_band = layers.issuperset(BAND_LAYERS)
        self._landmarks = LandmarkDetector()

    @property
    def uses_shape_mask(self) -> bool:
        """Whether the net's input has a fourth channel."""
        return self._mask is not None

    def __call__(self, photo: np.ndarray) -> Prediction:
        """Matte of a photo.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            If the net's scores are not finite (the message names the layer)
            or the photo is too large to solve.
        """
        size = photo.shape[:2]
        landmarks = self._landmarks.detect(photo)
        net = self._net
        net.blobs["data"].data[0] = self._net_input(photo, landmarks)
        self._forward(net)
        if self._has_band:
            net = self._with_band(size, landmarks)
        probabilities = probabilities_from(net.blobs["score"].data[0], size)
        try:
            alpha = solve_alpha(photo, probabilities[0], probabilities[1], self.lambda_)
        except (SolveError, MemoryError) as error:
            raise InputError(
                f"The matte of a {size[1]}x{size[0]} photo could not be solved ({error}); "
                "if memory is short, make the photo smaller."
            ) from error
        return Prediction(alpha, probabilities, landmarks is not None)

    def _net_input(self, photo: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray:
        """Mean-subtracted BGR and, where the net has one, the shape mask."""
        colors = reduced(photo, self._size).astype(np.float32) - np.float32(MEAN_BGR)
        if self._mask is None:
            return colors.transpose(2, 0, 1)
        if landmarks is None:
            mask = np.zeros(self._size, np.float32)
        else:
            warped = self._mask.warp_to(landmarks, photo.shape[:2])
            mask = reduced(warped, self._size) * 255 - NEUTRAL_MASK
        return np.dstack([colors, mask]).transpose(2, 0, 1)

    def _with_band(self, size: tuple[int, int], landmarks: np.ndarray | None) -> caffe.Net:
        """The net, run again from its logit with a band that fits the head."""
        rows, columns = self._size
        scale = rows / size[0], columns / size[1]  # net pixels per photo pixel
        if landmarks is not None:
            eyes = eye_distance(landmarks)
        else:
            person = np.count_nonzero(self._net.blobs["logit"].data > 0)
            eyes = EYES_TO_PERSON * np.sqrt(person / (scale[0] * scale[1]))
        definition = caffe_pb2.NetParameter()
        definition.CopyFrom(self._definition)
        set_band_radius(definition, *band_radius(eyes, scale))
        net = build_net(definition)
        net.share_with(self._net)
        net.blobs["logit"].data[...] = self._net.blobs["logit"].data
        layers = list(net._layer_names)
        self._forward(net, start=layers[layers.index("logit") + 1])
        return net

    def _forward(self, net: caffe.Net, start: str | None = None) -> None:
        """Run a net, from a layer on; `InputError` where its scores are not finite."""
        net.forward(start=start)
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
