"""Composites of a rendered set: which there are, how one is drawn, what is written."""

from __future__ import annotations

import functools
import os
import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.images import read_photo, write_image
from data_prep.common.versions import recipe_of
from data_prep.composites.composition import CompositionChoice, compose
from data_prep.datasets.dataset import FRAME, Portrait
from data_prep.datasets.foregrounds import read_foreground_pixels
from data_prep.datasets.resume import Outcome, is_done, problem_of

#: Version of the composites: raise it when they change (`data_prep.common.versions`).
COMPOSITE_VERSION = 1
LEAST_MATTE = 0.02  # of the frame: less of a person than this is drawn again
MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class Task:
    """One composite to make.

    Attributes
    ----------
    stem : str
        Stem of the composite.
    foreground : Path
        Foreground of the person.
    others : sequence of Path
        Foregrounds of whom a second person may be drawn.
    photographs : sequence of Path
    seed : int
    variant : int
        Which of the person's composites.
    out : Path
    known : dict or None
        Record of an earlier run.
    """

    stem: str
    foreground: Path
    others: Sequence[Path]
    photographs: Sequence[Path]
    seed: int
    variant: int
    out: Path
    known: dict | None


_digest = functools.cache(sha256_of)
_photograph = functools.lru_cache(maxsize=6)(read_photo)


def _foreground(path: Path) -> np.ndarray:
    """Colors and matte of a rendered person, (H, W, 4) uint8, BGR."""
    pixels = read_foreground_pixels(path)
    return (pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def draw_composite(task: Task) -> tuple[np.ndarray, np.ndarray, CompositionChoice]:
    """Photo, matte and choice of a task: the first draw that shows enough of a person."""
    for attempt in range(MOST_ATTEMPTS):
        number = zlib.crc32(task.foreground.stem.encode())
        rng = np.random.default_rng([task.seed, number, task.variant, attempt])
        choice = CompositionChoice.draw(rng, len(task.photographs))
        people = [task.foreground, *rng.choice(np.array(task.others), len(choice.placements) - 1)]
        pictures = [choice.background, *([choice.occluder] if choice.occluder else [])]
        photo, matte = compose(
            [_foreground(person) for person in reversed(people)],
            [_photograph(task.photographs[each.photograph]) for each in pictures],
            choice,
            FRAME,
        )
        if matte.mean() >= 255 * LEAST_MATTE:
            return photo, matte, choice
    raise InputError(f"{task.foreground} shows too little of a person; render the set again.")


def make_composite(task: Task) -> Outcome:
    """Make one composite, unless that has been done."""
    try:
        key = content_key(
            recipe_of("composites", COMPOSITE_VERSION),
            task.seed,
            task.variant,
            _digest(task.foreground),
            [_digest(path) for path in (*task.others, *task.photographs)],
        )
        if is_done(task.known, key, task.out):
            return Outcome(task.known)
        start = time.monotonic()
        photo, matte, choice = draw_composite(task)
    except (InputError, OSError) as error:
        files = (*task.photographs, *task.others, task.foreground)
        return Outcome(problem=problem_of(error, files))
    names = [f"images/{task.stem}.jpg", f"mattes/{task.stem}.png"]
    write_image(task.out / names[0], photo)
    write_image(task.out / names[1], matte)
    record = {
        "stem": task.stem,
        "key": key,
        "person": task.foreground.stem,
        "choice": asdict(choice),
        "files": {name: sha256_of(task.out / name) for name in names},
        "seconds": round(time.monotonic() - start, 3),
    }
    return Outcome(record, new=True)


def tasks_of(
    source: Path,
    people: Sequence[Portrait],
    photographs: Sequence[Path],
    out: Path,
    seed: int,
    per_person: int,
    known: dict[str, dict],
) -> list[Task]:
    """All composites of the people of one side of the split.

    Parameters
    ----------
    source, out : Path
        Folders of the rendered set and of the composites.
    people : sequence of Portrait
        Those without a foreground of their own, as further backgrounds have none, get no
        composites.
    photographs : sequence of Path
    seed, per_person : int
    known : dict of str to dict
        Records of earlier runs, by stem.
    """
    found = [source / "foregrounds" / f"{portrait.stem}.png" for portrait in people]
    foregrounds = [path for path in found if path.is_file()]
    tasks = []
    for number, foreground in enumerate(foregrounds):
        # A few to choose from are enough, and all would have to be told apart in each key.
        others = [foregrounds[(number + step) % len(foregrounds)] for step in (1, 2, 3)]
        for variant in range(per_person):
            stem = f"{foreground.stem}_w{variant}"
            tasks.append(
                Task(
                    stem,
                    foreground,
                    others,
                    photographs,
                    seed,
                    variant,
                    out,
                    known.get(stem),
                )
            )
    return tasks


def link_portraits(portraits: Sequence[Portrait], out: Path) -> dict[str, str]:
    """Put photos and mattes of a set into a folder, as links where that can be; digests."""
    digests = {}
    for portrait in portraits:
        for path, part in ((portrait.photo, "images"), (portrait.matte, "mattes")):
            name = f"{part}/{portrait.stem}{path.suffix}"
            target = out / name
            if not target.is_file() or not target.samefile(path):
                with atomic_write(target) as scratch:
                    try:
                        os.link(path, scratch)
                    except OSError:  # another disk
                        shutil.copyfile(path, scratch)
            digests[name] = sha256_of(path)
    return digests
