"""Making a folder of databases, shape mask and p(alpha) from a dataset.

The library of `data_prep.prepare`, which says what lies in the folder.

**Passes.** The survey reads every photo and matte, finds the faces and counts
the alphas; the mattes are read again to be averaged, and both files again to
make their records.  Nothing that is larger than one portrait stays in memory.
Workers do the work on portraits; this process writes, in order.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.caffe_data.alignment import fit_alignment
from data_prep.caffe_data.alpha_distribution import (
    alpha_distribution,
    draw_alpha_distribution,
    foreground_share,
    fractional_share,
    save_alpha_distribution,
)
from data_prep.caffe_data.augmentation import (
    AUGMENTATIONS,
    ORIGINAL,
    Augmentation,
)
from data_prep.caffe_data.caffe_lmdb import is_complete
from data_prep.caffe_data.databases import (
    SPLITS,
    announce_size,
    database_paths,
    list_records,
    open_split,
    write_records,
)
from data_prep.caffe_data.records import Face, MatteAligner, RecordEncoder
from data_prep.caffe_data.shape_mask import ShapeMask, average_mattes, draw_alignments
from data_prep.caffe_data.sources import describe_sources, in_noted_form
from data_prep.caffe_data.survey import Survey, SurveyCache, survey_portraits
from data_prep.common.assets import fetch
from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write, remove_leftovers, require_folder
from data_prep.common.images import read_photo, write_image
from data_prep.common.parallel import OrderedMap, open_workers
from data_prep.datasets.dataset import FRAME, Dataset, DatasetError
from data_prep.datasets.duplicates import duplicate_problems, equal_photos
from data_prep.datasets.notes import notes_on_mattes

logger = logging.getLogger(__name__)

GROUP = 8  # mattes that one worker adds up
PICTURED = 12  # alignments in shape_mask.png


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
            raise InputError(f"Another run is at work in {folder}; wait until it ends.") from None
        yield
    finally:
        os.close(descriptor)


def make_shape_mask(
    faces: Sequence[Face], centers: Sequence[np.ndarray], ordered_map: OrderedMap
) -> ShapeMask:
    """Shape mask of the training portraits that show a face (eq. 2).

    Parameters
    ----------
    faces : sequence of Face
    centers : sequence of (2,) ndarray
        `center_of_gravity` of their mattes.
    ordered_map : OrderedMap

    Raises
    ------
    InputError
        If there is none.
    """
    template, neck = fit_alignment([points for _, points in faces], centers, FRAME)
    groups = [faces[i : i + GROUP] for i in range(0, len(faces), GROUP)]
    sums = ordered_map(MatteAligner(template, neck), groups)
    progress = tqdm(sums, "shape mask", len(groups), unit="group", leave=False)
    return ShapeMask(average_mattes(progress), template, neck)


def shuffled(portraits: Sequence[Face], seed: int) -> list[Face]:
    """The portraits in a random order that the seed decides."""
    order = np.random.default_rng(seed).permutation(len(portraits))
    return [portraits[i] for i in order]


def picture_shape_mask(shape_mask: ShapeMask, faces: Sequence[Face]) -> np.ndarray:
    """Mean mask beside portraits with their warped masks, (H, W, 3) uint8."""
    return draw_alignments(
        shape_mask,
        [(read_photo(portrait.photo), landmarks) for portrait, landmarks in faces],
    )


def prepare(
    dataset_folder: Path,
    out: Path,
    seed: int,
    augmentations: Sequence[Augmentation] = AUGMENTATIONS,
    workers: int = 1,
    scheduler: str | None = None,
    vary: bool = False,
) -> bool:
    """Make everything in `out` from a dataset, unless it is there already.

    Parameters
    ----------
    dataset_folder, out : Path
    seed : int
        Seed of the split (where the dataset has no lists), the order of the records
        and the choice of pictured portraits.
    augmentations : sequence of Augmentation
        Versions of each training portrait.
    workers, scheduler
        As `open_workers` takes them; they change no product.
    vary : bool
        Whether each version is changed once more (`data_prep.caffe_data.variation`).

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
    require_folder(out)
    if scheduler is not None:  # its workers may run in another folder
        dataset_folder = dataset_folder.absolute()
    dataset = Dataset.open(dataset_folder, seed)
    for note in dataset.notes:
        logger.info("%s", note)
    sources = in_noted_form(out, describe_sources(dataset, augmentations, vary, seed))
    if is_current(out, sources):
        return False
    with locked(out), open_workers(workers, scheduler) as ordered_map:
        _make_products(dataset, out, sources, augmentations, vary, seed, ordered_map)
    return True


