"""A dataset of 600x800 portraits from a collection on disk.

    .venv/bin/python -m data_prep.import_dataset SOURCE --format FORMAT --out FOLDER

FORMAT is plain, portrait-segmentation, aisegment, p3m or ppm (`layouts` says
how each lies on disk).  Writes to FOLDER what `dataset` reads: images/,
mattes/, train.txt, test.txt and dataset.json.

A pair of 600x800 is taken as it is (the photo's file is copied); any other is
cropped (`crop`).  Every file that is not taken is listed with its reason, on
the screen and in dataset.json; one bad file stops nothing.  The collection's
own split is followed; where it has none, or only one side of it is there,
1700 of 2000 portraits train, drawn with --seed.

Run again, it redoes only what has changed, and continues where it was
interrupted.  What somebody has changed in FOLDER is moved aside, not replaced.
A photo that is there twice is taken once.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.common.assets import ASSETS, fetch
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import copy_file, move_aside, remove_all_leftovers, require_folder
from data_prep.common.images import read_photo, refuse_overwriting, write_image
from data_prep.common.landmarks import detect_landmarks
from data_prep.common.options import count, integer_from, named_path
from data_prep.common.parallel import available_workers
from data_prep.common.versions import recipe_of
from data_prep.datasets.crop import Crop, check_enlargement, choose_crop, resize_to_frame
from data_prep.datasets.dataset import FRAME, PHOTO_SUFFIXES, split_stems, write_lists
from data_prep.datasets.layouts import LAYOUTS, Listing, Pair
from data_prep.datasets.manifest import DatasetManifest, Problem, rejection_lines
from data_prep.datasets.matte_checks import check_matte
from data_prep.datasets.resume import (
    Journal,
    Outcome,
    is_done,
    known_records,
    problem_of,
    run_resumable,
)

logger = logging.getLogger(__name__)

#: Version of the photos and mattes that an import writes: raise it when they change
#: (`data_prep.common.versions`).
IMPORT_VERSION = 1


@dataclass(frozen=True)
class Task:
    """One pair to import.

    Attributes
    ----------
    pair : Pair
    source, out : Path
        Folders of the collection and of the dataset.
    recipe : str
        Stands for the code that imports and its landmark model.
    known : dict or None
        The record of an earlier import of the same stem.
    """

    pair: Pair
    source: Path
    out: Path
    recipe: str
    known: dict | None


def _crop_as_listed(pair: Pair, photo: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The photo cropped as the collection says, to 600x800 like its matte."""
    r0, r1, c0, c1 = pair.crop
    height, width = photo.shape[:2]
    if r1 > height or c1 > width:
        raise InputError(
            f"rows {r0}-{r1} and columns {c0}-{c1} of crop.txt leave the photo of "
            f"{width}x{height} pixels; download it at the size the list was made for"
        )
    if matte.shape != FRAME:
        raise InputError(
            f"{pair.matte} is {matte.shape[1]}x{matte.shape[0]} pixels, not "
            f"{FRAME[1]}x{FRAME[0]}; take it from the release again"
        )
    check_enlargement((r1 - r0, c1 - c0))
    return resize_to_frame(photo[r0:r1, c0:c1])


@dataclass(frozen=True)
class Portrait:
    """A pair made ready.

    Attributes
    ----------
    photo : (800, 600, 3) uint8 ndarray or None
        None: the photo's file can be copied as it is.
    matte : (800, 600) uint8 ndarray
    crop : Crop or None
        None: the pair came at 600x800.
    face : bool or None
        Whether a face decided the crop; None: nothing had to be decided.
    """

    photo: np.ndarray | None
    matte: np.ndarray
    crop: Crop | None = None
    face: bool | None = None


def make_portrait(pair: Pair) -> Portrait:
    """Read, check and crop a pair.

    Raises
    ------
    InputError
        If it cannot be used.  The message begins with the matte's path where
        the matte is at fault.
    """
    photo, matte = read_photo(pair.photo), pair.read_matte(pair.matte)
    check_matte(matte, pair.matte)
    if pair.crop is not None:
        photo = _crop_as_listed(pair, photo, matte)
        r0, r1, c0, c1 = pair.crop
        return Portrait(photo, matte, Crop(c0, r0, c1 - c0, r1 - r0))
    if photo.shape[:2] != matte.shape:
        raise InputError(
            f"{pair.matte} is {matte.shape[1]}x{matte.shape[0]} pixels, its photo "
            f"{photo.shape[1]}x{photo.shape[0]}; give both the same size"
        )
    if matte.shape == FRAME:
        copied = pair.photo.suffix.lower() in PHOTO_SUFFIXES
        return Portrait(None if copied else photo, matte)
    landmarks = detect_landmarks(photo)
    check_matte(matte, pair.matte, landmarks)
    crop, face = choose_crop(landmarks, matte)
    return Portrait(crop.apply(photo), crop.apply(matte), crop, face)


