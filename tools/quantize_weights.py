#!/usr/bin/env python3
"""Weights with 8 bits each: pack what a training made, expand what ships.

    tools/quantize_weights.py pack fcn8s_half data/models/fcn8s_half.caffemodel
    tools/quantize_weights.py expand fcn8s_half

`pack` writes NET.int8.npz (format: tools/training/quantization.py) and NET.shape_mask.npz into
data/weights, a fifth of the caffemodel.  `expand`, which `make` runs, writes the caffemodel and
the shape mask into data/models, where tools/matte.py finds them; files of a training of yours
that are there are moved aside.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse

from data_prep.common.errors import run_program
from data_prep.common.options import named_path
from prototxt.catalog import MADE_WEIGHTS, NETS, SHIPPED_WEIGHTS
from tools.training.quantization import expand, pack


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="from a caffemodel")
    packing.add_argument("net", choices=NETS)
    packing.add_argument("caffemodel", type=named_path)
    packing.add_argument(
        "--shape-mask",
        type=named_path,
        metavar="FILE",
        help="that it was trained with (NET.shape_mask.npz beside the caffemodel)",
    )
    packing.add_argument("-o", "--output", type=named_path, default=SHIPPED_WEIGHTS, help="folder")
    expanding = commands.add_parser("expand", help="to a caffemodel")
    expanding.add_argument("net", choices=NETS)
    expanding.add_argument("--source", type=named_path, default=SHIPPED_WEIGHTS, help="folder")
    expanding.add_argument("-o", "--output", type=named_path, default=MADE_WEIGHTS, help="folder")
    options = parser.parse_args(argv)
    net = NETS[options.net]
    if options.command == "pack":
        beside = net.shape_mask(options.caffemodel.parent)
        written = pack(net, options.caffemodel, options.shape_mask or beside, options.output)
    else:
        written = expand(net, options.source, options.output)
    print(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
