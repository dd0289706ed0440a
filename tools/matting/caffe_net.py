"""Caffe nets: definitions, weights, and filling one with the other."""

from __future__ import annotations

import tempfile
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf import text_format

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write_keeping
from tools.matting.device import enter_device
from tools.matting.pycaffe import load_caffe

if TYPE_CHECKING:  # trimaps and masks from outside are matted without Caffe
    import caffe
    from caffe.proto import caffe_pb2

Weights = dict[str, list[np.ndarray]]


def read_net(path: Path, output: str = "score") -> caffe_pb2.NetParameter:
    """Read a deploy definition.

    Raises
    ------
    InputError
        If it is missing, no net definition, has no ``data`` and no such output, or is for
        training (Caffe ends the process where it does not find the databases), or if
        Caffe is not built.
    """
    net = load_caffe().proto.caffe_pb2.NetParameter()
    try:
        text_format.Parse(path.read_text(), net)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write it with `make prototxt`.") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no net definition ({error}).") from None
    tops = {top for layer in net.layer for top in layer.top}
    for blob in ("data", output):
        if blob not in tops:
            raise InputError(f"{path} has no blob {blob}; give {_deploy_of(path)}.")
    if any("data" in layer.top and layer.type != "Input" for layer in net.layer):
        raise InputError(
            f"{path} is for training, its data come from databases; give {_deploy_of(path)}."
        )
    return net


def _deploy_of(path: Path) -> str:
    """The deploy definition beside a train_val net, for messages; else any."""
    beside = (path.with_name(name) for name in ("trimap_deploy.prototxt", "deploy.prototxt"))
    found = next((deploy for deploy in beside if deploy.is_file()), None)
    return f"its deploy definition, {found}" if found else "a deploy definition"


def _built(definition: caffe_pb2.NetParameter) -> caffe.Net:
    """A net from a definition in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")  # Caffe reads definitions from files only
        path.write_text(text_format.MessageToString(definition))
        return built_net(path)


def built_net(path: Path) -> caffe.Net:
    """A net (TEST) without weights, on the chosen processor.

    Caffe reads the definition much faster than `read_net`, and ends the process where it is none.
    """
    caffe = load_caffe()
    enter_device(caffe)
    return caffe.Net(str(path), caffe.TEST)


def run_net(net: caffe.Net, blob: str) -> np.ndarray:
    """A blob after a forward pass that ends with it.

    The pass is on the chosen processor, which Caffe keeps by thread.

    Returns
    -------
    ndarray of float32
        A view of the net's memory, which the next pass writes over.
    """
    enter_device(load_caffe())
    *_, last = (layer for layer, tops in net.top_names.items() if blob in tops)
    net.forward(end=last)
    return net.blobs[blob].data


def load_net(definition: caffe_pb2.NetParameter, weights: Weights, path: Path) -> caffe.Net:
    """A net with its weights (TEST), on the chosen processor.

    What Caffe would abort on or pass over is checked before.  A layer that never learns and that
    the file does not have, such as an enlargement that the training did without, keeps what its
    definition fills it with.

    Parameters
    ----------
    definition : NetParameter
    weights : mapping
    path : Path
        Their file, for the error message.

    Raises
    ------
    InputError
        If a layer of the net has no weights in the file, or others.
    """
    net = _built(definition)
    fixed = {
        layer.name
        for layer in definition.layer
        if layer.param and all(each.lr_mult == 0 for each in layer.param)
    }
    fill_net(net, weights, path, fixed)
    return net


def fill_net(net: caffe.Net, weights: Weights, path: Path, fixed: Set[str] = frozenset()) -> None:
    """Give a net its weights; parameters and errors are those of `load_net`.

    Layers of `fixed` that have none keep what they are filled with.
    """
    given_layers = {
        layer: blobs
        for layer, blobs in net.params.items()
        if layer in weights or layer not in fixed
    }
    for layer, blobs in given_layers.items():
        wanted = [tuple(blob.data.shape) for blob in blobs]
        given = [array.shape for array in weights.get(layer, ())]
        if wanted != given:
            found = " and ".join(map(str, given)) or "nothing"
            raise InputError(
                f"{path} belongs to another net: layer {layer} wants "
                f"{' and '.join(map(str, wanted))}, the file has {found}; "
                "give the weights of this model."
            )
    for layer, blobs in given_layers.items():
        for blob, array in zip(blobs, weights[layer]):
            blob.data[...] = array


def read_caffemodel(path: Path) -> Weights:
    """Weights by layer name from a caffemodel, without building a net.

    Raises
    ------
    InputError
        If the file is missing or holds no net with weights.
    """
    from caffe.proto import caffe_pb2
    from google.protobuf.message import DecodeError

    net = caffe_pb2.NetParameter()
    try:
        net.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; check the name, or make the weights first."
        ) from None
    except DecodeError:
        raise InputError(f"{path} is no caffemodel; give a file that Caffe wrote.") from None
    weights = {}
    for layer in net.layer:
        if layer.blobs:
            weights[layer.name] = [
                np.array(blob.data, dtype=np.float32).reshape(
                    tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
                )
                for blob in layer.blobs
            ]
    if not weights:
        raise InputError(
            f"{path} holds no layers with weights (or the old V1 format: run Caffe's "
            "upgrade_net_proto_binary on it first)."
        )
    return weights


def write_caffemodel(path: Path, weights: Weights) -> None:
    """Write weights in float32, as Caffe and `read_caffemodel` read them.

    An existing file with other weights is moved aside, and a warning says where it is.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    from caffe.proto import caffe_pb2

    net = caffe_pb2.NetParameter()
    for name, blobs in weights.items():
        layer = net.layer.add(name=name)
        for array in blobs:
            blob = layer.blobs.add(data=array.astype(np.float32).ravel())
            blob.shape.dim[:] = array.shape
    with atomic_write_keeping(path) as scratch:
        scratch.write_bytes(net.SerializeToString())