def write_portrait(portrait: Portrait, pair: Pair, out: Path) -> dict:
    """Write a portrait's two files to the dataset; return its record.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    suffix = pair.photo.suffix.lower() if portrait.photo is None else ".jpg"
    photo, matte = f"images/{pair.stem}{suffix}", f"mattes/{pair.stem}.png"
    if portrait.photo is None:
        copy_file(pair.photo, out / photo)
    else:
        write_image(out / photo, portrait.photo)
    write_image(out / matte, portrait.matte)
    return {
        "files": {name: sha256_of(out / name) for name in (photo, matte)},
        "crop": None if portrait.crop is None else portrait.crop._asdict(),
        "face": portrait.face,
    }


def import_pair(task: Task) -> Outcome:
    """Import one pair, unless that has been done.

    Raises
    ------
    InputError
        If the dataset cannot be written: that is no fault of the pair.
    """
    pair = task.pair
    try:
        inputs = {
            path.relative_to(task.source).as_posix(): sha256_of(path)
            for path in (pair.photo, pair.matte)
        }
        key = content_key(task.recipe, inputs, pair.crop, pair.read_matte.__name__)
        if is_done(task.known, key, task.out):
            return Outcome(task.known)
        portrait = make_portrait(pair)
    except (InputError, OSError) as error:
        return Outcome(problem=problem_of(error, (pair.matte, pair.photo)))
    record = {"stem": pair.stem, "key": key, "inputs": inputs}
    return Outcome({**record, **write_portrait(portrait, pair, task.out)}, new=True)


def _known_records(out: Path, origin: dict) -> dict[str, dict]:
    """What earlier runs imported, by stem.

    Raises
    ------
    InputError
        If the folder holds anything else.
    """
    manifest = DatasetManifest.load(out)
    if manifest is not None and manifest.origin != origin:
        known = manifest.origin.get("format", "elsewhere")
        raise InputError(f"{out} is a dataset made from {known}; choose another --out.")
    return known_records(out, manifest, "no import made it")


def _keep_edited(out: Path, known: Mapping[str, dict]) -> None:
    """Move files of earlier imports aside that somebody has changed since."""
    for record in known.values():
        for name, digest in record["files"].items():
            path = out / name
            if path.is_file() and sha256_of(path) != digest:
                aside = move_aside(path)
                logger.warning("%s has been changed since; it is kept in %s.", path, aside)


def _remove_stale(out: Path, known: Mapping[str, dict], kept: Sequence[dict]) -> None:
    """Delete files of earlier imports that are no part of this one."""
    files = {name for record in kept for name in record["files"]}
    for name in {name for record in known.values() for name in record["files"]}:
        if name not in files:
            (out / name).unlink(missing_ok=True)
    for part in ("images", "mattes"):
        remove_all_leftovers(out / part)


def without_repeated_photos(records: Sequence[dict]) -> tuple[list[dict], list[tuple[str, str]]]:
    """Records of different photos; a photo that is there twice could be trained and tested on.

    Parameters
    ----------
    records : sequence of dict
        Of which each one's first input is the photo.

    Returns
    -------
    kept : list of dict
        The first of each photo.
    repeated : list of (str, str)
        Photos that are left out, and those that they repeat.
    """
    first: dict[str, dict] = {}
    repeated = []
    for record in records:
        photo, digest = next(iter(record["inputs"].items()))
        known = first.setdefault(digest, record)
        if known is not record:
            repeated.append((photo, next(iter(known["inputs"]))))
    return list(first.values()), repeated


def split_records(
    pairs: Sequence[Pair], stems: Sequence[str], seed: int
) -> tuple[list[str], list[str]]:
    """The collection's split, or a random one where a side of it is empty."""
    given = {pair.stem: pair.split for pair in pairs}
    lists = [sorted(s for s in stems if given[s] == name) for name in ("train", "test")]
    if all(lists) and sum(map(len, lists)) == len(stems):
        return lists[0], lists[1]
    return split_stems(stems, seed)


