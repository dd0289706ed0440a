"""Everything that training needs, made from a folder of portraits and mattes.

    .venv/bin/python -m data_prep.prepare [--dataset data/sample] [--out data/prepared]
        [--augment all|none|NAMES] [--vary] [--workers N | --scheduler ADDRESS]

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
`kill -9` too, continues from there when the same command is given again, and ends
with the same content.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from data_prep.caffe_data.augmentation import (
    parse_augmentations,
)
from data_prep.caffe_data.databases import (
    SPLITS,
)
from data_prep.caffe_data.products import prepare
from data_prep.common.errors import run_program
from data_prep.common.options import count, integer_from, named_path
from data_prep.common.parallel import available_workers


def main(argv: list[str] | None = None) -> int:
    """Prepare a dataset and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=named_path, default=Path("data/sample"))
    parser.add_argument("--out", type=named_path, default=Path("data/prepared"))
    parser.add_argument("--seed", type=integer_from(0), default=0)
    parser.add_argument(
        "--augment",
        default="all",
        metavar="NAMES",
        help="versions of each training portrait besides the original: all (12), "
        "none, or names as in rotate-45,scale0.8,gamma1.2",
    )
    parser.add_argument(
        "--vary",
        action="store_true",
        help="mirror, move, recolor, blur, add noise to and compress each version at "
        "random (not in the paper)",
    )
    parser.add_argument("--workers", type=count, default=available_workers(), metavar="N")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, which then does the work of the workers",
    )
    options = parser.parse_args(argv)
    augmentations = parse_augmentations(options.augment)
    made = prepare(
        options.dataset,
        options.out,
        options.seed,
        augmentations,
        options.workers,
        options.scheduler,
        options.vary,
    )
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
    raise SystemExit(run_program(main, notes=True))
