"""Any segmentation net in front of the solve, by OpenCV or ONNX Runtime.

The settings that it takes are those of `tools.matting.segmenter_settings`; its mask goes
the way of a mask from outside (`tools.matting.session.trimap_around_mask`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data_prep.common.errors import InputError
from tools.matting.logits import sigmoid
from tools.matting.onnx_graph import OnnxGraph
from tools.matting.photo_view import eight_bit_resized
from tools.matting.segmenter_settings import (
    NONE,
    ONNX,
    ONNXRUNTIME,
    OPENCV,
    SIGMOID,
    SOFTMAX,
    SegmenterSettings,
)

logger = logging.getLogger(__name__)

DEFAULT_SIZE = 320, 320  # U²-Net's
# Rounding errors of nets whose outputs are probabilities.
TOLERANCE = 1e-3

#: From a net's input to its output, both with four dimensions or fewer.
Forward = Callable[[np.ndarray], np.ndarray]


class Segmenter:
    """A net from outside that says where people are, loaded and tried.

    Parameters
    ----------
    source : SegmenterSettings, Path or str
        A file has the settings of `SegmenterSettings.read`.

    Attributes
    ----------
    settings : SegmenterSettings
    input_size : (width, height)
        Size of the picture that the net is given: photos are stretched to it.

    Raises
    ------
    InputError
        If a file is missing or cannot be read, or the settings do not fit the net.
    """

    def __init__(self, source: SegmenterSettings | Path | str) -> None:
        settings = source if isinstance(source, SegmenterSettings) else None
        self.settings = settings = settings or SegmenterSettings.read(Path(str(source)))
        if settings.path.suffix.lower() == ONNX:
            graph = OnnxGraph.read(settings.path)
            self._channels_last, size = _picture_input(graph.inputs[0].shape)
            load = _onnx_loaders(settings, graph)
        else:
            assert settings.prototxt is not None  # `SegmenterSettings.read` has found it
            self._channels_last, size = _picture_input(_prototxt_shape(settings.prototxt))
            load = [lambda: _caffe_net(settings)]
        self.input_size = settings.input_size or size or DEFAULT_SIZE
        self._forward = self._first_that_works(load)

    def mask(self, photo: np.ndarray) -> np.ndarray:
        """Where people are, by the net's answer for one photo.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8 or uint16
            BGR.

        Returns
        -------
        ndarray of shape (h, w), float32
            In [0, 1], at the net's resolution.

        Raises
        ------
        InputError
            If the output is no mask, or its values are no probabilities with these settings.
        """
        answer = self._forward(self.network_input(photo))
        return self._probabilities(self._plane(answer))

    def network_input(self, photo: np.ndarray) -> np.ndarray:
        """What the net is given for an (H, W, 3) photo: (1, 3, h, w) or (1, h, w, 3) float32."""
        width, height = self.input_size
        picture = eight_bit_resized(photo, (height, width)).astype(np.float32)
        if self.settings.channels == "rgb":
            picture = picture[:, :, ::-1]
        mean = np.array(self.settings.mean, np.float32)
        scale = np.array(self.settings.scale, np.float32)
        picture = (picture - mean) * scale
        if not self._channels_last:
            picture = picture.transpose(2, 0, 1)
        return np.ascontiguousarray(picture[None])

    def _first_that_works(self, loaders: list[Callable[[], Forward]]) -> Forward:
        """The first runtime that loads the net and answers a black picture.

        Raises
        ------
        InputError
            What the first one says, if none does.
        """
        width, height = self.input_size
        black = self.network_input(np.zeros((height, width, 3), np.uint8))
        first: InputError | None = None
        for load in loaders:
            try:
                forward = load()
                self._plane(forward(black))
            except InputError as error:
                first = first or error
            else:
                if first is not None:
                    logger.warning("%s is run by ONNX Runtime.", self.settings.path)
                return forward
        assert first is not None
        raise first

    def _plane(self, answer: np.ndarray) -> np.ndarray:
        """The (h, w) plane of a net's output that shows the person."""
        planes = np.asarray(answer, np.float32)
        while planes.ndim > 2 and planes.shape[0] == 1:
            planes = planes[0]
        if self._channels_last and planes.ndim == 3:
            planes = planes.transpose(2, 0, 1)
        if planes.ndim == 2:
            planes = planes[None]
        if planes.ndim != 3 or min(planes.shape[1:]) < 2:
            raise InputError(
                f"{self.settings.path} gives an output of shape {answer.shape}, which is no mask; "
                "name another one as `output` in its settings."
            )
        channel = self.settings.channel
        if channel is None and len(planes) == 1:
            channel = 0
        if channel is None or channel >= len(planes):
            raise InputError(
                f"The output of {self.settings.path} has {len(planes)} channels; say which one is "
                "the person by `channel` in its settings, counted from 0."
            )
        if self.settings.activation == SOFTMAX:
            exponents = np.exp(planes - planes.max(axis=0))
            planes = exponents / exponents.sum(axis=0)
        return planes[channel]

    def _probabilities(self, plane: np.ndarray) -> np.ndarray:
        settings = self.settings
        if not np.isfinite(plane).all():
            raise InputError(f"{settings.path} gives values that are no numbers; check its input.")
        if settings.activation == SIGMOID:
            plane = sigmoid(plane)
        low, high = float(plane.min()), float(plane.max())
        if settings.min_max:
            return (plane - low) / (high - low) if high > low else np.zeros_like(plane)
        if low < -TOLERANCE or high > 1 + TOLERANCE:
            remedy = (
                "activation to sigmoid, or min_max to true,"
                if settings.activation == NONE
                else "min_max to true"
            )
            raise InputError(
                f"{settings.path} gives values from {low:.3g} to {high:.3g}, which are no "
                f"probabilities; set {remedy} in its settings."
            )
        return np.clip(plane, 0, 1)


