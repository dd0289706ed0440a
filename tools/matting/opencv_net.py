"""Caffe nets that OpenCV runs."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from data_prep.common.errors import InputError
from prototxt.catalog import OpenCvNet


class LazyNet:
    """A net whose files are there, and are read when it is first needed.

    Raises
    ------
    InputError
        If a file is missing.
    """

    def __init__(self, files: OpenCvNet) -> None:
        check_files(files)
        self._files = files

    @cached_property
    def net(self) -> cv2.dnn.Net:
        return read_opencv_net(self._files)


def read_opencv_net(files: OpenCvNet) -> cv2.dnn.Net:
    """A net with its weights.

    Raises
    ------
    InputError
        If a file is missing.
    """
    check_files(files)
    return cv2.dnn.readNetFromCaffe(str(files.deploy), str(files.weights))


def check_files(files: OpenCvNet) -> None:
    """Refuse a net whose files are not there.

    Raises
    ------
    InputError
    """
    for path in (files.deploy, files.weights):
        if not path.is_file():
            raise InputError(f"{path} is missing; {files.remedy}.")


def signed_rgb(picture: np.ndarray) -> np.ndarray:
    """RGB in [-1, 1], (1, 3, H, W) float32, of an (H, W, 3) uint8 BGR picture."""
    return cv2.dnn.blobFromImage(picture, 1 / 127.5, mean=(127.5,) * 3, swapRB=True)
