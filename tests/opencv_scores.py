"""Scores of Caffe's nets beside those of another program."""

from __future__ import annotations

from pathlib import Path

import caffe
import cv2
import numpy as np


def assert_opencv_agrees(
    net: caffe.Net, deploy: str, weights: Path, rng: np.random.Generator
) -> None:
    """OpenCV gives the blob ``score`` of a net for a random ``data`` too.

    Parameters
    ----------
    net : caffe.Net
        With the weights that are compared.
    deploy : str
        Path of its definition.
    weights : Path
        Where the weights are written.
    rng : numpy.random.Generator
    """
    net.save(str(weights))
    data = rng.uniform(-120, 140, net.blobs["data"].data.shape).astype(np.float32)
    net.blobs["data"].data[...] = data
    net.forward()
    ours = net.blobs["score"].data
    other = cv2.dnn.readNetFromCaffe(deploy, str(weights))
    other.setInput(data, "data")
    theirs = other.forward("score")
    assert np.abs(ours).max() > 0
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(ours).max()
