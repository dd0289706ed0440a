"""From logits to probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def sigmoid(logit: ArrayLike) -> np.ndarray:
    """Probabilities of a logit, without overflow."""
    return 1 / (1 + np.exp(-np.clip(logit, -50, 50)))
