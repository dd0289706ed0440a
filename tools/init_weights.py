#!/usr/bin/env python3
"""Initial weights for a net of this project.

    tools/init_weights.py fcn8s --from fcn8s --source voc-fcn8s.caffemodel   # the paper's way
    tools/init_weights.py fcn8s --from vgg16     # VGG-16 convolutions, rest MSRA
    tools/init_weights.py lite --from nothing    # MSRA throughout
    tools/init_weights.py portrait --from selfie # the converted segmenter's own trimap

Writes data/models/NET_init.caffemodel and prints, layer by layer, what was
copied, widened, chosen and left.  The file holds the net as far as its scores: lambda
starts as the MattingLayer's param_str says.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import os
from pathlib import Path

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import refuse_overwriting
from tools.matting.caffe_net import build_net
from tools.matting.models import ROOT
from tools.training.weights import (
    SEGMENTER,
    published_fcn8s,
    segmenter,
    transplant,
    vgg16_convolutions,
)

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe is imported


NETS = (
    "fcn8s", "fcn8s_nomask", "fcn8s_half", "fcn8s_half_nomask", "lite", "lite_nomask",
    "portrait", "portrait_nomask", "portrait_third",
)  # fmt: skip
ORIGINS = ("fcn8s", "vgg16", "selfie", "nothing")


def main(argv: list[str] | None = None) -> int:
    """Write initial weights and report what they are made of."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--from", dest="origin", choices=ORIGINS, required=True)
    parser.add_argument("--source", type=Path, help="21-class FCN-8s, or the converted segmenter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    if (arguments.origin == "fcn8s") and arguments.source is None:
        raise InputError("--from fcn8s needs --source.")
    if arguments.origin in ("vgg16", "nothing") and arguments.source is not None:
        raise InputError(f"--from {arguments.origin} takes no --source.")
    output = arguments.output or ROOT / f"data/models/{arguments.net}_init.caffemodel"
    if arguments.source is not None:
        refuse_overwriting([output], [arguments.source])

    # Not the whole net: Caffe would load its lambda over that of the layer's param_str.
    net = build_net(ROOT / f"prototxt/{arguments.net}_trimap_deploy.prototxt", arguments.seed)
    if arguments.origin == "fcn8s":
        source = published_fcn8s(arguments.source, arguments.seed)
    elif arguments.origin == "selfie":
        source = segmenter(arguments.source or SEGMENTER, net.blobs["data"].shape[1])
    else:
        source = vgg16_convolutions() if arguments.origin == "vgg16" else {}
    for layer, action in transplant(net, source):
        print(f"{layer:15s} {action}")
    with atomic_write(output) as path:
        net.save(str(path))
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
