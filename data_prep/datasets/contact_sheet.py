"""One picture of a dataset: photos and mattes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data_prep.common.images import read_matte, read_photo, write_image

TILE_SHAPE = (240, 180)  # (H, W) of a photo
PAIRS_A_ROW = 6
MOST = 60  # portraits on a sheet
CAPTION = 16  # pixels


def _tile(out: Path, stem: str, photo: str) -> np.ndarray:
    """Photo and matte of a portrait under its name."""
    matte = cv2.cvtColor(read_matte(out / "mattes" / f"{stem}.png"), cv2.COLOR_GRAY2BGR)
    pair = [
        cv2.resize(image, TILE_SHAPE[::-1], interpolation=cv2.INTER_AREA)
        for image in (read_photo(out / photo), matte)
    ]
    caption = np.full((CAPTION, 2 * TILE_SHAPE[1], 3), 255, np.uint8)
    place = (3, CAPTION - 4)
    cv2.putText(caption, stem, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([caption, np.hstack(pair)])


def write_contact_sheet(path: Path, out: Path, photos: Sequence[str]) -> None:
    """Draw up to `MOST` portraits of a set, evenly chosen.

    Parameters
    ----------
    path : Path
        Its suffix chooses the format.
    out : Path
        Folder of the set.
    photos : sequence of str
        Files of the photos in it; at least one.
    """
    chosen = np.unique(np.linspace(0, len(photos) - 1, min(MOST, len(photos))).round().astype(int))
    tiles = [_tile(out, Path(photos[i]).stem, photos[i]) for i in chosen]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % PAIRS_A_ROW)
    rows = [np.hstack(tiles[i : i + PAIRS_A_ROW]) for i in range(0, len(tiles), PAIRS_A_ROW)]
    write_image(path, np.vstack(rows))
