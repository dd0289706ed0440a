"""Contact sheet of a test run: photo, trimap, matte, truth and error.

The sheet has a row for each portrait.  Trimaps are drawn by the most probable of
the three channels: white foreground, black background, gray unknown.  The
error is |A - Agt| on a fixed scale, so that sheets can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.common.files import atomic_write
from tools.outputs.sheets import render_trimap

SHEET = "contact_sheet.png"
TILE_HEIGHT = 300  # pixels
ERROR_COLORS = "inferno"
LARGEST_ERROR = 0.5  # drawn in the brightest color, as everything above it
COLUMNS = ("photo", "trimap", "matte", "truth", f"|error|, 0 to {LARGEST_ERROR:g}")


@dataclass(frozen=True)
class SheetRow:
    """One portrait of the sheet, at thumbnail size.

    Attributes
    ----------
    caption : str
        Printed above the row.
    badness : float
        Rows are sorted by it, best first.
    photo : (H, W, 3) uint8 array, RGB
    trimap : (H, W) uint8 array
    matte, truth, error : (H, W) arrays in [0, 1]
        The error is taken at full size: shrunk hair would hide it.
    """

    caption: str
    badness: float
    photo: np.ndarray
    trimap: np.ndarray
    matte: np.ndarray
    truth: np.ndarray
    error: np.ndarray


def sheet_row(
    caption: str,
    badness: float,
    photo: np.ndarray,
    probabilities: np.ndarray,
    matte: np.ndarray,
    truth: np.ndarray,
) -> SheetRow:
    """Shrink one result to thumbnails, so that long lists fit in memory.

    Parameters
    ----------
    caption, badness
        See `SheetRow`.
    photo : (H, W, 3) uint8 array, BGR
    probabilities : (3, H, W) array
    matte, truth : (H, W) arrays in [0, 1]
    """
    height, width = truth.shape
    scale = min(1.0, TILE_HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))

    def shrink(array: np.ndarray) -> np.ndarray:
        return cv2.resize(array, size, interpolation=cv2.INTER_AREA)

    return SheetRow(
        caption=caption,
        badness=badness,
        photo=shrink(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)),
        trimap=shrink(render_trimap(probabilities)),
        matte=shrink(matte.astype(np.float32)),
        truth=shrink(truth.astype(np.float32)),
        error=shrink(np.abs(matte - truth).astype(np.float32)),
    )


class Ranked(Protocol):
    """What has a place between the best and the worst, such as a `SheetRow`."""

    @property
    def badness(self) -> float: ...


SomeRanked = TypeVar("SomeRanked", bound=Ranked)


def representative(rows: Sequence[SomeRanked], count: int) -> list[SomeRanked]:
    """Choose at most `count` rows, evenly spread from the best to the worst."""
    ranked = sorted(rows, key=lambda row: row.badness)
    if len(ranked) <= count:
        return ranked
    return [ranked[i] for i in np.linspace(0, len(ranked) - 1, count).round().astype(int)]


def write_contact_sheet(path: Path | str, rows: Sequence[SheetRow], title: str) -> None:
    """Draw the rows into one picture.

    Parameters
    ----------
    path : path
        Its suffix chooses the format.
    rows : sequence of SheetRow
        At least one; drawn in this order.
    title : str

    Raises
    ------
    InputError
        If the picture cannot be written.
    """
    dpi = 100
    gap, caption_height, title_height = 0.06, 0.28, 0.62  # inches
    # Rows may have different shapes: each column is as wide as its widest tile.
    tile_width = max(row.truth.shape[1] for row in rows) / dpi
    heights = [row.truth.shape[0] / dpi for row in rows]
    width = len(COLUMNS) * (tile_width + gap) + gap
    height = title_height + sum(heights) + caption_height * len(rows) + gap
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    figure.text(gap / width, 1 - 0.2 / height, title, va="center", weight="bold")
    lefts = [gap + column * (tile_width + gap) for column in range(len(COLUMNS))]
    for left, name in zip(lefts, COLUMNS):
        figure.text(left / width, 1 - 0.48 / height, name, va="center", color="dimgray")
    top = height - title_height
    for row, row_height in zip(rows, heights):
        caption_middle = (top - caption_height / 2) / height
        figure.text(gap / width, caption_middle, row.caption, va="center", fontsize=9)
        bottom = top - caption_height - row_height
        for left, tile in zip(lefts, _tiles(row)):
            tile_box = np.array([left, bottom, tile.shape[1] / dpi, row_height])
            axes = figure.add_axes(tuple(tile_box / (width, height, width, height)))
            axes.imshow(tile, cmap="gray", vmin=0, vmax=1, aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
        top = bottom
    with atomic_write(path) as scratch:
        figure.savefig(scratch)


def _tiles(row: SheetRow) -> list[np.ndarray]:
    """The five pictures of a row, in the formats of matplotlib's imshow."""
    color_error = colormaps[ERROR_COLORS](np.clip(row.error / LARGEST_ERROR, 0, 1))
    return [row.photo, row.trimap / 255.0, row.matte, row.truth, color_error]