def _survey_all(
    dataset: Dataset, files: dict[str, str], out: Path, ordered_map: OrderedMap
) -> list[Survey]:
    """Surveys of all portraits, those known by the content of their files from the cache.

    Raises
    ------
    DatasetError
        If files have problems; it lists them all.
    """
    fetch("landmark-model")  # once, before all workers want it
    keys = [
        "-".join(
            files[path.relative_to(dataset.folder).as_posix()]
            for path in (portrait.photo, portrait.matte)
        )
        for portrait in dataset.portraits
    ]
    cache = SurveyCache(out / "survey.txt")
    surveys, problems = survey_portraits(dataset.portraits, keys, cache, ordered_map)
    if not problems:
        faces = zip(dataset.portraits, surveys, strict=True)
        landmarks = {portrait.photo: survey.landmarks for portrait, survey in faces}
        groups = equal_photos(landmarks, dataset.side_of)
        problems = duplicate_problems(groups, dataset.side_of)
    if problems:
        raise DatasetError(dataset.folder, problems)
    return surveys


def _make_products(
    dataset: Dataset,
    out: Path,
    sources: dict,
    augmentations: Sequence[Augmentation],
    vary: bool,
    seed: int,
    ordered_map: OrderedMap,
) -> None:
    for path in (out / "manifest.json", *product_files(out)):
        remove_leftovers(path)
    surveys = _survey_all(dataset, sources["files"], out, ordered_map)
    # Without its manifest a folder counts as unfinished, whatever happens next.
    (out / "manifest.json").unlink(missing_ok=True)
    faces = [
        (portrait, survey.landmarks)
        for portrait, survey in zip(dataset.portraits, surveys, strict=True)
    ]
    faceless = [portrait.stem for portrait, landmarks in faces if landmarks is None]
    if faceless:
        logger.info(
            "No face in %d of %d portraits, their shape mask is neutral: %s",
            len(faceless),
            len(faces),
            ", ".join(faceless),
        )
    split_faces = {"train": faces[: len(dataset.train)], "test": faces[len(dataset.train) :]}
    train = surveys[: len(dataset.train)]
    mattes = [portrait.matte for portrait in dataset.train]
    for note in notes_on_mattes(mattes, [survey.alpha_counts for survey in train]):
        logger.info("%s", note)

    distribution = alpha_distribution(survey.alpha_counts for survey in train)
    save_alpha_distribution(out / "p_alpha.txt", distribution)
    plot = ordered_map(draw_alpha_distribution, [distribution])
    shape_mask = make_shape_mask(
        [face for face in split_faces["train"] if face[1] is not None],
        [survey.center for survey in train if survey.landmarks is not None],
        ordered_map,
    )
    shape_mask.save(out / "shape_mask.npz")
    shown = shuffled([face for face in faces if face[1] is not None], seed)[:PICTURED]
    alignments = ordered_map(partial(picture_shape_mask, shape_mask), [shown])

    built_from = _databases_built_from(out, sources)
    encoders = {
        "train": RecordEncoder(shape_mask, augmentations, vary),
        "test": RecordEncoder(shape_mask, (ORIGINAL,)),
    }
    with ExitStack() as stack:
        splits = []
        for name, encode in encoders.items():
            # In random order: from the first ones the size of all is estimated.
            portraits = shuffled(split_faces[name], seed)
            opened = open_split(out, name, portraits, encode, built_from, seed, ordered_map)
            splits.append(stack.enter_context(opened))
        announce_size(out, splits)
        write_image(out / "p_alpha.png", next(plot))
        write_image(out / "shape_mask.png", next(alignments))
        for split in splits:
            write_records(split)
            list_records(out, split)
    manifest = {
        "sources": sources,
        "products": _sizes(out),
        "records": {split.name: len(split.names) for split in splits},
        "without_face": faceless,
        "fractional_share": fractional_share(distribution),
        "foreground_share": foreground_share(distribution),
    }
    with atomic_write(out / "manifest.json") as scratch:
        scratch.write_text(json.dumps(manifest, indent=1))
