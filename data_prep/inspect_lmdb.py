"""Look into prepared databases: verify every record, draw some.

    .venv/bin/python -m data_prep.inspect_lmdb data/prepared [--split train]
        [--sheet sheet.jpg] [--records 12] [--seed 0]

Opens the three databases of a split, decodes every record, and checks that their
keys are the same in the same order, that sizes agree, that photos have three
channels and masks and mattes one, and that each matte uses the range 0 to 255.
Every defect is listed; with one or more the program fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from typing import NamedTuple

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError
from tqdm import tqdm

from data_prep.caffe_data.caffe_lmdb import open_database
from data_prep.caffe_data.databases import SPLITS
from data_prep.caffe_data.records import PARTS
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import require_folder
from data_prep.common.images import check_written_suffix, write_image
from data_prep.common.options import count, integer_from, named_path

CHANNELS = {"image": 3, "mask": 1, "matte": 1}
FOREGROUND = 128  # of 255: an empty matte, or one of 0 and 1, does not reach it
CONTOUR_LEVEL = 128
MASK_COLOR = (0, 255, 255)  # BGR
MATTE_COLOR = (80, 220, 0)
TILE_SHAPE = (320, 240)  # (H, W)
TILES_A_ROW = 6


class Summary(NamedTuple):
    """Figures of all records of a split together.

    Attributes
    ----------
    records : int
        Keys in any of the databases.
    bytes : dict of str to int
        Encoded, by part.
    fractional_share, foreground_share : float
        Shares of the mattes' pixels.
    defects : list of str
    """

    records: int
    bytes: dict[str, int]
    fractional_share: float
    foreground_share: float
    defects: list[str]


def decode(value: bytes) -> np.ndarray:
    """The image of one record, (H, W) or (H, W, 3) uint8.

    Raises
    ------
    ValueError
        If the record holds no image; the message says what it is instead.
    """
    try:
        datum = caffe_pb2.Datum.FromString(value)
    except DecodeError:
        raise ValueError("is no Datum") from None
    if not datum.encoded:
        raise ValueError("is not encoded")
    data = np.frombuffer(datum.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise ValueError("does not decode")
    return image


def check_record(values: Mapping[str, bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Decode the parts of one record and say what is wrong with them.

    Parameters
    ----------
    values : mapping of str to bytes
        By part; what a database does not have is missing.

    Returns
    -------
    images : dict of str to ndarray
        Parts that decode.
    defects : list of str
    """
    images, defects = {}, []
    for part in PARTS:
        if part not in values:
            defects.append(f"{part} is missing")
            continue
        try:
            image = decode(values[part])
        except ValueError as error:
            defects.append(f"{part} {error}")
            continue
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != CHANNELS[part] or image.dtype != np.uint8:
            defects.append(
                f"{part} has {channels} channels of {image.dtype}, not {CHANNELS[part]} of uint8"
            )
            continue
        images[part] = image
    sizes = {part: f"{image.shape[1]}x{image.shape[0]}" for part, image in images.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{part} {size}" for part, size in sizes.items())
        defects.append(f"sizes differ: {listed}")
    matte = images.get("matte")
    if matte is not None and matte.max() < FOREGROUND:
        defects.append(f"matte reaches {matte.max()} of 255 only")
    return images, defects


def _walk(databases: Sequence[lmdb.Environment]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Keys in order, with what each part has under them."""
    with ExitStack() as stack:
        cursors = {
            part: iter(stack.enter_context(database.begin()).cursor())
            for part, database in zip(PARTS, databases, strict=True)
        }
        heads = {part: next(cursor, None) for part, cursor in cursors.items()}
        while any(head is not None for head in heads.values()):
            key = min(head[0] for head in heads.values() if head is not None)
            values = {
                part: head[1] for part, head in heads.items() if head is not None and head[0] == key
            }
            yield key.decode(errors="replace"), values
            heads.update({part: next(cursors[part], None) for part in values})


def inspect(databases: Sequence[lmdb.Environment]) -> Summary:
    """Verify every record of aligned databases.

    Parameters
    ----------
    databases : sequence of lmdb.Environment
        In the order of `PARTS`.
    """
    defects, sizes = [], set()
    encoded = dict.fromkeys(PARTS, 0)
    histogram = np.zeros(256, np.int64)
    records = 0
    total = max(database.stat()["entries"] for database in databases)
    for key, values in tqdm(_walk(databases), "records", total, unit="record", leave=False):
        records += 1
        images, wrong = check_record(values)
        defects += [f"{key}: {defect}" for defect in wrong]
        for part, value in values.items():
            encoded[part] += len(value)
        if "matte" in images:
            histogram += np.bincount(images["matte"].ravel(), minlength=256)
        if "image" in images:
            sizes.add(images["image"].shape[:2])
    if records == 0:
        defects.append("there are no records")
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        defects.append(f"photos of several sizes: {listed}")
    pixels = max(1, histogram.sum())
    return Summary(
        records,
        encoded,
        float(histogram[1:-1].sum() / pixels),
        float(histogram[-1] / pixels),
        defects,
    )


def draw_record(image: np.ndarray, mask: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The photo over green where the matte is 0, with the outline of the shape mask.

    Parameters
    ----------
    image : (H, W, 3) uint8 ndarray
    mask, matte : (H, W) uint8 ndarray

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    alpha = matte[:, :, None] / 255
    background = 0.5 * image + 0.5 * np.array(MATTE_COLOR)
    picture = np.rint(alpha * image + (1 - alpha) * background).astype(np.uint8)
    inside = (mask > CONTOUR_LEVEL).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, MASK_COLOR, 3)
    return picture


def choose_records(total: int, count: int, seed: int) -> list[int]:
    """Up to `count` of the numbers below `total`, at random, sorted."""
    # Another stream than that of `shuffled_keys`: with the same seed, its first
    # numbers are the records of the first portrait.
    chance = np.random.default_rng((seed, len(PARTS)))
    return sorted(chance.permutation(total)[:count].tolist())


def draw_sheet(databases: Sequence[lmdb.Environment], count: int, seed: int) -> np.ndarray:
    """Contact sheet of random records, (H, W, 3) uint8.

    Raises
    ------
    InputError
        If no record has all its parts.
    """
    keys = [key for key, values in _walk(databases) if len(values) == len(PARTS)]
    tiles = []
    for index in choose_records(len(keys), count, seed):
        values = {}
        for part, database in zip(PARTS, databases, strict=True):
            with database.begin() as transaction:
                values[part] = transaction.get(keys[index].encode())
        images, defects = check_record(values)
        if defects:
            continue
        tile = cv2.resize(draw_record(**images), TILE_SHAPE[::-1], interpolation=cv2.INTER_AREA)
        cv2.putText(tile, keys[index], (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        tiles.append(tile)
    if not tiles:
        raise InputError("No record is whole; there is nothing to draw.")
    columns = min(TILES_A_ROW, len(tiles))
    blank = np.zeros_like(tiles[0])
    rows = zip_longest(*[iter(tiles)] * columns, fillvalue=blank)
    return np.vstack([np.hstack(row) for row in rows])


def main(argv: list[str] | None = None) -> int:
    """Verify one split; draw a contact sheet on demand."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=named_path, help="output folder of `prepare`")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--sheet", type=named_path, metavar="FILE", help="contact sheet")
    parser.add_argument("--records", type=count, default=12, help="on the contact sheet")
    parser.add_argument("--seed", type=integer_from(0), default=0)
    options = parser.parse_args(argv)
    if options.sheet is not None:
        check_written_suffix(options.sheet.suffix)
        require_folder(options.sheet.parent)
    with ExitStack() as stack:
        databases = [
            stack.enter_context(open_database(options.folder / f"{options.split}_{part}"))
            for part in PARTS
        ]
        summary = inspect(databases)
        for defect in summary.defects:
            print(defect)
        sizes = ", ".join(f"{part} {n / 1e6:.1f} MB" for part, n in summary.bytes.items())
        print(
            f"{options.split}: {summary.records} records ({sizes}); "
            f"{summary.fractional_share:.1%} of the pixels fractional, "
            f"{summary.foreground_share:.1%} foreground; {len(summary.defects)} defects."
        )
        if options.sheet is not None:
            write_image(options.sheet, draw_sheet(databases, options.records, options.seed))
            print(f"{options.sheet}: photos, the background green, the shape mask outlined.")
    return 1 if summary.defects else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
