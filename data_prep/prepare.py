"""Everything that training needs, made from a folder of portraits and mattes.

    python -m data_prep.prepare [--dataset data/sample] [--out data/prepared]
        [--augment all|none|NAMES] [--workers N | --scheduler ADDRESS]

Writes to the output folder:

    train_image, train_mask, train_matte    LMDBs: 13 versions of each portrait
    test_image, test_mask, test_matte       LMDBs: the portraits as they are
    train_records.txt, test_records.txt     what lies under each key
    p_alpha.txt, p_alpha.png                p(A) of eq. 11
    shape_mask.npz, shape_mask.png          eq. 2, and how it lies on portraits
    survey.txt                              cache, by content of the files
    manifest.json                           what all this was made from

Only training portraits enter the shape mask and p(A).  A second run over
unchanged files does nothing.  A run that was interrupted at any moment, by
`kill -9` too, goes on from there when the same command is given again, and ends
with the same content.

**Passes.** The survey reads every photo and matte, finds the faces and counts
the alphas; the mattes are read again to be averaged, and both files again to
make their records.  Nothing that is larger than one portrait stays in memory.
Workers do the work on portraits; this process writes, in order.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.alpha_distribution import (
    alpha_distribution,
    foreground_share,
    fractional_share,
    plot_alpha_distribution,
    save_alpha_distribution,
)
from data_prep.assets import ASSETS, fetch, sha256_of
from data_prep.augmentation import (
    AUGMENTATIONS,
    ORIGINAL,
    Augmentation,
    parse_augmentations,
)
from data_prep.caffe_lmdb import (
    AlignedWriter,
    estimate_bytes,
    is_complete,
    scratch_path,
    shuffled_keys,
)
from data_prep.dataset import FRAME, Dataset, DatasetError, Portrait
from data_prep.errors import InputError, run_program
from data_prep.images import atomic_write, read_photo, remove_leftovers, write_image
from data_prep.parallel import OrderedMap, available_workers, open_workers
from data_prep.records import PARTS, Face, MatteAligner, RecordEncoder
from data_prep.resume import module_digests
from data_prep.shape_mask import (
    ShapeMask,
    average_mattes,
    draw_alignments,
    fit_alignment,
)
from data_prep.survey import SurveyCache, survey_portraits

PICTURED = 12  # alignments in shape_mask.png
SAMPLED = 3  # portraits encoded for the estimate of the size

SPLITS = ("train", "test")

# Modules that the products depend on.
CODE = (
    "alpha_distribution.py",
    "augmentation.py",
    "caffe_lmdb.py",
    "dataset.py",
    "images.py",
    "landmarks.py",
    "prepare.py",
    "records.py",
    "shape_mask.py",
    "survey.py",
)


def describe_sources(
    dataset: Dataset, augmentations: Sequence[Augmentation], seed: int
) -> dict:
    """What the outputs depend on: options, lists, file contents, code, model."""
    return {
        "seed": seed,
        "augmentations": [asdict(augmentation) for augmentation in augmentations],
        "train": [portrait.stem for portrait in dataset.train],
        "test": [portrait.stem for portrait in dataset.test],
        "files": {
            path.relative_to(dataset.folder).as_posix(): sha256_of(path)
            for portrait in tqdm(dataset.portraits, "checksums", leave=False)
            for path in (portrait.photo, portrait.matte)
        },
        "code": dict(zip(CODE, module_digests(CODE), strict=True)),
        "landmark_model": ASSETS["landmark-model"].sha256,
    }


def database_paths(out: Path, split: str) -> list[Path]:
    """The databases of one split, in the order of `PARTS`."""
    return [out / f"{split}_{part}" for part in PARTS]


def product_files(out: Path) -> list[Path]:
    """Every product that is a file, except manifest and cache."""
    names = [f"{split}_records.txt" for split in SPLITS]
    names += ["p_alpha.txt", "p_alpha.png", "shape_mask.npz", "shape_mask.png"]
    return [out / name for name in names]


def _sizes(out: Path) -> dict[str, int] | None:
    """Bytes of `product_files`; None while one is missing."""
    paths = product_files(out)
    if not all(path.is_file() for path in paths):
        return None
    return {path.name: path.stat().st_size for path in paths}


def _databases_built_from(out: Path, sources: dict) -> dict:
    """What the databases say inside that they were built from."""
    return {"sources": sources, "shape_mask": sha256_of(out / "shape_mask.npz")}


def is_current(out: Path, sources: dict) -> bool:
    """Whether `out` was made from exactly these sources and is complete."""
    try:
        manifest = json.loads((out / "manifest.json").read_text())
    except (OSError, ValueError):
        return False
    sizes = _sizes(out)
    if sizes is None or manifest.get("sources") != sources or manifest["products"] != sizes:
        return False
    built_from = _databases_built_from(out, sources)
    paths = [path for split in SPLITS for path in database_paths(out, split)]
    return all(is_complete(path, built_from) for path in paths)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, until the block or the process ends.

    Raises
    ------
    InputError
        If another run is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another run is at work in {folder}; wait until it ends."
            ) from None
        yield
    finally:
        os.close(descriptor)


def check_space(out: Path, needed: int) -> None:
    """Refuse to fill the disk.

    Raises
    ------
    InputError
        If less than `needed` bytes are free where `out` lies.
    """
    free = shutil.disk_usage(out).free
    if needed > free:
        raise InputError(
            f"{out} takes {needed / 1e9:.2f} GB more and has {free / 1e9:.2f} GB free; "
            "free some space or choose another --out."
        )


def announce_size(
    out: Path,
    counts: dict[str, int],
    portraits: Sequence[Face],
    encode: RecordEncoder,
    built_from: dict,
    ordered_map: OrderedMap,
) -> None:
    """Estimate the databases from a few portraits; print it and check the disk.

    Parameters
    ----------
    out : Path
    counts : dict of str to int
        Records of each split.
    portraits : sequence of Face
    encode : RecordEncoder
    built_from : dict
        Databases made from it are there already, and take nothing more.
    ordered_map : callable

    Raises
    ------
    InputError
        If they do not fit on the disk.
    """
    spread = np.linspace(0, len(portraits) - 1, min(SAMPLED, len(portraits)))
    chosen = [portraits[round(i)] for i in spread]
    samples = [record for records in ordered_map(encode, chosen) for record in records]
    total = needed = 0
    for split, count in counts.items():
        for path, images in zip(database_paths(out, split), zip(*samples), strict=True):
            size = estimate_bytes(images, count)
            total += size
            if not is_complete(path, built_from):
                unfinished = scratch_path(path) / "data.mdb"
                needed += size - (unfinished.stat().st_size if unfinished.is_file() else 0)
    records = " + ".join(f"{count:,} {split}" for split, count in counts.items())
    print(f"{out}: {records} records, about {total / 1e9:.2f} GB.")
    check_space(out, needed)


def write_split(
    out: Path,
    split: str,
    portraits: Sequence[Face],
    encode: RecordEncoder,
    built_from: dict,
    seed: int,
    ordered_map: OrderedMap,
) -> None:
    """Write the three aligned LMDBs of one split, and the list of their keys.

    Raises
    ------
    InputError
        If the disk is full.
    """
    versions = [augmentation.name for augmentation in encode.augmentations]
    keys = shuffled_keys(len(portraits) * len(versions), seed)
    with AlignedWriter(database_paths(out, split), built_from, keys) as writer:
        done = writer.stored // len(versions)
        writer.rewind(done * len(versions))
        progress = tqdm(
            total=len(keys), initial=done * len(versions), desc=f"{split} LMDB", unit="record"
        )
        with progress:
            for records in ordered_map(encode, portraits[done:]):
                for record in records:
                    writer.put(record)
                progress.update(len(records))
    names = [f"{portrait.stem} {name}" for portrait, _ in portraits for name in versions]
    lines = sorted(f"{key} {name}\n" for key, name in zip(keys, names, strict=True))
    with atomic_write(out / f"{split}_records.txt") as scratch:
        scratch.write_text("".join(lines))


def make_shape_mask(
    faces: Sequence[Face], centers: Sequence[np.ndarray], ordered_map: OrderedMap
) -> ShapeMask:
    """Shape mask of the training portraits that show a face (eq. 2).

    Parameters
    ----------
    faces : sequence of Face
    centers : sequence of (2,) ndarray
        `center_of_gravity` of their mattes.
    ordered_map : callable

    Raises
    ------
    InputError
        If there is none.
    """
    template, neck = fit_alignment([points for _, points in faces], centers, FRAME)
    aligned = ordered_map(MatteAligner(template, neck), faces)
    progress = tqdm(aligned, "shape mask", len(faces), unit="portrait", leave=False)
    return ShapeMask(average_mattes(progress), template, neck)


def picture_shape_mask(
    shape_mask: ShapeMask, faces: Sequence[Face], seed: int
) -> np.ndarray:
    """Mean mask beside random portraits with their warped masks, (H, W, 3) uint8."""
    chosen = np.random.default_rng(seed).permutation(len(faces))[:PICTURED]
    return draw_alignments(
        shape_mask,
        [(read_photo(faces[i][0].photo), faces[i][1]) for i in chosen],
    )


def prepare(
    dataset_folder: Path,
    out: Path,
    seed: int,
    augmentations: Sequence[Augmentation] = AUGMENTATIONS,
    workers: int = 1,
    scheduler: str | None = None,
) -> bool:
    """Make everything in `out` from a dataset, unless it is there already.

    Parameters
    ----------
    dataset_folder, out : Path
    seed : int
        Of the split (where the dataset has no lists), the order of the records
        and the choice of pictured portraits.
    augmentations : sequence of Augmentation
        Versions of each training portrait.
    workers, scheduler
        As `open_workers` takes them; they change no product.

    Returns
    -------
    bool
        False where everything was there already.

    Raises
    ------
    InputError
        If the dataset has problems, no training portrait shows a face, the disk
        is too small, or something cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder.")
    if scheduler is not None:  # its workers may run in another folder
        dataset_folder = dataset_folder.absolute()
    dataset = Dataset.open(dataset_folder, seed)
    sources = describe_sources(dataset, augmentations, seed)
    if is_current(out, sources):
        return False
    with locked(out), open_workers(workers, scheduler) as ordered_map:
        _make_products(dataset, out, sources, augmentations, seed, ordered_map)
    return True


