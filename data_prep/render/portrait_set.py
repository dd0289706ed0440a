"""A set of rendered portraits: its photos, its lists, its manifest."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data_prep.common.digests import content_key
from data_prep.common.errors import InputError
from data_prep.common.files import remove_leftovers
from data_prep.common.parallel import available_workers
from data_prep.common.versions import recipe_of
from data_prep.datasets.contact_sheet import write_contact_sheet
from data_prep.datasets.dataset import split_stems, write_lists
from data_prep.datasets.manifest import DatasetManifest, Problem
from data_prep.datasets.resume import Journal, Outcome, is_done, known_records, run_resumable
from data_prep.render import RENDER_VERSION
from data_prep.render.base.assets import body_data_dir
from data_prep.render.base.randomness import generator
from data_prep.render.people.body import BaseMesh, read_base_mesh
from data_prep.render.people.landmarks import landmark_points
from data_prep.render.shot.background import choose_background
from data_prep.render.shot.compositing import choose_development
from data_prep.render.shot.photo import (
    develop,
    file_digests,
    read_foreground,
    read_meta,
    take_photo,
    write_foreground,
    write_photo,
)
from data_prep.render.shot.portrait import PortraitChoice, choose_portrait
from data_prep.render.shot.quality import Quality
from data_prep.render.shot.staging import stage

SHEET = "sheet.jpg"
# Gestures that show beside the person; at chin and collar the hand is in front of it.
BESIDE = frozenset({"cheek", "hair", "raised"})
# Settings that decide no picture, but who is on which side.
SPLIT = ("test_every", "validation_every")


@dataclass(frozen=True)
class Settings:
    """What a set is made with, besides how many portraits.

    Attributes
    ----------
    seed, per_person : int
    quality : Quality
    suffix : str
        Suffix of the photos: ".jpg" or ".png".
    bits : int
        Bits of mattes and foregrounds, 8 or 16.
    test_every : int or None
        Every N-th person is a test person; None: a random share is.
    validation_every : int or None
        Every N-th person is a validation person, before test people are
        counted off; None: nobody is.
    """

    seed: int
    per_person: int
    quality: Quality
    suffix: str
    bits: int
    test_every: int | None = None
    validation_every: int | None = None

    def of_pictures(self) -> dict:
        """Those that decide a picture."""
        return {name: value for name, value in asdict(self).items() if name not in SPLIT}

    def of_split(self) -> dict:
        """Those that decide who is on which side, unless they are None."""
        split = {name: getattr(self, name) for name in SPLIT}
        return {name: value for name, value in split.items() if value is not None}


@dataclass(frozen=True)
class Task:
    """One photo to make.

    Attributes
    ----------
    number : int
        Number of the portrait.
    variant : int
        0 to render it; of the further background, from 1.
    settings : Settings
    threads : int
    out : Path
    recipe : str
        Stands for the code.
    known : dict or None
        Record of the same photo by an earlier run.
    """

    number: int
    variant: int
    settings: Settings
    threads: int
    out: Path
    recipe: str
    known: dict | None

    @property
    def stem(self) -> str:
        """Name of the files."""
        name = f"p{self.settings.seed:02d}_{self.number:05d}"
        return f"{name}_b{self.variant}" if self.variant else name


@functools.cache
def _body() -> BaseMesh:
    """The process's own: reading it takes a second."""
    return read_base_mesh(body_data_dir())


def _meta(choice: PortraitChoice, task: Task, **more) -> dict:
    """What is written beside a photo: all of its parameters."""
    return {
        "stem": task.stem,
        "settings": task.settings.of_pictures(),
        "choice": asdict(choice),
        **more,
    }


def render_portrait(task: Task) -> list[str]:
    """Render a portrait and write its files; their names in the folder."""
    # Blender is loaded where it renders, not where workers are only counted.
    from data_prep.render.shot.scene import render_foreground

    settings = task.settings
    choice = choose_portrait(settings.seed, task.number, settings.per_person)
    staging = stage(_body(), choice)
    shape = settings.quality.shape
    rendered = render_foreground(choice, staging, settings.quality, task.threads)
    foreground = develop(
        rendered.color,
        rendered.matte,
        staging.face_circle(shape),
        choice.person.skin_tone,
        choice.development,
        settings.bits,
    )
    photo = take_photo(foreground, choice.background, choice.development, _body())
    name = f"foregrounds/{task.stem}.png"
    write_foreground(task.out / name, foreground)
    landmarks = staging.project(landmark_points(staging.subject, staging.camera), shape)
    meta = _meta(choice, task, landmarks=landmarks.round(2).tolist())
    names = write_photo(task.out, task.stem, photo, foreground.matte, meta, settings.suffix)
    return [name, *names]


