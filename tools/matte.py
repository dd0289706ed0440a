#!/usr/bin/env python3
"""Cut the person out of a photo.

    tools/matte.py PHOTO [-o OUT] [--model selfie|lite|fcn8s]

Writes OUT/NAME_alpha.png (the matte), NAME_cutout.png (the person on a
transparent ground, free of the old background's color) and NAME_sheet.png
(photo, cut-out and matte side by side).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from data_prep.errors import run_program
from data_prep.images import read_photo, write_image
from tools.foreground import cutout

SHEET_HEIGHT = 800
CHECKER_SIDE = 16
CHECKER_GRAYS = (205, 245)
GAP = 8


def checkerboard(shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 1) gray squares, which say "transparent" in every image program."""
    rows, columns = (np.arange(length) // CHECKER_SIDE for length in shape)
    odd = (rows[:, None] + columns[None, :]) % 2
    return np.choose(odd, CHECKER_GRAYS)[:, :, None]


def sheet(photo: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Photo, cut-out over a checkerboard and matte, side by side.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
        BGR.
    person : (H, W, 4) uint8 ndarray
        BGRA, not premultiplied.

    Returns
    -------
    (H', W', 3) uint8 ndarray
        At most `SHEET_HEIGHT` high.
    """
    reduction = min(1.0, SHEET_HEIGHT / photo.shape[0])
    width, height = (max(1, round(side * reduction)) for side in photo.shape[1::-1])
    opacity = person[:, :, 3:] / 255.0
    # Colors are averaged premultiplied: where alpha is 0 they mean nothing.
    layers = np.dstack([photo, person[:, :, :3] * opacity, opacity])
    small = np.dstack(
        [
            cv2.resize(np.ascontiguousarray(layers[:, :, first : first + 3]),
                       (width, height), interpolation=cv2.INTER_AREA)
            for first in (0, 3)
        ]
        + [cv2.resize(opacity, (width, height), interpolation=cv2.INTER_AREA)]
    )  # fmt: skip
    before, premultiplied, opacity = small[:, :, :3], small[:, :, 3:6], small[:, :, 6:]
    after = premultiplied + (1 - opacity) * checkerboard((height, width))
    matte = np.repeat(opacity * 255, 3, axis=2)
    gap = np.full((height, GAP, 3), 255.0)
    return np.uint8(np.hstack([before, gap, after, gap, matte]) + 0.5)


def main(argv: list[str] | None = None) -> int:
    """Matte one photo."""
    # Imported here: `--help` need not wait for Caffe.
    from tools.predict import MODELS, Predictor

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="folder")
    parser.add_argument("--model", choices=MODELS, default="selfie")
    options = parser.parse_args(argv)

    photo = read_photo(options.photo)
    predictor = Predictor(options.model)
    prediction = predictor(photo)
    person = cutout(photo, prediction.alpha)
    images = {"alpha": person[:, :, 3], "cutout": person, "sheet": sheet(photo, person)}
    for kind, image in images.items():
        write_image(options.out / f"{options.photo.stem}_{kind}.png", image)

    height, width = photo.shape[:2]
    note = ""
    if not prediction.face_found:
        lost = "the shape mask" if predictor.uses_shape_mask else "the size of the head"
        note = f" (no face found: going on without {lost})"
    print(
        f"{options.photo}, {width}x{height}, model {options.model}: wrote "
        f"{options.out / options.photo.stem}_{{{','.join(images)}}}.png{note}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
