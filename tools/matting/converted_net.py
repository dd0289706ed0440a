"""Nets that were trained elsewhere and converted to Caffe's formats, which OpenCV reads too."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from data_prep.common.errors import InputError
from prototxt.catalog import ConvertedNet
from tools.matting.caffe_net import built_net, fill_net, read_caffemodel

if TYPE_CHECKING:  # trimaps and masks from outside are matted without Caffe
    import caffe


class LazyNet:
    """A net that OpenCV runs, whose files are there and are read when it is first needed.

    Raises
    ------
    InputError
        If a file is missing.
    """

    def __init__(self, files: ConvertedNet) -> None:
        check_files(files)
        self._files = files

    @cached_property
    def net(self) -> cv2.dnn.Net:
        return read_opencv_net(self._files)


def read_opencv_net(files: ConvertedNet) -> cv2.dnn.Net:
    """A net with its weights, for OpenCV to run.

    Raises
    ------
    InputError
        If a file is missing.
    """
    check_files(files)
    return cv2.dnn.readNetFromCaffe(str(files.deploy), str(files.weights))


def read_caffe_net(files: ConvertedNet) -> caffe.Net:
    """A net with its weights, for Caffe to run: a large one is faster so than by OpenCV.

    Parameters
    ----------
    files : ConvertedNet

    Raises
    ------
    InputError
        If a file is missing or belongs to another net, or Caffe is not built.
    """
    check_files(files)
    net = built_net(files.deploy)
    fill_net(net, read_caffemodel(files.weights), files.weights)
    return net


def check_files(files: ConvertedNet) -> None:
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
