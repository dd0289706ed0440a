"""The sRGB transfer function and its inverse."""

from __future__ import annotations

import numpy as np


def to_linear(display: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1]; same shape."""
    display = np.asarray(display)
    return np.where(display < 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def to_display(linear: np.ndarray) -> np.ndarray:
    """sRGB values of linear light in [0, 1]; same shape."""
    linear = np.asarray(linear)
    bright = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear < 0.0031308, 12.92 * linear, bright)
