"""Render a set of portraits with exact mattes, ready for `make data`.

    python -m data_prep.render.portraits --count 24 --seed 0 --out FOLDER
    python -m data_prep.render.portraits --recomposite 3 --out FOLDER
    python -m data_prep.render.portraits --only 17 --seed 0 --out FOLDER

The folder gets images/, mattes/, foregrounds/, meta/, train.txt, test.txt,
dataset.json and sheet.jpg (`photo` says what is in them).  People, not photos,
are split into training and test, 1700 to 300.  A run that was interrupted goes
on where it stopped, and its files are those of a run that was not.  Photos that
are there are not rendered again; a smaller --count removes none.

--recomposite puts the foregrounds that are there before further backgrounds,
without rendering: NAME_b1, NAME_b2...
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data_prep.assets import sha256_of
from data_prep.dataset import split_stems, write_lists
from data_prep.dataset_manifest import DatasetManifest, Problem, rejection_lines
from data_prep.errors import InputError, run_program
from data_prep.images import remove_leftovers
from data_prep.parallel import available_workers
from data_prep.render.assets import body_data_dir
from data_prep.render.background import choose_background
from data_prep.render.body import BaseMesh, read_base_mesh
from data_prep.render.camera import FRAME
from data_prep.render.compositing import choose_development
from data_prep.render.contact_sheet import write_contact_sheet
from data_prep.render.landmarks import landmark_points
from data_prep.render.photo import (
    develop,
    file_digests,
    read_foreground,
    read_meta,
    take_photo,
    write_foreground,
    write_photo,
)
from data_prep.render.portrait import PortraitChoice, choose_portrait
from data_prep.render.quality import Quality
from data_prep.render.randomness import generator
from data_prep.render.staging import stage
from data_prep.resume import (
    Journal,
    Outcome,
    content_key,
    is_done,
    known_records,
    module_digests,
    run_resumable,
)

SHEET = "sheet.jpg"
# Modules of this package that change no picture.
NOT_PICTURES = ("check.py", "contact_sheet.py", "fit_landmarks.py", "portraits.py")


@dataclass(frozen=True)
class Settings:
    """What a set is made with, besides how many portraits.

    Attributes
    ----------
    seed, per_person : int
    quality : Quality
    suffix : str
        Of the photos: ".jpg" or ".png".
    bits : int
        Of mattes and foregrounds, 8 or 16.
    """

    seed: int
    per_person: int
    quality: Quality
    suffix: str
    bits: int


@dataclass(frozen=True)
class Task:
    """One photo to make.

    Attributes
    ----------
    number : int
        Of the portrait.
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
    """One a process: reading it takes a second."""
    return read_base_mesh(body_data_dir())


def recipe_digest() -> str:
    """Changes whenever code or a table that decides a picture does."""
    here = Path(__file__).parent
    files = sorted(p for p in here.iterdir() if p.suffix in (".py", ".json"))
    files += sorted((here / "native").glob("*.cpp"))
    digests = [sha256_of(p) for p in files if p.name not in NOT_PICTURES]
    return content_key(digests, module_digests(["srgb.py"]))


def _meta(choice: PortraitChoice, task: Task, **more) -> dict:
    """What is written beside a photo: all of its parameters."""
    settings = asdict(task.settings)
    return {"stem": task.stem, "settings": settings, "choice": asdict(choice), **more}


