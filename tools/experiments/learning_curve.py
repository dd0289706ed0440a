#!/usr/bin/env python3
"""Errors of a net's mattes, snapshot by snapshot, and which snapshot is best.

    tools/experiments/learning_curve.py portrait [--dataset data/portrait_set]

The mattes are those of validation people, who are neither trained nor tested
on: a snapshot chosen by the test split would make that split part of training.
(The paper chooses by test error.)  What has been measured is kept in
out/curves/, so that a training that goes on only adds snapshots.  Writes
out/curves/NET.json and draws it with the logs in out/NET_training.png.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_prep.common.errors import run_program
from tools.plot_training import main as plot_training
from tools.training.selection import EVERY, OUT, best_point, describe, learning_curve
from tools.training.stages import RECIPES, Stage, stages_of


def draw_curve(net: str, stages: Sequence[Stage], out: Path = OUT) -> None:
    """The logs with the errors of the snapshots, in out/NET_training.png."""
    logs = [str(stage.log) for stage in stages if stage.log.is_file()]
    plot_training([*logs, "--errors", str(out / f"{net}.json"), "-o", f"out/{net}_training.png"])


def main(argv: list[str] | None = None) -> int:
    """Measure the snapshots that are there and name the best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=RECIPES)
    parser.add_argument("--dataset", type=Path, default=Path("data/portrait_set"))
    parser.add_argument("--every", type=int, default=EVERY, help=f"validation photo ({EVERY})")
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
