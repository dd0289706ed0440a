"""Landmarks by cascaded ensembles of regression trees, from a model that dlib has written.

The method is that of Kazemi and Sullivan 2014, "One millisecond face alignment with an ensemble
of regression trees", computed as dlib's ``shape_predictor`` computes it.  That one takes most of
a second to read its file, whose 16 million numbers are each of another length.  Here the file is
read once, and what it holds is kept beside it as an array that is mapped into memory: a face
touches one leaf in sixteen.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from data_prep.common.files import atomic_write

#: Raised when `MODEL` changes: files of other versions are not read.
VERSION = 1
POINTS = 68
CASCADES, TREES, DEPTH, PIXELS = 15, 500, 4, 500
SPLITS, LEAVES = 2**DEPTH - 1, 2**DEPTH

#: What a model holds; in the file a tree's splits go level by level, as in a heap.
MODEL = np.dtype(
    [
        ("initial", "<f4", (2 * POINTS,)),
        ("pairs", "<u2", (CASCADES, TREES, SPLITS, 2)),
        ("thresholds", "<f4", (CASCADES, TREES, SPLITS)),
        ("leaves", "<f4", (CASCADES, TREES, LEAVES, 2 * POINTS)),
        ("anchors", "<u2", (CASCADES, PIXELS)),
        ("deltas", "<f4", (CASCADES, PIXELS, 2)),
    ]
)

CHUNK = 1 << 14  # bytes of dlib's file that are decoded at a time


class ShapePredictor:
    """Places landmarks in a face whose box is known.

    Parameters
    ----------
    path : Path
        A model of 68 landmarks, as dlib writes it.  What it holds is kept beside it where that
        can be written.

    Raises
    ------
    ValueError
        If it is no such model.
    """

    def __init__(self, path: Path) -> None:
        model = _mapped_model(path)
        self._initial = model["initial"]
        self._pairs = model["pairs"].astype(np.intp)
        self._thresholds = model["thresholds"]
        self._leaves = model["leaves"].reshape(CASCADES, TREES * LEAVES, 2 * POINTS)
        self._anchors = model["anchors"].astype(np.intp)
        self._deltas = model["deltas"]
        points = self._initial.reshape(POINTS, 2).astype(np.float64)
        self._centered = points - points.mean(axis=0)
        self._spread = (self._centered**2).sum()

    def predict(self, rgb: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """Landmarks of one face.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 ndarray
        box : (int, int, int, int)
            Left, top, right and bottom in pixels, all inclusive; may reach beyond the image.

        Returns
        -------
        (68, 2) float64 ndarray
            x and y in pixels, whole numbers.
        """
        corner = np.array(box[:2], np.float64)
        sides = np.array(box[2:], np.float64) - corner
        first_leaves = np.arange(TREES) * LEAVES
        trees = np.arange(TREES)
        shape = self._initial
        for cascade in range(CASCADES):
            places = self._turned(shape, self._deltas[cascade])
            places += shape.reshape(POINTS, 2)[self._anchors[cascade]]
            values = _intensities(rgb, _rounded(places * sides + corner))
            node = np.zeros(TREES, np.intp)
            for _ in range(DEPTH):
                first, second = self._pairs[cascade, trees, node].T
                goes_left = values[first] - values[second] > self._thresholds[cascade, trees, node]
                node = 2 * node + np.where(goes_left, 1, 2)
            leaves = self._leaves[cascade, first_leaves + node - SPLITS]
            # Row by row, in the order of the trees: single precision minds the order.
            shape = np.add.reduce(np.vstack([shape, leaves]), axis=0)
        return _rounded(shape.reshape(POINTS, 2) * sides + corner).astype(np.float64)

    def _turned(self, shape: np.ndarray, deltas: np.ndarray) -> np.ndarray:
        """Offsets (N, 2) from the initial shape, turned and scaled as a shape is against it."""
        points = shape.reshape(POINTS, 2).astype(np.float64)
        covariance = (points - points.mean(axis=0)).T @ self._centered / self._spread
        cosine = covariance[0, 0] + covariance[1, 1]
        sine = covariance[1, 0] - covariance[0, 1]
        (a, b), (c, d) = np.array([[cosine, -sine], [sine, cosine]], np.float32)
        x, y = deltas[:, 0], deltas[:, 1]
        return np.stack([a * x + b * y, c * x + d * y], axis=1)


def _rounded(places: np.ndarray) -> np.ndarray:
    return np.floor(places + 0.5).astype(np.intp)


def _intensities(rgb: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Gray values of an image at (N, 2) x and y, (N,) float32; 0 beside it."""
    x, y = places.T
    inside = (x >= 0) & (y >= 0) & (x < rgb.shape[1]) & (y < rgb.shape[0])
    values = np.zeros(len(places), np.float32)
    values[inside] = rgb[y[inside], x[inside]].sum(axis=1, dtype=np.int32) // 3
    return values