def render_portrait(task: Task) -> list[str]:
    """Render a portrait and write its files; their names in the folder."""
    # Blender is loaded where it renders, not where workers are only counted.
    from data_prep.render.scene import render_foreground

    settings = task.settings
    choice = choose_portrait(settings.seed, task.number, settings.per_person)
    staging = stage(_body(), choice)
    size = settings.quality.size
    rendered = render_foreground(choice, staging, settings.quality, task.threads)
    foreground = develop(
        rendered.color,
        rendered.matte,
        staging.face_circle(size),
        choice.person.skin_tone,
        choice.development,
        settings.bits,
    )
    photo = take_photo(foreground, choice.background, choice.development, _body())
    name = f"foregrounds/{task.stem}.png"
    write_foreground(task.out / name, foreground)
    landmarks = staging.project(landmark_points(staging.subject, staging.camera), size)
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

    Whatever goes wrong in a render is told of that portrait, and stops no other;
    a full disk stops everything.
    """
    key = content_key(task.recipe, asdict(task.settings), task.number, task.variant)
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
    except Exception as error:  # noqa: BLE001: see above
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


# --- the set --------------------------------------------------------------------


def _origin(settings: Settings) -> dict:
    return {"format": "rendered", **asdict(settings)}


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


def split_people(records: Sequence[dict], seed: int) -> tuple[list[str], list[str]]:
    """Training and test stems: all photos of a person are on one side."""
    people = sorted({record["person"] for record in records})
    train, _ = split_stems([f"{person:09d}" for person in people], seed)
    training = {int(name) for name in train}
    ordered = sorted(records, key=lambda record: record["stem"])
    return (
        [r["stem"] for r in ordered if r["person"] in training],
        [r["stem"] for r in ordered if r["person"] not in training],
    )


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
    journal, recipe = Journal(out), recipe_digest()
    threads = max(1, available_workers() // workers)
    out.mkdir(parents=True, exist_ok=True)
    tasks = [Task(n, v, settings, threads, out, recipe, None) for n, v in photos]
    tasks = [replace(task, known=known.get(task.stem)) for task in tasks]
    records, problems, new = run_resumable(
        make_photo, tasks, journal, known.values(), workers, "portraits"
    )
    seconds = [r["seconds"] for r in records if "seconds" in r]
    # A photo that failed may have files of an earlier version of the code.
    failed = {problem.file.name for problem in problems}
    everything = {**known, **{record["stem"]: record for record in records}}
    kept = [
        {key: value for key, value in record.items() if key != "seconds"}
        for stem, record in sorted(everything.items())
        if stem not in failed
    ]
    write_lists(out, *split_people(kept, settings.seed))
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
            {"file": problem.file.relative_to(out).as_posix(), "reason": problem.reason}
            for problem in problems
        ],
    )
    if kept:
        images = [name for name in sorted(manifest.files) if name.startswith("images/")]
        write_contact_sheet(out / SHEET, out, images)
    manifest.save(out)
    journal.close()
    return manifest, seconds if new else []


def summarize(manifest: DatasetManifest, out: Path, seconds: Sequence[float]) -> str:
    """What came of a run, every failure on its own line."""
    lines = [f"{out}: {len(manifest.portraits)} portraits, see {out / SHEET}."]
    if seconds:
        middle = statistics.median(seconds)
        lines.append(f"{len(seconds)} new, median {middle:.1f} s each ({max(seconds):.1f} at most).")
    if len({record["person"] for record in manifest.portraits.values()}) == 1:
        lines.append("All are of one person, so one list is empty: `make data` takes two people.")
    return "\n".join([*lines, *rejection_lines(manifest.rejected)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the set")
    parser.add_argument("--count", type=int, help="photos of the whole set")
    parser.add_argument("--only", type=int, metavar="K", help="render photo K alone")
    parser.add_argument(
        "--recomposite", type=int, metavar="B", help="B further backgrounds for what is there"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-person", type=int, default=4, help="photos of each person")
    parser.add_argument("--scale", type=float, default=1.0, help=f"of {FRAME[0]}x{FRAME[1]}")
    parser.add_argument("--samples", type=int, help="a pixel of the color pass")
    parser.add_argument("--lens-positions", type=int, help="of the matte, 32 samples each")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="of photos")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8, help="of mattes")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that share the processors (1)"
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    """Settings of the options, checked."""
    for name in ("count", "only", "recomposite", "per_person", "samples", "lens_positions"):
        value = getattr(options, name)
        least = 0 if name == "only" else 1
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} {value} is too few; give {least} or more.")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed} is negative; give 0 or more.")
    if not 0.05 <= options.scale <= 4:
        raise InputError(f"--scale {options.scale} is out of range; give 0.05 to 4.")
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out {options.out} is a file; name a folder.")
    quality = Quality(scale=options.scale)
    if options.samples is not None:
        quality = replace(quality, color_samples=options.samples)
    if options.lens_positions is not None:
        quality = replace(quality, lens_positions=options.lens_positions)
    return Settings(
        options.seed, options.per_person, quality, f".{options.format}", options.bits
    )


def main(argv: list[str] | None = None) -> int:
    """Render a set, one photo of it, or further backgrounds for it."""
    options = _parser().parse_args(argv)
    settings = _settings(options)
    if sum(value is not None for value in (options.count, options.only, options.recomposite)) != 1:
        raise InputError("Give one of --count N, --only K and --recomposite B.")
    if options.only is not None:
        task = Task(options.only, 0, settings, available_workers(), options.out, "", None)
        for name in render_portrait(task):
            print(options.out / name)
        return 0
    if options.recomposite is not None:
        settings = settings_of(options.out)
        rendered = [
            record["number"]
            for record in _known_records(options.out, settings).values()
            if record["variant"] == 0
        ]
        variants = range(1, options.recomposite + 1)
        photos = [(number, variant) for number in sorted(rendered) for variant in variants]
    else:
        photos = [(number, 0) for number in range(options.count)]
    manifest, seconds = make_set(options.out, settings, photos, options.workers)
    print(summarize(manifest, options.out, seconds))
    return 1 if manifest.rejected else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
