"""Put rendered people before photographs of the world: a training set beyond the studio.

    .venv/bin/python -m data_prep.composite data/portrait_set --out data/composites

The studio's backgrounds are painted and mostly out of focus.  Here its people stand before
pieces of photographs, as often in focus as not, behind or before straight edges, stripes,
fences and letters; near or far; cut off by the frame, by a table or a post; in pairs; in
black and white or strong light of one color.  FOLDER becomes a dataset as `make data`
takes it: the set's own photos (links to the same files) and --per-person composites of
each person, on the side of the split where the person is.

The photographs come from Debian's packages of wallpapers; --photographs names a folder of
others.  They should show nobody.  Those of test and validation people are not trained on.
A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import require_folder
from data_prep.common.images import refuse_overwriting
from data_prep.common.options import count, integer_from, named_path
from data_prep.common.parallel import available_workers
from data_prep.composites.composite_set import link_portraits, make_composite, tasks_of
from data_prep.composites.photographs import fetch_photographs
from data_prep.datasets.contact_sheet import write_contact_sheet
from data_prep.datasets.dataset import PHOTO_SUFFIXES, VALIDATION, Dataset, write_lists
from data_prep.datasets.image_folder import ImageFolder
from data_prep.datasets.manifest import DatasetManifest, rejection_lines
from data_prep.datasets.resume import Journal, known_records, run_resumable

SHEET = "sheet.jpg"
HELD_OUT_EVERY = 5  # each so many-th photograph is not trained on


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set", type=named_path, help="folder of a rendered set")
    parser.add_argument("--out", type=named_path, required=True, help="folder of the new dataset")
    parser.add_argument("--per-person", type=count, default=12, help="composites of each (12)")
    parser.add_argument(
        "--photographs", type=named_path, metavar="FOLDER", help="pictures of nobody"
    )
    parser.add_argument("--seed", type=integer_from(0), default=0)
    parser.add_argument("--workers", type=count, default=available_workers(), help="processes")
    return parser


def _photographs(options: argparse.Namespace) -> list[Path]:
    """Paths of the photographs.

    Raises
    ------
    InputError
        If there are too few to hold some of them out.
    """
    if options.photographs is None:
        return fetch_photographs()
    if not options.photographs.is_dir():
        raise InputError(f"{options.photographs} is no folder; name one with pictures of nobody.")
    folder = ImageFolder(options.photographs, PHOTO_SUFFIXES)
    paths = [folder.of(stem)[0] for stem in folder.stems]
    if len(paths) < 2:
        raise InputError(f"{options.photographs} holds {len(paths)} pictures; give two or more.")
    return paths


def main(argv: list[str] | None = None) -> int:
    """Make the composites of a rendered set."""
    options = _parser().parse_args(argv)
    require_folder(options.out)
    dataset = Dataset.open(options.set)
    refuse_overwriting([options.out], [options.set])
    paths = _photographs(options)
    held_out = paths[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or paths[-1:]
    sides = {"train": dataset.train, "test": dataset.test, VALIDATION: dataset.validation}
    known = known_records(options.out, DatasetManifest.load(options.out), "no set of composites")
    tasks = {
        side: tasks_of(
            options.set,
            portraits,
            [path for path in paths if path not in held_out] if side == "train" else held_out,
            options.out,
            options.seed,
            options.per_person,
            known,
        )
        for side, portraits in sides.items()
    }
    if not tasks["train"]:
        raise InputError(
            f"{options.set / 'foregrounds'} holds nobody of train.txt; "
            "render a set with `make portrait-set`."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(options.out)
    everything = [task for each in tasks.values() for task in each]
    records, problems, _ = run_resumable(
        make_composite, everything, journal, known.values(), options.workers, "composites"
    )
    files = link_portraits([each for side in sides.values() for each in side], options.out)
    for record in records:
        files |= record["files"]
    done = {record["stem"] for record in records}
    write_lists(
        options.out,
        **{
            side: sorted(
                [portrait.stem for portrait in portraits]
                + [task.stem for task in tasks[side] if task.stem in done]
            )
            for side, portraits in sides.items()
        },
    )
    manifest = DatasetManifest(
        origin={"format": "composited", "seed": options.seed, "per_person": options.per_person},
        files=files,
        portraits={r["stem"]: {k: v for k, v in r.items() if k != "stem"} for r in records},
        rejected=[{"file": str(problem.file), "reason": problem.reason} for problem in problems],
    )
    if records:
        sheet = [min(record["files"]) for record in records]
        write_contact_sheet(options.out / SHEET, options.out, sheet)
    manifest.save(options.out)
    journal.close()
    see = f", see {options.out / SHEET}" if records else ""
    print(f"{options.out}: {len(records)} composites{see}.")
    print("\n".join(rejection_lines(manifest.rejected)), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
