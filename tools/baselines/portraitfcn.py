"""The input of PortraitFCN+ for a portrait, as its training has it."""

from __future__ import annotations

import numpy as np

from caffe_layers.position import position_channels
from data_prep.caffe_data.position import position_map
from data_prep.caffe_data.records import mask_over
from data_prep.caffe_data.shape_mask import NEUTRAL_MASK, ShapeMask
from data_prep.datasets.dataset import FRAME
from prototxt.catalog import MEAN_BGR


def net_input(
    photo: np.ndarray, landmarks: np.ndarray | None, shape_mask: ShapeMask, reduction: int
) -> np.ndarray:
    """The blob ``data`` of `prototxt.netspec.portraitfcn`.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
        BGR, of the size of the training portraits.
    landmarks : (68, 2) ndarray or None
        x and y in pixels; None where no face was found.
    shape_mask : ShapeMask
        The one that the net was trained with.
    reduction : int
        Factor by which the net's portraits are reduced; a divisor of their sides.

    Returns
    -------
    (6, H / reduction, W / reduction) float32 ndarray
        B, G, R minus their mean, x, y, shape mask.

    Raises
    ------
    ValueError
        If the photo has another size.
    """
    if photo.shape != (*FRAME, 3):
        raise ValueError(f"the photo must have shape {(*FRAME, 3)}, not {photo.shape}")
    rows, columns = (side // reduction for side in FRAME)
    mask = mask_over(landmarks, shape_mask)
    levels = np.concatenate([photo - np.array(MEAN_BGR), mask[..., None] - float(NEUTRAL_MASK)], 2)
    blocks = levels.reshape(rows, reduction, columns, reduction, 4)
    means = np.moveaxis(blocks.mean(axis=(1, 3)), 2, 0)
    maps = position_map(landmarks, shape_mask.template).reshape(1, 6)
    position = position_channels(maps, (rows, columns), reduction)[0]
    return np.concatenate([means[:3], position, means[3:]]).astype(np.float32)
