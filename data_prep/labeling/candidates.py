"""Mattes of all photos by both methods, and the page to choose from; a run goes on after a kill."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from caffe_layers.linear_solver import SolveError
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write, copy_file
from data_prep.common.images import read_photo, write_image
from data_prep.common.versions import recipe_of
from data_prep.datasets.dataset import PHOTO_SUFFIXES
from data_prep.datasets.layouts import pair_folders
from data_prep.datasets.manifest import Problem
from data_prep.datasets.resume import Journal, Outcome, is_done, problem_of, run_resumable
from data_prep.labeling.mattes import METHODS, make_matte
from data_prep.labeling.page import PAGE, page_data, render_page
from data_prep.labeling.previews import composite, fit_background, gradient_background
from data_prep.labeling.trimaps import read_trimap

#: Version of the candidates' mattes and pictures: raise it when they change
#: (`data_prep.common.versions`).
LABELED_MATTES_VERSION = 1

CANDIDATES = "candidates"
INDEX = "candidates.json"


@dataclass(frozen=True)
class Task:
    """One photo and trimap.

    Attributes
    ----------
    stem : str
    photo, trimap : Path
    background : Path or None
        None: `gradient_background`.
    folder : Path
        Folder of the candidates.
    recipe : str
        Stands for the code, the method and the background.
    known : dict or None
        The record of an earlier run.
    """

    stem: str
    photo: Path
    trimap: Path
    background: Path | None
    folder: Path
    recipe: str
    known: dict | None


def make_candidates(task: Task) -> Outcome:
    """Both mattes of a photo and their composites, unless that has been done.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    try:
        inputs = {"photo": sha256_of(task.photo), "trimap": sha256_of(task.trimap)}
        key = content_key(task.recipe, inputs)
        if is_done(task.known, key, task.folder):
            return Outcome(task.known)
        photo, trimap = read_photo(task.photo), read_trimap(task.trimap)
        if photo.shape[:2] != trimap.shape:
            raise InputError(
                f"{task.trimap} is {trimap.shape[1]}x{trimap.shape[0]} pixels, its photo "
                f"{photo.shape[1]}x{photo.shape[0]}; give both the same size"
            )
        mattes = {method: make_matte(method, photo, trimap) for method in METHODS}
    except (InputError, OSError) as error:
        return Outcome(problem=problem_of(error, (task.trimap, task.photo)))
    except (SolveError, ValueError) as error:  # ValueError: KNN did not converge
        reason = f"its matte could not be solved ({error}); label more pixels"
        return Outcome(problem=Problem(task.trimap, reason))
    frame = photo.shape[:2]
    if task.background is None:
        background = gradient_background(frame)
    else:
        background = fit_background(read_photo(task.background), frame)
    suffix = task.photo.suffix.lower()
    names = {"photo": f"photos/{task.stem}{suffix if suffix in PHOTO_SUFFIXES else '.png'}"}
    previews = {"photo": f"previews/{task.stem}.photo.jpg"}
    if suffix in PHOTO_SUFFIXES:
        copy_file(task.photo, task.folder / names["photo"])
    else:
        write_image(task.folder / names["photo"], photo)
    write_image(task.folder / previews["photo"], photo)
    for method, matte in mattes.items():
        names[method] = f"{method}/{task.stem}.png"
        previews[method] = f"previews/{task.stem}.{method}.jpg"
        write_image(task.folder / names[method], matte)
        write_image(task.folder / previews[method], composite(photo, matte, background))
    written = [*names.values(), *previews.values()]
    record = {
        "stem": task.stem,
        "key": key,
        "inputs": inputs,
        "names": names,
        "previews": previews,
        "files": {name: sha256_of(task.folder / name) for name in written},
    }
    return Outcome(record, new=True)


def read_index(folder: Path) -> dict | None:
    """Records and rejected files of an earlier run; None where there was none."""
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def prepare_choice(
    images: Path, trimaps: Path, out: Path, background: Path | None = None, workers: int = 1
) -> tuple[dict, int]:
    """Make all candidates and the page.

    Parameters
    ----------
    images, trimaps : Path
        Folders, paired by stem.
    out : Path
    background : Path, optional
        Image to lay the people over.
    workers : int
        Processes.

    Returns
    -------
    index : dict
        `records` and `rejected`, as written to ``candidates/candidates.json``.
    new : int
        How many portraits were not found done.

    Raises
    ------
    InputError
        If a folder is missing or `out` cannot be written.
    """
    for folder in (images, trimaps):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give photos, then trimaps.")
    folder = out / CANDIDATES
    for given in (images, trimaps, background):
        if given is not None and folder.resolve() in (given.resolve(), *given.resolve().parents):
            raise InputError(f"{given} lies in {folder}, which is written; choose another --out.")
    recipe = recipe_of("labeled mattes", LABELED_MATTES_VERSION)
    if background is not None:
        read_photo(background)  # so that a bad one is reported now
        recipe = content_key(recipe, sha256_of(background))
    journal = Journal(folder)
    known = {
        record["stem"]: record
        for record in [*(read_index(folder) or {"records": []})["records"], *journal.read()]
    }
    listing = pair_folders(images, trimaps, partner="trimap")
    tasks = [
        Task(p.stem, p.photo, p.matte, background, folder, recipe, known.get(p.stem))
        for p in listing.pairs
    ]
    records, problems, new = run_resumable(
        make_candidates, tasks, journal, known.values(), workers, "mattes"
    )
    rejected = [
        {"file": f"{problem.file.parent.name}/{problem.file.name}", "reason": problem.reason}
        for problem in listing.problems + problems
    ]
    index = {"records": records, "rejected": rejected}
    with atomic_write(folder / INDEX) as scratch:
        scratch.write_text(json.dumps(index, indent=1), encoding="utf-8")
    with atomic_write(out / PAGE) as scratch:
        scratch.write_text(render_page(page_data(records, folder)), encoding="utf-8")
    journal.close()
    return index, new