def _make_products(
    dataset: Dataset,
    out: Path,
    sources: dict,
    augmentations: Sequence[Augmentation],
    seed: int,
    ordered_map: OrderedMap,
) -> None:
    fetch("landmark-model")  # once, before all workers want it
    names = [p.relative_to(dataset.folder).as_posix() for p in _files(dataset.portraits)]
    digests = [sources["files"][name] for name in names]
    keys = ["-".join(pair) for pair in zip(digests[::2], digests[1::2], strict=True)]
    for path in (out / "manifest.json", *product_files(out)):
        remove_leftovers(path)
    cache = SurveyCache(out / "survey.txt")
    surveys, problems = survey_portraits(dataset.portraits, keys, cache, ordered_map)
    if problems:
        raise DatasetError(dataset.folder, problems)

    # Without its manifest a folder counts as unfinished, whatever happens next.
    (out / "manifest.json").unlink(missing_ok=True)
    faces = [
        (portrait, survey.landmarks)
        for portrait, survey in zip(dataset.portraits, surveys, strict=True)
    ]
    faceless = [portrait.stem for portrait, landmarks in faces if landmarks is None]
    if faceless:
        print(f"No face found, shape mask neutral: {', '.join(faceless)}")
    portraits = {"train": faces[: len(dataset.train)], "test": faces[len(dataset.train) :]}
    train = surveys[: len(dataset.train)]

    distribution = alpha_distribution(survey.alpha_counts for survey in train)
    save_alpha_distribution(out / "p_alpha.txt", distribution)
    plot_alpha_distribution(out / "p_alpha.png", distribution)

    shape_mask = make_shape_mask(
        [face for face in portraits["train"] if face[1] is not None],
        [survey.center for survey in train if survey.landmarks is not None],
        ordered_map,
    )
    shape_mask.save(out / "shape_mask.npz")
    shown = [face for face in faces if face[1] is not None]
    write_image(out / "shape_mask.png", picture_shape_mask(shape_mask, shown, seed))

    built_from = _databases_built_from(out, sources)
    encoders = {
        "train": RecordEncoder(shape_mask, augmentations),
        "test": RecordEncoder(shape_mask, (ORIGINAL,)),
    }
    counts = {
        split: len(portraits[split]) * len(encoders[split].augmentations) for split in SPLITS
    }
    announce_size(out, counts, portraits["train"], encoders["train"], built_from, ordered_map)
    for split in SPLITS:
        write_split(
            out, split, portraits[split], encoders[split], built_from, seed, ordered_map
        )

    manifest = {
        "sources": sources,
        "products": _sizes(out),
        "records": counts,
        "without_face": faceless,
        "fractional_share": fractional_share(distribution),
        "foreground_share": foreground_share(distribution),
    }
    with atomic_write(out / "manifest.json") as scratch:
        scratch.write_text(json.dumps(manifest, indent=1))


