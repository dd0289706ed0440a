#!/usr/bin/env python3
"""Train a net: warm start, then end to end, with `caffe train`.

    tools/train.py lite            # minutes on a laptop, on the sample
    tools/train.py fcn8s           # the paper's net: days without a GPU
    tools/train.py portrait        # the default model's: hours, on rendered portraits

Stops and starts as you like: a stage that has finished is skipped, one that
was interrupted goes on from its last snapshot.  Ends with the weights where
tools/matte.py looks for them (data/models/ or, small enough to be committed,
data/weights/), beside them the shape mask they were trained with, and a picture
of the run in out/.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from data_prep.errors import run_program
from data_prep.images import atomic_write
from tools.models import MODELS
from tools.plot_training import main as plot_training
from tools.stages import ROOT, Stage, check_databases, databases, run_stage

#: Solver files of a net's stages, in order.
RECIPES = {
    "lite": ("lite_trimap_solver.prototxt", "lite_matting_solver.prototxt"),
    "fcn8s": ("trimap_solver.prototxt", "matting_solver.prototxt"),
    "portrait": ("portrait_trimap_solver.prototxt", "portrait_matting_solver.prototxt"),
}


def main(argv: list[str] | None = None) -> int:
    """Train all stages of a net and install the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=RECIPES)
    net = parser.parse_args(argv).net
    stages = [Stage.read(ROOT / f"solver/{solver}") for solver in RECIPES[net]]
    weights = None  # the first stage's solver names its own
    for stage in stages:
        check_databases(stage.net)
        if not stage.finished:
            run_stage(stage, weights)
        weights = stage.result

    model = MODELS[net]
    for source, target in (
        (stages[0].result, ROOT / f"data/models/{net}_warm.caffemodel"),
        (stages[-1].result, model.weights),
        (ROOT / databases(stages[-1].net)[0].parent / "shape_mask.npz", model.shape_mask),
    ):
        with atomic_write(target) as path:
            shutil.copyfile(source, path)
    plot_training([*(str(stage.log) for stage in stages), "-o", f"out/{net}_training.png"])
    print(f"wrote {model.weights}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
