"""One training pass of a net on two processors, compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf import text_format

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from tools.matting.caffe_net import Weights, read_caffemodel
from tools.matting.device import enter_device
from tools.matting.models import ROOT
from tools.matting.pycaffe import load_caffe
from tools.training.stages import check_databases, databases

#: Largest difference that rounding explains, relative to the largest value of the array.
TOLERANCE = 1e-4


def without_dropout(definition: Path) -> str:
    """A net for training whose result depends on nothing random.

    Raises
    ------
    InputError
        If a Dropout layer does not work in place, so that it cannot just be left out.
    """
    net = load_caffe().proto.caffe_pb2.NetParameter()
    text_format.Parse(definition.read_text(), net)
    kept = []
    for layer in net.layer:
        if layer.type != "Dropout":
            kept.append(layer)
        elif layer.bottom != layer.top:
            raise InputError(f"{definition}: Dropout layer {layer.name} is not in place.")
    del net.layer[:]
    net.layer.extend(kept)
    return text_format.MessageToString(net)


def with_databases(definition: Path, prepared: Path, text: str | None = None) -> Path:
    """Write a net for training that reads other databases; returns its path.

    Parameters
    ----------
    definition : Path
    prepared : Path
        Folder of databases, as the checkout names it.
    text : str, optional
        The net in place of what the definition holds.

    Raises
    ------
    InputError
        If a database is missing or damaged, with which Caffe would abort.
    """
    if text is None:
        text = definition.read_text()
    for folder in {source.parent for source in databases(definition)}:
        text = text.replace(f"{folder}/", f"{prepared}/")
    path = ROOT / "out/nets" / definition.parent.name / definition.name
    with atomic_write(path) as scratch:
        scratch.write_text(text)
    check_databases(path)
    return path


def training_pass(
    definition: Path, weights: Weights | None, prepared: Path, on_gpu: bool
) -> dict[str, np.ndarray]:
    """Outputs and gradients of one forward and backward pass over the first batch.

    Parameters
    ----------
    definition : Path
        A net for training, with its databases.
    weights : dict, optional
        Values of some layers; the others are drawn, always the same.
    prepared : Path
        Folder of the databases.
    on_gpu : bool
        On the chosen processor (`tools.matting.device`); else on the CPU.

    Returns
    -------
    dict
        ``"output NAME"`` and ``"gradient LAYER/NUMBER"``, in float32.
    """
    caffe = load_caffe()
    caffe.set_mode_cpu()
    if on_gpu:
        enter_device(caffe)
    caffe.set_random_seed(1)
    path = with_databases(definition, prepared, without_dropout(definition))
    net = caffe.Net(str(path), caffe.TRAIN)
    for layer, blobs in (weights or {}).items():
        for blob, values in zip(net.params.get(layer, ()), blobs):
            blob.data[...] = values
    net.forward()
    net.backward()
    found = {f"output {name}": net.blobs[name].data.copy() for name in net.outputs}
    for name in ("score", "alpha"):
        if name in net.blobs:
            found[f"output {name}"] = net.blobs[name].data.copy()
    for layer, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"gradient {layer}/{index}"] = blob.diff.copy()
    caffe.set_mode_cpu()
    return found


def largest_difference(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> tuple[float, str]:
    """Largest difference of two passes, relative to the largest value of its array; and where.

    NaN, the worst of all, is reported where it comes first.
    """
    worst, where = 0.0, ""
    for name, array in theirs.items():
        scale = float(np.abs(array).max()) or 1.0
        difference = float(np.abs(ours[name].astype(np.float64) - array).max()) / scale
        if np.isnan(difference):
            return difference, name
        if difference > worst:
            worst, where = difference, name
    return worst, where


def compare(definition: Path, weights: Path | None, prepared: Path) -> dict[str, object]:
    """Compare the chosen processor with the CPU on one training pass of a net.

    Returns
    -------
    dict
        ``difference``, ``where``, ``arrays`` and whether it is ``within`` `TOLERANCE`.
    """
    values = read_caffemodel(weights) if weights else None
    difference, where = largest_difference(
        training_pass(definition, values, prepared, on_gpu=True),
        theirs := training_pass(definition, values, prepared, on_gpu=False),
    )
    return {
        "difference": difference,
        "where": where,
        "arrays": len(theirs),
        "within": bool(difference <= TOLERANCE),
    }
