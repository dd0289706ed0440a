"""Vectors, rotations and rigid transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """The (..., 3) vectors at length 1; a vector of length 0 stays 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def smooth_step(start: float, end: float, values: np.ndarray) -> np.ndarray:
    """0 before `start`, 1 after `end` (which may be the smaller), cubic between."""
    t = np.clip((np.asarray(values) - start) / (end - start), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def rotation(axis: Sequence[float], degrees: float) -> np.ndarray:
    """The (3, 3) rotation about `axis`, counterclockwise seen from its tip."""
    x, y, z = unit(np.asarray(axis, dtype=np.float64))
    angle = np.radians(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a (4, 4) affine matrix to (..., 3) points."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
