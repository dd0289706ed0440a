#!/usr/bin/env python3
"""Initial weights for a net of this project.

    tools/init_weights.py fcn8s --from fcn8s --source voc-fcn8s.caffemodel   # the paper's way
    tools/init_weights.py fcn8s --from vgg16     # VGG-16 convolutions, rest MSRA
    tools/init_weights.py lite --from nothing    # MSRA throughout
    tools/init_weights.py portrait --from selfie # the converted segmenter's own trimap

Writes data/models/NET_init.caffemodel and prints for each layer whether its weights were
copied, widened, chosen or left as they were.  The file holds the layers up to the scores:
lambda starts at the value in the MattingLayer's param_str.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse

from data_prep.common.errors import run_program
from data_prep.common.options import integer_from, named_path
from prototxt.catalog import NETS
from tools.training.weights import ORIGINS, PUBLISHED_CLASSES, STARTED_NETS, write_initial_weights


def main(argv: list[str] | None = None) -> int:
    """Write initial weights and report what they are made of."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=STARTED_NETS)
    parser.add_argument("--from", dest="origin", choices=ORIGINS, required=True)
    parser.add_argument(
        "--source", type=named_path, help="21-class FCN-8s, or the converted segmenter"
    )
    parser.add_argument("--seed", type=integer_from(0), default=0)
    parser.add_argument("-o", "--output", type=named_path)
    arguments = parser.parse_args(argv)
    net = NETS[arguments.net]
    output = arguments.output or net.initial_weights()
    report = write_initial_weights(net, arguments.origin, output, arguments.source, arguments.seed)
    if report.classes:
        classes = ", ".join(map(str, report.classes))
        print(f"chose classes {classes} of {PUBLISHED_CLASSES} (seed {arguments.seed})")
    for layer, action in report.layers:
        print(f"{layer:15s} {action}")
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
