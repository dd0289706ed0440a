"""Render a set of portraits with exact mattes, ready for `make data`.

    .venv-render/bin/python -m data_prep.render.portraits --count 24 --seed 0 --out FOLDER
    .venv-render/bin/python -m data_prep.render.portraits --recomposite 3 --out FOLDER
    .venv-render/bin/python -m data_prep.render.portraits --only 17 --seed 0 --out FOLDER

The folder gets images/, mattes/, foregrounds/, meta/, train.txt, test.txt,
dataset.json and sheet.jpg (`photo` says what is in them).  People, not photos,
are split into training and test, 1700 to 300; with --test-every 5 each fifth
person is a test person, so that a set which grows moves nobody to the other
side; with --validation-every 16 each sixteenth is on neither, but in
validation.txt, by which trained weights can be chosen.  A run that was
interrupted continues where it stopped, and its files are those of a run that was
not.  Photos that are there are not rendered again; a smaller --count removes
none.

Few people raise a hand, and a net that has seen few raised hands misses them:
--hands-until K adds, of the photos from --count to K, those of training people
with a hand beside the head.

--recomposite puts the foregrounds that are there before further backgrounds,
without rendering: NAME_b1, NAME_b2...  Beside --count it follows the rendering.
--recomposite-test gives test people another number of them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import require_folder
from data_prep.common.options import count, integer_from, named_path, positive
from data_prep.common.parallel import available_workers
from data_prep.datasets.dataset import FRAME
from data_prep.datasets.manifest import DatasetManifest, rejection_lines
from data_prep.render.portrait_set import (
    SHEET,
    Settings,
    Task,
    further_photos,
    make_set,
    render_portrait,
    settings_of,
    with_hands,
)
from data_prep.render.shot.quality import Quality

# --- the set --------------------------------------------------------------------


def summarize(manifest: DatasetManifest, out: Path, times: Sequence[Sequence[float]]) -> str:
    """What came of runs, every failure on its own line.

    Parameters
    ----------
    manifest : DatasetManifest
        Manifest of the last one.
    out : Path
    times : sequence of sequence of float
        Seconds of the new photos of each run.
    """
    lines = [f"{out}: {len(manifest.portraits)} portraits, see {out / SHEET}."]
    for seconds in filter(None, times):
        middle = statistics.median(seconds)
        lines.append(
            f"{len(seconds)} new, median {middle:.1f} s each ({max(seconds):.1f} at most)."
        )
    if len({record["person"] for record in manifest.portraits.values()}) == 1:
        lines.append("All are of one person, so one list is empty: `make data` takes two people.")
    return "\n".join([*lines, *rejection_lines(manifest.rejected)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=named_path, required=True, help="folder of the set")
    parser.add_argument("--count", type=count, help="photos of the whole set")
    parser.add_argument(
        "--hands-until",
        type=count,
        metavar="K",
        help="also photos COUNT to K of training people with a hand beside the head",
    )
    parser.add_argument("--only", type=integer_from(0), metavar="K", help="render photo K alone")
    parser.add_argument(
        "--recomposite", type=count, metavar="B", help="B further backgrounds for what is there"
    )
    parser.add_argument(
        "--recomposite-test", type=count, metavar="B", help="of test people (as --recomposite)"
    )
    parser.add_argument(
        "--test-every",
        type=integer_from(2),
        metavar="P",
        help="each P-th person is a test person (a random 15 %% are)",
    )
    parser.add_argument(
        "--validation-every",
        type=integer_from(2),
        metavar="P",
        help="each P-th person is neither, but in validation.txt (nobody is)",
    )
    parser.add_argument("--seed", type=integer_from(0), default=0)
    parser.add_argument("--per-person", type=count, default=4, help="photos of each person")
    parser.add_argument("--scale", type=positive, default=1.0, help=f"of {FRAME[1]}x{FRAME[0]}")
    parser.add_argument("--samples", type=count, help="a pixel of the color pass")
    parser.add_argument("--lens-positions", type=count, help="of the matte, 32 samples each")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="of photos")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8, help="of mattes")
    parser.add_argument(
        "--workers", type=count, default=1, help="processes that share the processors (1)"
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    """Settings of the options, checked."""
    if not 0.05 <= options.scale <= 4:
        raise InputError(f"--scale {options.scale} is out of range; give 0.05 to 4.")
    require_folder(options.out)
    quality = Quality(scale=options.scale)
    if options.samples is not None:
        quality = replace(quality, color_samples=options.samples)
    if options.lens_positions is not None:
        quality = replace(quality, lens_positions=options.lens_positions)
    return Settings(
        options.seed,
        options.per_person,
        quality,
        f".{options.format}",
        options.bits,
        options.test_every,
        options.validation_every,
    )


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
            options.out,
            settings,
            options.recomposite,
            options.recomposite_test or options.recomposite,
        )
        runs.append(make_set(options.out, settings, photos, options.workers))
    manifest = runs[-1][0]
    print(summarize(manifest, options.out, [seconds for _, seconds in runs]))
    return 1 if manifest.rejected else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
