"""Databases of the position channels of PortraitFCN+, beside those of `prepare`.

    .venv/bin/python -m data_prep.position [--prepared data/prepared]

Writes train_position and test_position, which the nets lite_portraitfcn and portraitfcn_half
read.  Their records have the keys of the images'.  What they are made from is in the folder:
landmarks of the survey, template of the shape mask, and which version of which portrait lies
under each key.  A second run over an unchanged folder does nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.caffe_data.position import write_positions
from data_prep.common.errors import run_program
from data_prep.common.options import named_path


def main(argv: list[str] | None = None) -> int:
    """Write the databases and name them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prepared", type=named_path, default=Path("data/prepared"))
    for path in write_positions(parser.parse_args(argv).prepared):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
