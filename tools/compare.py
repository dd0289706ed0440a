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
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from caffe_layers import __version__
from data_prep.common.errors import InputError, run_program
from data_prep.common.images import IMAGE_SUFFIXES, refuse_overwriting, write_image
from data_prep.common.pictures import read_picture
from tools.matting.models import MODELS
from tools.matting.photo_view import eight_bit_resized, resized, work_shape
from tools.matting.session import Matte, MattingSession
from tools.outputs.effects import composite
from tools.outputs.sheets import GREEN, captioned, render_trimap, shrink, stacked

TILE_HEIGHT = 280


def photos_of(places: Sequence[Path]) -> list[Path]:
    """Photos among the given paths, and those inside the given folders, sorted by name there.

    Raises
    ------
    InputError
        If a path does not exist, or there is no photo.
    """
    found = []
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist; name photos or folders of photos.")
        if place.is_dir():
            inside = sorted(path for path in place.iterdir() if path.is_file())
            found += [path for path in inside if path.suffix.lower() in IMAGE_SUFFIXES]
        else:
            found.append(place)
    if not found:
        raise InputError(f"There is no photo in {places[0]}; name photos or folders of photos.")
    return found


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
    scale = TILE_HEIGHT / len(photo)
    shape = TILE_HEIGHT, max(1, round(scale * photo.shape[1]))
    tiles = [(name, resized(photo, shape))]
    for model, matte in mattes.items():
        trimap = np.repeat(render_trimap(matte.probabilities)[:, :, None], 3, axis=2)
        _, alpha, foreground = shrink(photo, matte.alpha, matte.foreground, min(1.0, scale))
        person = composite(foreground, alpha, np.uint8([[GREEN]]))
        tiles += [(model, resized(trimap, shape)), ("", resized(person, shape))]
    return captioned(tiles, len(tiles))


def main(argv: list[str] | None = None) -> int:
    """Write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=["selfie", "portrait", "ensemble"]
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("out/compare.jpg"))
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(argv)
    photos = photos_of(options.photos)
    refuse_overwriting([options.out], photos)
    sessions = {model: MattingSession(model) for model in options.models}
    rows = []
    for path in tqdm(photos, unit="photo"):
        photo = read_picture(path).bgr
        # A larger photo would look the same on the sheet.
        photo = eight_bit_resized(photo, work_shape(photo.shape))
        mattes = {model: session.matte(photo) for model, session in sessions.items()}
        rows.append(row_of(path.stem, photo, mattes))
    write_image(options.out, stacked(rows))
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
