"""Foregrounds of a rendered set: true colors beside the matte, in one PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from data_prep.common.errors import InputError


def read_foreground_pixels(path: Path) -> np.ndarray:
    """Colors, not premultiplied, and matte of a rendered person.

    Returns
    -------
    (H, W, 4) uint8 or uint16 ndarray
        BGR and the matte, as stored.

    Raises
    ------
    InputError
        If the file is missing or no such picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
        raise InputError(f"{path} is no foreground with its matte; render it again.")
    return pixels