def recomposite(task: Task) -> list[str]:
    """Put a rendered foreground before another background; names of the files."""
    settings = task.settings
    base = replace(task, variant=0).stem
    foreground = read_foreground(task.out / "foregrounds" / f"{base}.png")
    choice = choose_portrait(settings.seed, task.number, settings.per_person)

    def stream(concern: str):
        return generator(settings.seed, task.number, f"{concern} of variant {task.variant}")

    # What the foreground was developed with stays; the camera's noise does not.
    fresh = choose_development(stream("development"))
    development = replace(
        choice.development,
        noise=fresh.noise,
        grain=fresh.grain,
        jpeg_quality=fresh.jpeg_quality,
        noise_seed=fresh.noise_seed,
    )
    choice = replace(
        choice,
        background=choose_background(stream("background"), choice.light),
        development=development,
    )
    photo = take_photo(foreground, choice.background, development, _body())
    known = read_meta(task.out, base)
    more = {key: known[key] for key in known.keys() - {"stem", "settings", "choice"}}
    meta = _meta(choice, task, foreground=base, **more)
    return write_photo(task.out, task.stem, photo, foreground.matte, meta, settings.suffix)


def make_photo(task: Task) -> Outcome:
    """Make one photo, unless that has been done.

    Whatever goes wrong in a render is reported for that portrait, and stops no other;
    a full disk stops everything.
    """
    key = content_key(task.recipe, task.settings.of_pictures(), task.number, task.variant)
    if is_done(task.known, key, task.out):
        return Outcome(task.known)
    for folder in ("images", "mattes", "foregrounds", "meta"):
        for path in (task.out / folder).glob(f".{task.stem}.*"):
            remove_leftovers(path.with_name(task.stem + path.suffix))
    start = time.monotonic()
    try:
        names = recomposite(task) if task.variant else render_portrait(task)
    except InputError:
        raise
    except Exception as error:  # see above
        reason = f"{type(error).__name__}: {error}"
        return Outcome(problem=Problem(task.out / f"images/{task.stem}", reason))
    record = {
        "stem": task.stem,
        "key": key,
        "number": task.number,
        "person": task.number // task.settings.per_person,
        "variant": task.variant,
        "files": file_digests(task.out, names),
        "seconds": round(time.monotonic() - start, 3),
    }
    return Outcome(record, new=True)


def _origin(settings: Settings) -> dict:
    return {"format": "rendered", **settings.of_pictures(), **settings.of_split()}


def _known_records(out: Path, settings: Settings) -> dict[str, dict]:
    """What earlier runs made, by stem.

    Raises
    ------
    InputError
        If the folder holds anything else.
    """
    manifest = DatasetManifest.load(out)
    if manifest is not None and manifest.origin != _origin(settings):
        raise InputError(
            f"{out} is a set made with other settings ({manifest.origin}); repeat them, or "
            "choose another --out."
        )
    return known_records(out, manifest, "no rendered set")


def settings_of(out: Path) -> Settings:
    """Settings of a set that is there.

    Raises
    ------
    InputError
        If the folder is no rendered set.
    """
    manifest = DatasetManifest.load(out)
    if manifest is None or manifest.origin.get("format") != "rendered":
        raise InputError(f"{out} is no finished rendered set; render one there first.")
    origin = {key: value for key, value in manifest.origin.items() if key != "format"}
    return Settings(**{**origin, "quality": Quality(**origin["quality"])})


def sides_of_people(records: Sequence[dict], settings: Settings) -> dict[int, str]:
    """By person: "train", "test" or "validation"."""
    people = sorted({record["person"] for record in records})
    sides = dict.fromkeys(people, "train")
    if settings.test_every is None:
        _, test = split_stems([f"{person:09d}" for person in people], settings.seed)
        sides |= dict.fromkeys(map(int, test), "test")
    # The N-th person and not the first, so that a small set has training people.
    for side, every in (("test", settings.test_every), ("validation", settings.validation_every)):
        if every is not None:
            sides |= {person: side for person in people if (person + 1) % every == 0}
    return sides