def _mapped_model(path: Path) -> np.ndarray:
    """The model of a file of dlib's, mapped into memory if it was read before."""
    kept = path.with_suffix(f".v{VERSION}.npy")
    # A damaged file is written again.
    with contextlib.suppress(OSError, ValueError):
        model = np.load(kept, mmap_mode="r", allow_pickle=False)
        if model.dtype == MODEL and model.shape == ():
            return model
    model = read_model(path)
    with contextlib.suppress(OSError):  # the folder may be somebody else's
        with atomic_write(kept) as scratch, open(scratch, "wb") as stream:
            np.save(stream, model)
    return model


def read_model(path: Path) -> np.ndarray:
    """What a model holds that dlib has written.

    Parameters
    ----------
    path : Path
        Of 68 landmarks.

    Returns
    -------
    ndarray of shape (), `MODEL`

    Raises
    ------
    ValueError
        If it is no such model.
    """
    split = np.dtype([("pair", "i4", 2), ("threshold", "i4", 2)])
    leaf = np.dtype([("shape", "i4", 2), ("values", "i4", (2 * POINTS, 2))])
    tree = np.dtype(
        [
            ("split_count", "i4"),
            ("splits", split, SPLITS),
            ("leaf_count", "i4"),
            ("leaves", leaf, LEAVES),
        ]
    )
    forest = np.dtype([("count", "i4"), ("trees", tree, TREES)])
    content = np.dtype(
        [
            ("version", "i4"),
            ("initial", leaf),
            ("forest_count", "i4"),
            ("forests", forest, CASCADES),
            ("anchor_count", "i4"),
            ("anchors", np.dtype([("count", "i4"), ("values", "i4", PIXELS)]), CASCADES),
            ("delta_count", "i4"),
            ("deltas", np.dtype([("count", "i4"), ("values", "i4", (PIXELS, 2, 2))]), CASCADES),
        ]
    )
    integers = _integers(np.fromfile(path, np.uint8))
    if integers.nbytes != content.itemsize:
        raise ValueError(f"{path} is no model of {POINTS} landmarks")
    stored = integers.view(content)[0]
    trees = stored["forests"]["trees"]
    model = np.zeros((), MODEL)
    model["initial"] = _floats(stored["initial"]["values"])
    model["pairs"] = trees["splits"]["pair"]
    model["thresholds"] = _floats(trees["splits"]["threshold"])
    model["leaves"] = _floats(trees["leaves"]["values"])
    model["anchors"] = stored["anchors"]["values"]
    model["deltas"] = _floats(stored["deltas"]["values"])
    return model


def _floats(pairs: np.ndarray) -> np.ndarray:
    """Numbers (...,) from mantissas and exponents (..., 2)."""
    return np.ldexp(pairs[..., 0].astype(np.float32), pairs[..., 1])


def _integers(data: np.ndarray) -> np.ndarray:
    """The integers of a file of dlib's, (N,) int32.

    Each is a byte with its length, whose highest bit is its sign, and so many bytes, the lowest
    first.
    """
    parts = []
    start = 0
    while start < len(data):
        # What reaches beyond the chunk is read with the next one.
        chunk = np.concatenate([data[start : start + CHUNK], np.zeros(16, np.uint8)])
        length = min(CHUNK, len(data) - start)
        # From every byte to where the next integer begins, if one begins here.
        jump = np.minimum(np.arange(length) + 1 + (chunk[:length] & 15), length)
        jump = np.append(jump, length)
        begins = np.zeros(1, np.intp)
        while begins[-1] < length:  # twice as many each time
            begins = np.concatenate([begins, jump[begins]])
            jump = jump[jump]
        begins = begins[: np.searchsorted(begins, length)]
        sizes = chunk[begins] & 15
        if begins[-1] + 1 + sizes[-1] > length and start + length < len(data):
            begins, sizes = begins[:-1], sizes[:-1]
        values = np.zeros(len(begins), np.int64)
        for place in range(4):
            byte = chunk[begins + 1 + place].astype(np.int64)
            values += np.where(place < sizes, byte << 8 * place, 0)
        parts.append(np.where(chunk[begins] & 128, -values, values).astype(np.int32))
        start += int(begins[-1] + 1 + sizes[-1])
    return np.concatenate(parts)