def _files(portraits: Sequence[Portrait]) -> list[Path]:
    """Photo, matte, photo, matte, ..."""
    return [path for portrait in portraits for path in (portrait.photo, portrait.matte)]


def main(argv: list[str] | None = None) -> int:
    """Prepare a dataset and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=Path, default=Path("data/sample"))
    parser.add_argument("--out", type=Path, default=Path("data/prepared"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--augment",
        default="all",
        metavar="NAMES",
        help="versions of each training portrait besides the original: all (12), "
        "none, or names as in rotate-45,scale0.8,gamma1.2",
    )
    parser.add_argument("--workers", type=int, default=available_workers(), metavar="N")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, which then does the work of the workers",
    )
    options = parser.parse_args(argv)
    if options.seed < 0:
        raise InputError(f"--seed {options.seed} is negative; give 0 or more.")
    augmentations = parse_augmentations(options.augment)
    made = prepare(
        options.dataset, options.out, options.seed, augmentations,
        options.workers, options.scheduler,
    )  # fmt: skip
    if not made:
        print(f"{options.out} is up to date with {options.dataset}.")
        return 0
    manifest = json.loads((options.out / "manifest.json").read_text())
    train, test = (len(manifest["sources"][split]) for split in SPLITS)
    print(
        f"{options.out}: {train} training portraits x {len(augmentations)} versions, "
        f"{test} test portraits; {manifest['fractional_share']:.1%} of the pixels "
        f"fractional, {manifest['foreground_share']:.1%} foreground."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
