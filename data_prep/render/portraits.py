"""Render a set of portraits with exact mattes, ready for `make data`.

    python -m data_prep.render.portraits --count 24 --seed 0 --out FOLDER
    python -m data_prep.render.portraits --recomposite 3 --out FOLDER
    python -m data_prep.render.portraits --only 17 --seed 0 --out FOLDER

The folder gets images/, mattes/, foregrounds/, meta/, train.txt, test.txt,
dataset.json and sheet.jpg (`photo` says what is in them).  People, not photos,
are split into training and test, 1700 to 300; with --test-every 5 each fifth
person is a test person, so that a set which grows moves nobody to the other
side; with --validation-every 16 each sixteenth is on neither, but in
validation.txt, by which trained weights can be chosen.  A run that was
interrupted goes on where it stopped, and its files are those of a run that was
not.  Photos that are there are not rendered again; a smaller --count removes
none.

Few people raise a hand, and a net that has seen few such hands loses them:
--hands-until K adds, of the photos from --count to K, those of training people
with a hand beside the head.

--recomposite puts the foregrounds that are there before further backgrounds,
without rendering: NAME_b1, NAME_b2...  Beside --count it follows the rendering.
--recomposite-test gives test people another number of them.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data_prep.common.versions import recipe_of
from data_prep.dataset import split_stems, write_lists
from data_prep.dataset_manifest import DatasetManifest, Problem, rejection_lines
from data_prep.errors import InputError, run_program
from data_prep.images import remove_leftovers
from data_prep.parallel import available_workers
from data_prep.render import RENDER_VERSION
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
    run_resumable,
)

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
        Of the photos: ".jpg" or ".png".
    bits : int
        Of mattes and foregrounds, 8 or 16.
    test_every : int or None
        Each so many-th person is a test person; None: a random share is.
    validation_every : int or None
        Each so many-th person is a validation person, before test people are
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
        """Those that decide who is on which side, where they are given."""
        split = {name: getattr(self, name) for name in SPLIT}
        return {name: value for name, value in split.items() if value is not None}


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
    # The last of a number, not the first: whoever begins a set is to be trained on.
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
        If who is tested on is no rule but a draw among all people.
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


def summarize(manifest: DatasetManifest, out: Path, times: Sequence[Sequence[float]]) -> str:
    """What came of runs, every failure on its own line.

    Parameters
    ----------
    manifest : DatasetManifest
        Of the last one.
    out : Path
    times : sequence of sequence of float
        Seconds of the new photos of each run.
    """
    lines = [f"{out}: {len(manifest.portraits)} portraits, see {out / SHEET}."]
    for seconds in filter(None, times):
        middle = statistics.median(seconds)
        lines.append(f"{len(seconds)} new, median {middle:.1f} s each ({max(seconds):.1f} at most).")
    if len({record["person"] for record in manifest.portraits.values()}) == 1:
        lines.append("All are of one person, so one list is empty: `make data` takes two people.")
    return "\n".join([*lines, *rejection_lines(manifest.rejected)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the set")
    parser.add_argument("--count", type=int, help="photos of the whole set")
    parser.add_argument(
        "--hands-until", type=int, metavar="K",
        help="also photos COUNT to K of training people with a hand beside the head",
    )  # fmt: skip
    parser.add_argument("--only", type=int, metavar="K", help="render photo K alone")
    parser.add_argument(
        "--recomposite", type=int, metavar="B", help="B further backgrounds for what is there"
    )
    parser.add_argument(
        "--recomposite-test", type=int, metavar="B", help="of test people (as --recomposite)"
    )
    parser.add_argument(
        "--test-every", type=int, metavar="P",
        help="each P-th person is a test person (a random 15 %% are)",
    )  # fmt: skip
    parser.add_argument(
        "--validation-every", type=int, metavar="P",
        help="each P-th person is neither, but in validation.txt (nobody is)",
    )  # fmt: skip
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
    least_values = {
        "count": 1, "hands_until": 1, "only": 0, "recomposite": 1, "recomposite_test": 1,
        "test_every": 2, "validation_every": 2, "per_person": 1, "samples": 1,
        "lens_positions": 1,
    }  # fmt: skip
    for name, least in least_values.items():
        value = getattr(options, name)
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
        options.seed, options.per_person, quality, f".{options.format}", options.bits,
        options.test_every, options.validation_every,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Render a set, one photo of it, or further backgrounds for it."""
    options = _parser().parse_args(argv)
    settings = _settings(options)
    if (options.only is None) == (options.count is None and options.recomposite is None):
        raise InputError("Give --only K, or --count N, --recomposite B or both.")
    if options.recomposite_test is not None and options.recomposite is None:
        raise InputError("--recomposite-test goes with --recomposite.")
    if options.hands_until is not None and options.count is None:
        raise InputError("--hands-until goes with --count.")
    if options.only is not None:
        task = Task(options.only, 0, settings, available_workers(), options.out, "", None)
        for name in render_portrait(task):
            print(options.out / name)
        return 0
    runs = []
    if options.count is not None:
        numbers = list(range(options.count))
        if options.hands_until is not None:
            numbers += with_hands(settings, options.count, options.hands_until)
        photos = [(number, 0) for number in numbers]
        runs.append(make_set(options.out, settings, photos, options.workers))
    if options.recomposite is not None:
        settings = settings_of(options.out)
        photos = further_photos(
            options.out, settings, options.recomposite,
            options.recomposite_test or options.recomposite,
        )  # fmt: skip
        runs.append(make_set(options.out, settings, photos, options.workers))
    manifest = runs[-1][0]
    print(summarize(manifest, options.out, [seconds for _, seconds in runs]))
    return 1 if manifest.rejected else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