def _picture_input(shape: tuple[int, ...]) -> tuple[bool, tuple[int, int] | None]:
    """Whether channels come last in an input's shape, and its (width, height) if it says so."""
    if len(shape) != 4:
        return False, None
    channels_last = shape[3] == 3 and shape[1] != 3
    height, width = shape[1:3] if channels_last else shape[2:]
    return channels_last, (width, height) if height > 1 and width > 1 else None


def _prototxt_shape(path: Path) -> tuple[int, ...]:
    """Shape of a Caffe net's input: the first dimensions that its definition names."""
    text = re.sub(r"#.*", "", path.read_text(errors="replace"))
    return tuple(int(size) for size in re.findall(r"\b(?:input_)?dim:\s*(\d+)", text)[:4])


def _caffe_net(settings: SegmenterSettings) -> Forward:
    try:
        net = cv2.dnn.readNetFromCaffe(str(settings.prototxt), str(settings.path))
    except cv2.error as error:
        raise InputError(
            f"OpenCV cannot read {settings.path} with {settings.prototxt} ({_reason(error)}); "
            "convert the net to ONNX, or make masks with Caffe and give them with --mask."
        ) from error
    return _opencv_forward(net, settings, settings.output)


def _onnx_loaders(settings: SegmenterSettings, graph: OnnxGraph) -> list[Callable[[], Forward]]:
    """Ways to load an ONNX file, the preferred one first."""
    names = [each.name for each in graph.outputs]
    if settings.output is not None and settings.output not in names:
        raise InputError(
            f"{settings.path} has no output {settings.output!r}; it has {', '.join(names)}."
        )
    output = settings.output or names[0]
    loaders = {
        OPENCV: lambda: _onnx_by_opencv(settings, output),
        ONNXRUNTIME: lambda: _onnx_by_onnxruntime(settings, graph.inputs[0].name, output),
    }
    if settings.runtime is not None:
        return [loaders[settings.runtime]]
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return [loaders[OPENCV]]
    return [loaders[OPENCV], loaders[ONNXRUNTIME]]


def _onnx_by_opencv(settings: SegmenterSettings, output: str) -> Forward:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the exception says it too
    try:
        net = cv2.dnn.readNetFromONNX(str(settings.path))
    except cv2.error as error:
        raise InputError(_unreadable(settings.path, error)) from error
    finally:
        cv2.utils.logging.setLogLevel(level)
    return _opencv_forward(net, settings, output)


def _opencv_forward(net: cv2.dnn.Net, settings: SegmenterSettings, output: str | None) -> Forward:
    name = output or net.getUnconnectedOutLayersNames()[-1]

    def forward(picture: np.ndarray) -> np.ndarray:
        net.setInput(picture)
        try:
            return net.forward(name)
        except cv2.error as error:
            if settings.path.suffix.lower() == ONNX:
                raise InputError(_unreadable(settings.path, error)) from error
            reason = _reason(error)
            remedy = "check `input_size` and `output` in its settings"
            if "Can't create layer" in reason:
                remedy = "name a definition without that layer as `prototxt` in its settings"
            raise InputError(
                f"OpenCV cannot run {settings.path} ({reason}); {remedy}, or convert the net to "
                "ONNX."
            ) from error

    return forward


def _onnx_by_onnxruntime(settings: SegmenterSettings, given: str, output: str) -> Forward:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{settings.path} is to be run by ONNX Runtime, which is not installed; "
            "run `pip install onnxruntime`."
        ) from None
    try:
        session = onnxruntime.InferenceSession(
            str(settings.path), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no common class of their own
        raise InputError(
            f"ONNX Runtime cannot read {settings.path} ({_reason(error)}); export the net again."
        ) from error
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32

    def forward(picture: np.ndarray) -> np.ndarray:
        try:
            return session.run([output], {given: picture.astype(kind)})[0]
        except Exception as error:
            raise InputError(
                f"ONNX Runtime cannot run {settings.path} ({_reason(error)}); "
                "check `input_size` in its settings."
            ) from error

    return forward


def _unreadable(path: Path, error: cv2.error) -> str:
    return (
        f"OpenCV cannot run {path} ({_reason(error)}); run `pip install onnxruntime`, which takes "
        "its place, or make masks with another program and give them with --mask."
    )


def _reason(error: Exception) -> str:
    """An exception's message, on one line."""
    text = error.err if isinstance(error, cv2.error) else str(error)
    return " ".join(text.split())
