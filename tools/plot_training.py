#!/usr/bin/env python3
"""Draw loss, lambda, learning rate and band share from Caffe logs.

    tools/plot_training.py LOG [LOG ...] [--errors CURVE] -o out/training.png

The logs hold what `caffe train` writes to stderr; give them in the order of training.  A
log that resumes from a snapshot replaces what the earlier log says about the iterations
after that snapshot.  A log that starts at iteration 0 (end to end after the warm start) is
drawn to the right of the earlier ones.  The values are also written as CSV beside the
picture.  CURVE is a file by tools/experiments/learning_curve.py, with the errors of the
mattes by snapshot.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from pathlib import Path

from data_prep.common.errors import run_program
from data_prep.common.options import named_path
from tools.training.plots import plot_training


def main(argv: list[str] | None = None) -> int:
    """Draw a training from its logs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("logs", nargs="+", type=named_path, metavar="LOG", help="Caffe log")
    parser.add_argument("--errors", type=named_path, metavar="CURVE", help="of snapshots")
    parser.add_argument("-o", "--out", type=named_path, default=Path("out/training.png"))
    options = parser.parse_args(argv)
    stages = plot_training(options.logs, options.out, options.errors)
    reached = " + ".join(str(stage.last_iteration()) for stage in stages)
    table = options.out.with_suffix(".csv")
    print(f"{reached} iterations are drawn in {options.out}; the numbers are in {table}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
