"""The detail net in use: how much to change a solved matte, piece by piece."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from prototxt.blocks import MEAN_BGR
from prototxt.detail import COLOR_SCALE, REACH
from tools.caffe_nets import open_net
from tools.models import ROOT

DEPLOY = ROOT / "prototxt/portrait_detail_deploy.prototxt"
# It has seen heads of portraits of 600 x 800 and up to half as large again.
LONGEST_SIDE = 1200
PIECE = 192  # pixels of the photo a side, a multiple of GRID
# Pieces that are known to within this are left out.
LEAST_UNKNOWN = 0.01


def detail_size(shape: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) at which the net sees a photo: hair as thick as it has learned."""
    scale = min(1.0, LONGEST_SIDE / max(shape))
    return max(1, round(scale * shape[0])), max(1, round(scale * shape[1]))


def bordered(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A plane of (rows, columns) or more: the border repeated, `REACH` pixels at its start."""
    bottom, right = (side - REACH - n for side, n in zip(shape, plane.shape[:2]))
    return cv2.copyMakeBorder(plane, REACH, bottom, REACH, right, cv2.BORDER_REPLICATE)


class DetailNet:
    """A loaded net of `prototxt.detail`.

    Parameters
    ----------
    weights : Path
    command : str
        That makes them.

    Raises
    ------
    InputError
        If a file is missing, damaged or belongs to another net.
    """

    def __init__(self, weights: Path, command: str) -> None:
        inputs = ("image", "alpha", "known")
        self._net, _ = open_net(DEPLOY, weights, (*inputs, "residual"), command)
        side = PIECE + 2 * REACH
        for name in inputs:
            blob = self._net.blobs[name]
            blob.reshape(1, blob.shape[1], side, side)
        self._net.reshape()

    def residual(self, photo: np.ndarray, alpha: np.ndarray, known: np.ndarray) -> np.ndarray:
        """r of A' = A + U r, for every pixel; 0 in pieces that are known.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.
        alpha : (H, W) float ndarray
            Solved.
        known : (2, H, W) float ndarray
            F and B, as they were solved.

        Returns
        -------
        (H, W) float32 ndarray
        """
        height, width = alpha.shape
        rows, columns = (-(-n // PIECE) for n in (height, width))
        colors = COLOR_SCALE * (photo - np.float32(MEAN_BGR))
        planes = [*colors.transpose(2, 0, 1), np.float32(alpha), *np.float32(known)]
        shape = (rows * PIECE + 2 * REACH, columns * PIECE + 2 * REACH)
        seen = np.stack([bordered(np.ascontiguousarray(plane), shape) for plane in planes])
        unknown = 1 - known.sum(axis=0)
        residual = np.zeros((rows * PIECE, columns * PIECE), np.float32)
        for top in range(0, height, PIECE):
            for left in range(0, width, PIECE):
                piece = np.s_[top : top + PIECE, left : left + PIECE]
                if unknown[piece].max() >= LEAST_UNKNOWN:
                    residual[piece] = self._piece(seen, top, left)
        return residual[:height, :width]

    def _piece(self, seen: np.ndarray, top: int, left: int) -> np.ndarray:
        """(PIECE, PIECE) residual of a piece of the (6, ...) input with its border."""
        side = PIECE + 2 * REACH
        piece = seen[:, top : top + side, left : left + side]
        for name, planes in zip(("image", "alpha", "known"), np.split(piece, (3, 4))):
            self._net.blobs[name].data[0] = planes
        self._net.forward()
        return self._net.blobs["residual"].data[0, 0, REACH:-REACH, REACH:-REACH]
