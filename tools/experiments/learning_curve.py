"""Errors of a net's mattes, snapshot by snapshot, and which snapshot is best.

    .venv/bin/python -m tools.experiments.learning_curve portrait [--dataset data/portrait_set]

The mattes are those of validation people, who are neither trained nor tested
on: a snapshot chosen by the test split would make that split part of training.
(The paper chooses by test error.)  Errors are kept in out/curves/, so that only new
snapshots are measured when the training has continued.  Writes
out/curves/NET.json and draws it with the logs in out/NET_training.png.
"""

from __future__ import annotations

import argparse

from data_prep.common.errors import run_program
from data_prep.common.options import count, named_path
from tools.training.selection import (
    EVERY,
    PORTRAIT_SET,
    best_point,
    describe,
    draw_curve,
    learning_curve,
)
from tools.training.stages import RECIPES, stages_of


def main(argv: list[str] | None = None) -> int:
    """Measure the snapshots that exist and name the best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=RECIPES)
    parser.add_argument("--dataset", type=named_path, default=PORTRAIT_SET)
    parser.add_argument("--every", type=count, default=EVERY, help=f"validation photo ({EVERY})")
    options = parser.parse_args(argv)
    stages = stages_of(options.net)
    points = learning_curve(options.net, stages, options.dataset, options.every)
    print(describe(points))
    best = best_point(points, max(point.stage for point in points) if points else 0)
    print(f"best of the last stage: {best.weights}")
    draw_curve(options.net, stages)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
