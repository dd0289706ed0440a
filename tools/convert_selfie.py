#!/usr/bin/env python3
"""Convert the MediaPipe person segmenter (TFLite) to the `selfie` Caffe net.

    tools/convert_selfie.py [-o data/models/selfie.caffemodel]

The net's definition is ``prototxt/netspec/selfie.py``; this program fills in its
weights.  Nothing is folded: every kernel of the original is one layer.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
from pathlib import Path

import numpy as np

from data_prep.common.assets import fetch
from data_prep.common.errors import run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import refuse_overwriting
from data_prep.common.options import named_path
from prototxt.catalog import MADE_WEIGHTS, MEAN_BGR, score_weights
from prototxt.netspec import selfie
from tools.training.conversion import caffemodel, converted_weights

DEFAULT_OUTPUT = MADE_WEIGHTS / "selfie.caffemodel"

SOURCE = "prototxt/netspec/selfie.py"


def rgb_weights() -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of layer `rgb`: BGR minus mean, 0-255, to RGB in [0, 1]."""
    kernel = np.eye(3)[::-1] / 255
    return kernel[:, :, None, None], np.array(MEAN_BGR[::-1]) / 255


def selfie_weights(model: Path) -> dict[str, list[np.ndarray]]:
    """Weights of every layer of the `selfie` net.

    Parameters
    ----------
    model : Path
        The segmenter, a TensorFlow Lite file.

    Returns
    -------
    dict
        Layer name -> [kernel] or [kernel, bias].

    Raises
    ------
    InputError
        If the file holds another model.
    """
    kernel, bias = score_weights()
    given = {"rgb": list(rgb_weights()), "score": [kernel[:, :, None, None], bias]}
    return given | converted_weights(selfie.selfie_trimap_deploy(), model, SOURCE, tuple(given))


def main(argv: list[str] | None = None) -> int:
    """Fetch the segmenter, convert it, write the caffemodel."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=named_path, help="TFLite file (fetched)")
    parser.add_argument("-o", "--output", type=named_path, default=DEFAULT_OUTPUT)
    options = parser.parse_args(argv)

    model = options.model or fetch("selfie-segmenter")
    refuse_overwriting([options.output], [model])
    weights = selfie_weights(model)
    net = caffemodel(selfie.selfie_trimap_deploy(), weights, "selfie")
    with atomic_write(options.output) as path:
        path.write_bytes(net.SerializeToString())
    count = sum(array.size for arrays in weights.values() for array in arrays)
    print(f"{options.output}: {len(weights)} layers, {count} weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
