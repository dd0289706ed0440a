"""Mattes from labeled trimaps, the better of two methods chosen by a person.

    .venv/bin/python -m data_prep.make_mattes IMAGES TRIMAPS --out FOLDER
    # open FOLDER/choose.html, choose, save choices.json
    .venv/bin/python -m data_prep.make_mattes --apply choices.json --out FOLDER

The paper's labeling procedure (section 5): closed-form matting and KNN
matting of each photo and its labeled trimap, both laid over a background; the
better one is taken, or neither.

A trimap has the photo's stem and size and is 0 (background), 128 (unknown) and
255 (foreground), each within `data_prep.labeling.trimaps.TRIMAP_TOLERANCE`; other values are
refused.  Labeled pixels keep their label exactly.

The first command writes FOLDER/candidates and FOLDER/choose.html, which needs
no network; run again, it redoes only what has changed.  The second makes
FOLDER a dataset, at the photos' own sizes: `import_dataset FOLDER --format
plain` crops it to 600x800.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from data_prep.common.errors import InputError, run_program
from data_prep.common.options import count, integer_from, named_path
from data_prep.common.parallel import available_workers
from data_prep.datasets.manifest import DatasetManifest, rejection_lines
from data_prep.labeling.candidates import prepare_choice
from data_prep.labeling.choices import apply_choices
from data_prep.labeling.mattes import METHODS
from data_prep.labeling.page import DISCARD, PAGE


def _report_candidates(index: dict, new: int, out: Path) -> None:
    print(f"{len(index['records'])} portraits with candidates, {new} of them new or changed.")
    for line in rejection_lines(index["rejected"]):
        print(line)
    if not index["records"]:
        raise InputError("No matte could be made; the reasons are above.")
    print(f"Open {out / PAGE}, choose, and save choices.json.")


def _report_dataset(manifest: DatasetManifest, out: Path) -> None:
    counts = Counter(manifest.choices.values())
    chosen = ", ".join(f"{counts[name]} {name}" for name in (*METHODS, DISCARD))
    lines = [f"{out}: {len(manifest.portraits)} portraits; {chosen}."]
    print("\n".join([*lines, *rejection_lines(manifest.rejected)]))


def main(argv: list[str] | None = None) -> int:
    """Make candidates to choose from, or apply the choices."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=named_path, nargs="?", help="folder of photos")
    parser.add_argument("trimaps", type=named_path, nargs="?", help="folder of trimaps")
    parser.add_argument("--out", type=named_path, required=True, help="folder of the dataset")
    parser.add_argument("--apply", type=named_path, metavar="CHOICES", help="choices.json")
    parser.add_argument("--background", type=named_path, help="image to lay the people over")
    parser.add_argument("--seed", type=integer_from(0), default=0, help="of the split")
    parser.add_argument("--workers", type=count, default=available_workers())
    options = parser.parse_args(argv)
    if options.apply is not None:
        if options.images is not None:
            raise InputError("--apply takes no folders of photos and trimaps; leave them out.")
        if options.background is not None:
            raise InputError("--background is for the candidates, not for --apply; leave it out.")
        manifest = apply_choices(options.apply, options.out, options.seed)
        _report_dataset(manifest, options.out)
        return 0
    if options.images is None or options.trimaps is None:
        raise InputError("Give a folder of photos and one of trimaps, or --apply CHOICES.")
    index, new = prepare_choice(
        options.images, options.trimaps, options.out, options.background, options.workers
    )
    _report_candidates(index, new, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