def split_people(records: Sequence[dict], settings: Settings) -> dict[str, list[str]]:
    """Stems by side: all photos of a person are on one."""
    sides = sides_of_people(records, settings)
    lists: dict[str, list[str]] = {"train": [], "test": [], "validation": []}
    for record in sorted(records, key=lambda record: record["stem"]):
        lists[sides[record["person"]]].append(record["stem"])
    return lists


def with_hands(settings: Settings, first: int, last: int) -> list[int]:
    """Numbers from `first` to before `last` of training people with a hand `BESIDE` them.

    Raises
    ------
    InputError
        If the test people are drawn at random, not by a rule.
    """
    if settings.test_every is None:
        raise InputError("--hands-until goes with --test-every: it takes training people only.")
    people = [{"person": number // settings.per_person} for number in range(first, last)]
    sides = sides_of_people(people, settings)

    def is_wanted(number: int) -> bool:
        if sides[number // settings.per_person] != "train":
            return False
        hand = choose_portrait(settings.seed, number, settings.per_person).hand
        return hand is not None and hand.gesture in BESIDE

    return [number for number in range(first, last) if is_wanted(number)]


def make_set(
    out: Path, settings: Settings, photos: Sequence[tuple[int, int]], workers: int
) -> tuple[DatasetManifest, list[float]]:
    """Make photos and write the lists, the manifest and the contact sheet.

    Parameters
    ----------
    out : Path
    settings : Settings
    photos : sequence of (number, variant)
    workers : int
        Processes that share the processors.

    Returns
    -------
    manifest : DatasetManifest
        As written; `rejected` are the photos that failed.
    seconds : list of float
        That each new photo took.
    """
    known = _known_records(out, settings)
    earlier = DatasetManifest.load(out) or DatasetManifest()
    journal, recipe = Journal(out), recipe_of("render", RENDER_VERSION)
    threads = max(1, available_workers() // workers)
    out.mkdir(parents=True, exist_ok=True)
    tasks = [Task(n, v, settings, threads, out, recipe, None) for n, v in photos]
    tasks = [replace(task, known=known.get(task.stem)) for task in tasks]
    records, problems, new = run_resumable(
        make_photo, tasks, journal, known.values(), workers, "portraits"
    )
    seconds = [r["seconds"] for r in records if "seconds" in r]
    # A photo that failed may have files of an earlier version of the code.
    failed, tried = {problem.file.name for problem in problems}, {task.stem for task in tasks}
    everything = {**known, **{record["stem"]: record for record in records}}
    kept = [
        {key: value for key, value in record.items() if key != "seconds"}
        for stem, record in sorted(everything.items())
        if stem not in failed
    ]
    write_lists(out, **split_people(kept, settings))
    manifest = DatasetManifest(
        origin=_origin(settings),
        files={
            name: digest
            for record in kept
            for name, digest in record["files"].items()
            if name.startswith(("images/", "mattes/"))
        },
        portraits={r["stem"]: {k: v for k, v in r.items() if k != "stem"} for r in kept},
        rejected=[
            # What failed in a run over other photos has still failed.
            *(r for r in earlier.rejected if Path(r["file"]).name not in tried),
            *(
                {"file": problem.file.relative_to(out).as_posix(), "reason": problem.reason}
                for problem in problems
            ),
        ],
    )
    if kept:
        images = [name for name in sorted(manifest.files) if name.startswith("images/")]
        write_contact_sheet(out / SHEET, out, images)
    manifest.save(out)
    journal.close()
    return manifest, seconds if new else []


def further_photos(
    out: Path, settings: Settings, backgrounds: int, test_backgrounds: int
) -> list[tuple[int, int]]:
    """(number, variant) of further backgrounds for every foreground that is there."""
    rendered = [r for r in _known_records(out, settings).values() if r["variant"] == 0]
    sides = sides_of_people(rendered, settings)
    return [
        (record["number"], variant)
        for record in sorted(rendered, key=lambda record: record["number"])
        for variant in range(
            1, 1 + (test_backgrounds if sides[record["person"]] == "test" else backgrounds)
        )
    ]