def import_dataset(
    listing: Listing, source: Path, out: Path, origin: dict, seed: int = 0, workers: int = 1
) -> tuple[DatasetManifest, int]:
    """Import all pairs of a collection.

    Parameters
    ----------
    listing : Listing
    source, out : Path
        Folders of the collection and of the dataset.
    origin : dict
        What the manifest says the dataset is made from.
    seed : int
        Seed of the split, where the collection has none.
    workers : int
        Processes.

    Returns
    -------
    manifest : DatasetManifest
        As written to `out`.
    new : int
        How many portraits were written, not found done.

    Raises
    ------
    InputError
        If `out` holds something else or cannot be written, or the landmark model cannot be
        fetched.
    """
    known = _known_records(out, origin)
    refuse_overwriting(
        (path for part in ("images", "mattes") for path in (out / part).glob("*")),
        (path for pair in listing.pairs for path in (pair.photo, pair.matte)),
    )
    _keep_edited(out, known)
    fetch("landmark-model")  # once, before all workers want it; failing is no pair's fault
    journal = Journal(out)
    recipe = recipe_of("import", IMPORT_VERSION, ASSETS["landmark-model"].sha256)
    tasks = [Task(pair, source, out, recipe, known.get(pair.stem)) for pair in listing.pairs]
    records, problems, new = run_resumable(
        import_pair, tasks, journal, known.values(), workers, "import"
    )
    records, repeated = without_repeated_photos(records)
    problems += [
        Problem(source / photo, f"it is the same photo as {other}; remove one of them")
        for photo, other in repeated
    ]
    made = {record["stem"]: record for record in journal.read()}
    _remove_stale(out, {**known, **made}, records)
    stems = [record["stem"] for record in records]
    write_lists(out, *split_records(listing.pairs, stems, seed))
    manifest = DatasetManifest(
        origin=origin,
        files={name: digest for r in records for name, digest in r["files"].items()},
        portraits={
            r["stem"]: {key: r[key] for key in ("key", "inputs", "files", "crop", "face")}
            for r in records
        },
        rejected=[
            {"file": problem.file.relative_to(source).as_posix(), "reason": problem.reason}
            for problem in listing.problems + problems
        ],
    )
    manifest.save(out)
    journal.close()
    return manifest, new


def summarize(manifest: DatasetManifest, out: Path, new: int) -> str:
    """What came of an import, every rejected file on its own line."""
    count = len(manifest.portraits)
    lines = [f"{out}: {count} portraits, {new} of them new or changed."]
    faceless = [stem for stem, r in manifest.portraits.items() if r["face"] is False]
    if faceless:
        lines.append(
            f"{len(faceless)} without a face, cropped around the matte: {', '.join(faceless)}"
        )
    return "\n".join([*lines, *rejection_lines(manifest.rejected)])


def main(argv: list[str] | None = None) -> int:
    """Import a collection and list what was rejected."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=named_path, help="folder of the collection")
    parser.add_argument("--format", choices=LAYOUTS, required=True)
    parser.add_argument("--out", type=named_path, required=True, help="folder of the dataset")
    parser.add_argument(
        "--seed", type=integer_from(0), default=0, help="of the split, if it has none"
    )
    parser.add_argument("--images", help="plain: folder of the photos (images)")
    parser.add_argument("--mattes", help="plain: folder of the mattes (mattes)")
    parser.add_argument("--workers", type=count, default=available_workers())
    options = parser.parse_args(argv)
    source, out = options.source, options.out
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the folder of the collection.")
    require_folder(out)
    if out.resolve() == source.resolve():
        raise InputError(f"--out {out} is the collection itself; name another folder.")
    folders = {
        name: folder
        for name in ("images", "mattes")
        if (folder := getattr(options, name)) is not None
    }
    if folders and options.format != "plain":
        raise InputError(f"--{next(iter(folders))} is for --format plain only.")
    listing = LAYOUTS[options.format](source, **folders)
    origin = {"format": options.format, "collection": source.resolve().name}
    manifest, new = import_dataset(listing, source, out, origin, options.seed, options.workers)
    print(summarize(manifest, out, new))
    if not manifest.portraits:
        raise InputError(f"Nothing could be imported from {source}; the reasons are above.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
