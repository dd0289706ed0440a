#!/usr/bin/env python3
"""Mattes of the same photos by several models, side by side on one sheet.

    tools/compare.py PHOTO|FOLDER ... [--models selfie portrait] [-o out/compare.jpg]

Each photo has a row.  For each model the row shows the trimap (white, black, and gray for
unknown) and the person over green, where a lost arm, a hole or a gray body is easily seen.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from caffe_layers import __version__
from data_prep.common.errors import InputError, run_program, sentence_of, tell
from data_prep.common.files import require_folder
from data_prep.common.images import check_written_suffix, refuse_overwriting, write_image
from data_prep.common.options import named_path
from data_prep.common.pictures import read_picture
from tools.matting.models import MODELS
from tools.matting.photo_view import eight_bit_resized, resized, work_shape
from tools.matting.session import Matte, MattingSession
from tools.outputs.effects import composite
from tools.outputs.photos import photos_at
from tools.outputs.sheets import (
    CAPTION_HEIGHT,
    GAP,
    GREEN,
    captioned,
    render_trimap,
    shrink,
    stacked,
)

DEFAULT_MODELS = ("selfie", "portrait", "ensemble")
DEFAULT_OUT = Path("out/compare.jpg")
TILE_HEIGHT = 280
MOST_TILE_WIDTH = 3 * TILE_HEIGHT
ROW_HEIGHT = TILE_HEIGHT + CAPTION_HEIGHT + 2 * GAP
MOST_JPEG_HEIGHT = 65_500  # libjpeg's


def check_sheet(path: Path, photos: int) -> None:
    """Refuse a sheet that could not be written, before hours of work.

    Raises
    ------
    InputError
        If its name has no suffix of an image or is a folder's, its folder cannot be made or written
        into, or a JPEG does not hold a row for each of so many photos.
    """
    if path.is_dir():
        raise InputError(f"-o {path} is a folder; name a file that ends in .jpg or .png.")
    check_written_suffix(path.suffix)
    require_folder(path.parent)
    most = MOST_JPEG_HEIGHT // ROW_HEIGHT
    if path.suffix.lower() != ".png" and photos > most:
        raise InputError(
            f"A JPEG has room for {most} photos, not for {photos}; let -o end in .png, or name "
            "fewer."
        )


def row_of(name: str, photo: np.ndarray, mattes: Mapping[str, Matte]) -> np.ndarray:
    """Row of the sheet: a photo, and trimap and cut-out by each model.

    Parameters
    ----------
    name : str
    photo : (H, W, 3) uint8 ndarray
    mattes : mapping of str to Matte
        By the name of the model.

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    scale = min(TILE_HEIGHT / photo.shape[0], MOST_TILE_WIDTH / photo.shape[1])
    shape = tuple(max(1, round(scale * side)) for side in photo.shape[:2])
    tiles = [(name, resized(photo, shape))]
    for model, matte in mattes.items():
        trimap = np.repeat(render_trimap(matte.probabilities)[:, :, None], 3, axis=2)
        _, alpha, foreground = shrink(photo, matte.alpha, matte.foreground, min(1.0, scale))
        person = composite(foreground, alpha, np.uint8([[GREEN]]))
        tiles += [(model, resized(trimap, shape)), ("", resized(person, shape))]
    return captioned(tiles, len(tiles))


def compared(path: Path, sessions: Mapping[str, MattingSession]) -> np.ndarray:
    """Row of one photo, by the names of the models.

    Raises
    ------
    InputError
        If the photo cannot be read or matted; the message names it.
    """
    photo = read_picture(path).bgr
    # A larger photo would look the same on the sheet.
    photo = eight_bit_resized(photo, work_shape(photo.shape))
    try:
        mattes = {model: session.matte(photo) for model, session in sessions.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return row_of(path.stem, photo, mattes)


def main(argv: list[str] | None = None) -> int:
    """Write the sheet; 1 where a photo is missing on it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "photos",
        nargs="+",
        type=named_path,
        metavar="PHOTO|FOLDER",
        help="photos, and folders that are searched with the folders in them",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=DEFAULT_MODELS,
        help=f"columns, from left to right (default: {' '.join(DEFAULT_MODELS)})",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=named_path,
        default=DEFAULT_OUT,
        help="the sheet, .jpg or .png (%(default)s)",
    )
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(argv)
    photos = photos_at(options.photos)
    refuse_overwriting([options.out], photos)
    check_sheet(options.out, len(photos))
    sessions = {model: MattingSession(model) for model in options.models}
    rows, problems = [], []
    try:
        for path in tqdm(photos, unit="photo"):
            try:
                rows.append(compared(path, sessions))
            except InputError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(sentence_of(error))
    finally:  # after Ctrl-C, too
        for sentence in problems:
            tell(sentence)
        if rows:
            write_image(options.out, stacked(rows))
            print(f"wrote {options.out}: {len(rows)} of {len(photos)} photos")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
