#!/usr/bin/env python3
"""Table 1 of the paper on our portraits: train, tune, measure, document.

    tools/table1.py train                     # all rows, in turn; hours
    tools/table1.py train --iterations 3000   # goes on from 1,500

Every command goes on where it was stopped.  `train` runs `caffe train` in slices of 100
iterations: first the warm starts, then all rows in turn, so that a stop at any time leaves a
table of equally trained rows.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse

from data_prep.common.errors import run_program
from tools.matting.device import add_gpu_option, choose_gpu
from tools.table.runs import HALF, RUNS, chosen_runs
from tools.table.training import train

ITERATIONS = 1500


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the nets of all rows")
    training.add_argument(
        "--iterations",
        type=int,
        default=ITERATIONS,
        metavar="N",
        help=f"of the warm starts, and as many after them ({ITERATIONS}); warm starts from which "
        "other trainings have begun keep their length",
    )
    training.add_argument("--warm-iterations", type=int, metavar="N", help="of the warm starts")
    training.add_argument(
        "--runs",
        nargs="+",
        metavar="NAME",
        help=f"these alone, with what they start from: {', '.join(run.name for run in RUNS)}",
    )
    add_gpu_option(training)
    options = parser.parse_args(argv)
    choose_gpu(options.gpu)
    if min(options.iterations, options.warm_iterations or 1) < 1:
        parser.error("--iterations and --warm-iterations are numbers from 1 on")
    train(HALF, chosen_runs(options.runs), options.iterations, options.warm_iterations)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main, notes=True))
