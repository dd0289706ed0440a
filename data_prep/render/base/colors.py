"""Linear colors from sRGB codes, and their luminance."""

from __future__ import annotations

import numpy as np

from data_prep.common.srgb import to_linear


def linear_color(code: str) -> np.ndarray:
    """Linear RGB, (3,) in [0, 1], of an sRGB color as in ``"f3cfb8"``."""
    return to_linear(np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255)


def luminance(linear: np.ndarray) -> np.ndarray:
    """Relative luminance of linear RGB, (..., 3) to (...)."""
    linear = np.asarray(linear)
    return linear @ np.array([0.2126, 0.7152, 0.0722], dtype=linear.dtype)
