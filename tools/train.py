#!/usr/bin/env python3
"""Train a net: warm start, then end to end, with `caffe train`.

    tools/train.py lite            # minutes on a laptop, on the sample
    tools/train.py fcn8s           # the paper's net (model fcn8s_full): days without --gpu 0
    tools/train.py fcn8s_half      # the same at half size (model fcn8s): a night or two
    tools/train.py portrait        # the trained net of the default model: hours, on renders

Training may be interrupted: started again, it skips finished stages and continues an
unfinished one from its last snapshot.  The weights and the shape mask that they were
trained with are copied to where tools/matte.py looks for them (data/models/, or
data/weights/ if they are small enough to be committed), and a picture of the training is
written to out/.

With --choose DATASET, the snapshot whose mattes of the dataset's validation people are
best is kept in place of the last one (tools/experiments/learning_curve.py).
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from pathlib import Path

from data_prep.common.errors import run_program
from data_prep.common.options import named_path
from prototxt.catalog import MADE_WEIGHTS
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import MODELS, model_of_net
from tools.training.plots import plot_training
from tools.training.selection import (
    best_point,
    describe,
    draw_curve,
    learning_curve,
    trained_shape_mask,
    validation_portraits,
)
from tools.training.stages import RECIPES, keep_files, run_stages, stages_of


def main(argv: list[str] | None = None) -> int:
    """Train all stages of a net and install the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=RECIPES)
    parser.add_argument(
        "--choose", type=named_path, metavar="DATASET", help="keep the best snapshot"
    )
    add_gpu_option(parser)
    options = parser.parse_args(argv)
    choose_gpu(options.gpu)
    net = options.net
    if options.choose:
        validation_portraits(options.choose)  # a bad dataset is named at once
    stages = stages_of(net)
    run_stages(stages)

    model, warm, trained = MODELS[model_of_net(net)], stages[0].result, stages[-1].result
    if options.choose:
        points = learning_curve(net, stages, options.choose)
        print(describe(points))
        # The best snapshot of the warm start, too: training end to end has to improve on it.
        warm, trained = (Path(best_point(points, n).weights) for n in (0, len(stages) - 1))
        draw_curve(net, stages)
    else:
        plot_training([stage.log for stage in stages], Path(f"out/{net}_training.png"))
    keep_files(
        {
            MADE_WEIGHTS / f"{net}_warm.caffemodel": warm,
            model.weights: trained,
            model.shape_mask: trained_shape_mask(stages[-1]),
        }
    )
    print(f"wrote {model.weights} ({trained.name})")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
