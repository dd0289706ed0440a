#!/usr/bin/env python3
"""The databases that the detail net is trained on: pieces of portraits and their mattes.

    tools/detail_data.py [--dataset data/portrait_set] [--out data/prepared_detail]

Every training portrait is matted by portrait-lite in `VERSIONS` of its augmented and
varied versions, and `PIECES` pieces of each that show unknown pixels are kept, with the
solved matte, the F and B it was solved with, and the true matte:

    train_image, train_solved, train_matte     LMDBs, one shuffled order
    test_image, test_solved, test_matte        of the validation people as they are

A run that was killed goes on where it was; an unchanged one does nothing.
"""

from __future__ import annotations

import argparse
import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.assets import sha256_of
from data_prep.augmentation import AUGMENTATIONS, ORIGINAL, Augmentation, Record
from data_prep.caffe_lmdb import AlignedWriter, shuffled_keys
from data_prep.dataset import Dataset, Portrait
from data_prep.errors import run_program
from data_prep.images import encode_image, read_matte, read_photo
from data_prep.parallel import available_workers, open_workers
from data_prep.resume import content_key
from data_prep.variation import variation_of
from prototxt.detail import PREPARED, SIDE
from tools.learning_curve import validation_portraits
from tools.models import MODELS
from tools.predict import Predictor, solved
from tools.scores import code_digest

MODEL = "portrait"  # whose mattes are to be corrected
PARTS = ("image", "solved", "matte")
VERSIONS = 2  # of 13, drawn anew for each training portrait
PIECES = 8  # of each version

#: A portrait, its version, and whether that is varied.
Version = tuple[Portrait, Augmentation, bool]


@functools.cache
def _predictor() -> Predictor:
    """One a process."""
    return Predictor(MODEL)


def generator_of(*names: str) -> np.random.Generator:
    """Random numbers that are the same on every machine."""
    return np.random.default_rng(zlib.crc32(" ".join(names).encode()))


def versions_of(portraits: Sequence[Portrait]) -> list[Version]:
    """Varied versions of training portraits, `VERSIONS` of each."""
    return [
        (portrait, AUGMENTATIONS[k], True)
        for portrait in portraits
        for k in generator_of(portrait.stem, "versions").choice(
            len(AUGMENTATIONS), VERSIONS, replace=False
        )
    ]


def corners(unknown: np.ndarray, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Where pieces begin, (row, column): each has an unknown pixel in its middle.

    Parameters
    ----------
    unknown : (H, W) float ndarray
        Of at least `SIDE` pixels a side.  Where nothing is above a half, any pixel may
        be in the middle.
    count : int
    rng : numpy.random.Generator
    """
    candidates = np.flatnonzero(unknown > 0.5)
    if not candidates.size:
        candidates = np.arange(unknown.size)
    middles = np.unravel_index(rng.choice(candidates, count), unknown.shape)
    starts = [np.clip(m - SIDE // 2, 0, n - SIDE) for m, n in zip(middles, unknown.shape)]
    return [(int(row), int(column)) for row, column in zip(*starts)]


def cut(version: Version) -> list[tuple[bytes, ...]]:
    """Pieces of one version of a portrait: PNG files in the order of `PARTS`."""
    portrait, augmentation, varied = version
    truth = read_matte(portrait.matte)
    # The shape mask is made from the photo when that is matted.
    record = augmentation.apply(Record(read_photo(portrait.photo), truth, truth))
    if varied:
        record = variation_of(portrait.stem, augmentation.name).apply(record)
    predictor = _predictor()
    sight = replace(predictor.look(record.photo), haze=0.0)
    alpha = solved(record.photo, sight, predictor.lambda_)
    foreground, background = sight.probabilities[:2]
    layers = np.dstack([alpha, foreground, background])
    images = (record.photo, np.uint8(np.rint(255 * layers)), record.matte)
    rng = generator_of(portrait.stem, augmentation.name, "pieces")
    unknown = 1 - foreground - background
    return [
        tuple(
            encode_image(np.ascontiguousarray(image[row : row + SIDE, column : column + SIDE]), ".png")
            for image in images
        )
        for row, column in corners(unknown, PIECES, rng)
    ]


@dataclass(frozen=True)
class Side:
    """Databases of one split.

    Attributes
    ----------
    name : {"train", "test"}
    versions : list of Version
    """

    name: str
    versions: list[Version]

    def built_from(self) -> dict:
        """What the databases depend on."""
        model = MODELS[MODEL]
        return {
            "versions": [
                [p.stem, sha256_of(p.photo), sha256_of(p.matte), augmentation.name, varied]
                for p, augmentation, varied in self.versions
            ],
            "weights": [sha256_of(path) for path in (model.weights, model.shape_mask)],
            "code": content_key(code_digest(), sha256_of(Path(__file__))),
        }


def write(side: Side, out: Path, workers: int) -> None:
    """Write the databases of a side, or what they lack."""
    paths = [out / f"{side.name}_{part}" for part in PARTS]
    keys = shuffled_keys(len(side.versions) * PIECES, seed=0)
    with (
        AlignedWriter(paths, side.built_from(), keys) as writer,
        open_workers(workers) as ordered_map,
    ):
        done = writer.stored // PIECES
        writer.rewind(done * PIECES)
        pieces = ordered_map(cut, side.versions[done:])
        total = len(side.versions)
        for files in tqdm(pieces, f"{side.name} pieces", total, initial=done, unit="portrait"):
            for each in files:
                writer.put(each)


def main(argv: list[str] | None = None) -> int:
    """Write both sides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, default=Path("data/portrait_set"))
    parser.add_argument("--out", type=Path, default=Path(PREPARED))
    parser.add_argument("--workers", type=int, default=available_workers(), metavar="N")
    options = parser.parse_args(argv)
    dataset = Dataset.open(options.dataset)
    # Not the test people: nothing that is trained sees them.
    watched = validation_portraits(options.dataset)
    for side in (
        Side("train", versions_of(dataset.train)),
        Side("test", [(portrait, ORIGINAL, False) for portrait in watched]),
    ):
        write(side, options.out, options.workers)
        print(f"{options.out}: {len(side.versions) * PIECES} {side.name} pieces.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
