"""A segmentation net from outside: its files, and how pictures go in and a mask comes out.

What a net wants is written in a JSON file beside it, ``u2net.json`` beside ``u2net.onnx``;
every entry is optional:

    {
      "input_size": [320, 320],            width and height of the net's picture
      "channels": "rgb",                   or "bgr"
      "mean": [123.675, 116.28, 103.53],   subtracted from values of 0 to 255, in that order
      "scale": [0.01712, 0.01751, 0.01743],  then multiplied; mean and scale may be one number
      "output": "d0",                      the output that holds the mask; the first one
      "channel": 0,                        of several: the one of the person
      "activation": "none",                or "sigmoid", "softmax" (over the channels)
      "min_max": false,                    stretch the mask from its least to its largest value
      "prototxt": "net.prototxt",          of a caffemodel, from the JSON's folder
      "runtime": "opencv"                  or "onnxruntime"
    }

Nothing here loads OpenCV.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from data_prep.common.errors import InputError
from data_prep.common.files import require_file
from prototxt.catalog import MEAN_BGR

ONNX, CAFFEMODEL = ".onnx", ".caffemodel"
CHANNELS = ("rgb", "bgr")
NONE, SIGMOID, SOFTMAX = ACTIVATIONS = ("none", "sigmoid", "softmax")
OPENCV, ONNXRUNTIME = RUNTIMES = ("opencv", "onnxruntime")
LARGEST_INPUT = 4096  # pixels a side

# Mean and inverse standard deviation of ImageNet, as torchvision's nets and U²-Net have them.
IMAGENET_MEAN_RGB = (123.675, 116.28, 103.53)
IMAGENET_SCALE_RGB = (1 / 58.395, 1 / 57.12, 1 / 57.375)

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class SegmenterSettings:
    """A net's files and conventions; hashable, and the same in every process.

    Attributes
    ----------
    path : Path
        ``.onnx`` or ``.caffemodel``.
    prototxt : Path or None
        Definition of a caffemodel's net; None: the file of the same name.
    input_size : (width, height) or None
        None: what the net's definition says, else 320 x 320.
    channels : {"rgb", "bgr"}
    mean, scale : tuple of three float
        The net is given ``(value - mean) * scale``, values from 0 to 255.
    output : str or None
        None: the first one.
    channel : int or None
        None: the only one.
    activation : {"none", "sigmoid", "softmax"}
        What makes probabilities of the net's output.
    min_max : bool
        Whether the mask is then stretched to 0 to 1, as U²-Net's users do.
    runtime : {"opencv", "onnxruntime"} or None
        None: OpenCV, and ONNX Runtime, where it is installed, for what OpenCV cannot read.
    """

    path: Path
    prototxt: Path | None = None
    input_size: tuple[int, int] | None = None
    channels: str = "rgb"
    mean: Triple = IMAGENET_MEAN_RGB
    scale: Triple = IMAGENET_SCALE_RGB
    output: str | None = None
    channel: int | None = None
    activation: str = NONE
    min_max: bool = False
    runtime: str | None = None

    @classmethod
    def read(cls, path: Path | str, given: str | None = None) -> SegmenterSettings:
        """Settings of a net: the defaults of its kind, the JSON beside it, then `given`.

        An ONNX file has those of U²-Net: RGB, ImageNet's mean and deviation.  A caffemodel
        has Caffe's: BGR, the mean subtracted.

        Parameters
        ----------
        path : Path or str
        given : str, optional
            Another JSON file, or the JSON itself where it begins with ``{``.

        Raises
        ------
        InputError
            If a file is missing or of another kind, or an entry unknown or wrong.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in (ONNX, CAFFEMODEL):
            raise InputError(
                f"{path} is no segmenter that is read here; give a file that ends in {ONNX} or "
                f"{CAFFEMODEL}, or the segmenter's masks with --mask."
            )
        require_file(path)
        settings = cls(path)
        if kind == CAFFEMODEL:
            settings = replace(settings, channels="bgr", mean=MEAN_BGR, scale=(1.0, 1.0, 1.0))
        beside = path.with_suffix(".json")
        if beside.is_file():
            settings = settings._with(beside.read_bytes(), str(beside), beside.parent)
        if given is not None and given.lstrip().startswith("{"):
            settings = settings._with(given, "--segmenter-settings", Path())
        elif given is not None:
            file = Path(given)
            require_file(file)
            settings = settings._with(file.read_bytes(), given, file.parent)
        if kind == CAFFEMODEL:
            definition = settings.prototxt or path.with_suffix(".prototxt")
            if not definition.is_file():
                raise InputError(
                    f"{path} needs its net definition, and {definition} does not exist; put it "
                    'there, or name it: {"prototxt": FILE} in ' + f"{beside}."
                )
            if settings.runtime == ONNXRUNTIME:
                raise InputError(f"{path} is not for onnxruntime; leave runtime out.")
            settings = replace(settings, prototxt=definition)
        return settings

    def _with(self, content: str | bytes, name: str, folder: Path) -> SegmenterSettings:
        """These settings with the entries of a JSON text that messages call `name`."""
        try:
            entries = json.loads(content)
        except ValueError as error:
            raise InputError(f"{name} is no JSON ({error}); correct it.") from None
        known = [field.name for field in fields(self) if field.name != "path"]
        if not isinstance(entries, dict):
            raise InputError(f"{name} is no JSON object; write it as {{ENTRY: VALUE, ...}}.")
        read: dict[str, Any] = {}
        for entry, value in entries.items():
            if entry not in known:
                raise InputError(
                    f"{name}: there is no entry {entry!r}; the entries are {', '.join(known)}."
                )
            try:
                read[entry] = READERS[entry](value)
            except (ValueError, TypeError):
                raise InputError(
                    f"{name}: {entry} is {json.dumps(value)}; it is {EXPECTED[entry]}."
                ) from None
        if "prototxt" in read:
            read["prototxt"] = folder / read["prototxt"]
        return replace(self, **read)


def _size(value: Any) -> tuple[int, int]:
    width, height = value if isinstance(value, list) else (value, value)
    for side in (width, height):
        if type(side) is not int or not 1 <= side <= LARGEST_INPUT:
            raise ValueError
    return width, height


def _triple(value: Any) -> Triple:
    numbers = value if isinstance(value, list) else [value] * 3
    if any(type(number) not in (int, float) for number in numbers):
        raise ValueError
    first, second, third = (float(number) for number in numbers)
    return first, second, third


def _of_type(wanted: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not wanted or value == "":
            raise ValueError
        return value

    return read


def _index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _one_of(names: tuple[str, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in names:
            raise ValueError
        return value

    return read


READERS: dict[str, Callable[[Any], Any]] = {
    "prototxt": _of_type(str),
    "input_size": _size,
    "channels": _one_of(CHANNELS),
    "mean": _triple,
    "scale": _triple,
    "output": _of_type(str),
    "channel": _index,
    "activation": _one_of(ACTIVATIONS),
    "min_max": _of_type(bool),
    "runtime": _one_of(RUNTIMES),
}
EXPECTED = {
    "prototxt": "the name of a file",
    "input_size": f"[width, height], or one number for both, up to {LARGEST_INPUT}",
    "channels": " or ".join(CHANNELS),
    "mean": "a number or three",
    "scale": "a number or three",
    "output": "the name of an output",
    "channel": "a number, counted from 0",
    "activation": ", ".join(ACTIVATIONS),
    "min_max": "true or false",
    "runtime": " or ".join(RUNTIMES),
}
