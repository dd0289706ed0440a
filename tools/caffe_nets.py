"""Caffe nets built in memory, with weights that are checked before Caffe sees them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep.errors import InputError
from tools.init_weights import Weights, read_caffemodel


def read_net(path: Path, blobs: Sequence[str]) -> caffe_pb2.NetParameter:
    """Read a deploy definition.

    Parameters
    ----------
    path : Path
    blobs : sequence of str
        What it must have.

    Raises
    ------
    InputError
        If it is missing, no net definition, or lacks a blob.
    """
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(path.read_text(), net)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write it with `make prototxt`.") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no net definition ({error}).") from None
    tops = {top for layer in net.layer for top in layer.top}
    for blob in blobs:
        if blob not in tops:
            raise InputError(f"{path} has no blob {blob}; give a deploy definition.")
    return net


def build_net(definition: caffe_pb2.NetParameter) -> caffe.Net:
    """A `caffe.Net` (TEST) from a definition in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")  # Caffe reads definitions from files only
        path.write_text(text_format.MessageToString(definition))
        return caffe.Net(str(path), caffe.TEST)


def load_weights(net: caffe.Net, weights: Weights, path: Path) -> None:
    """Fill a net, after checking what Caffe would abort on or pass over.

    Raises
    ------
    InputError
        If a layer of the net has no weights in the file, or others.
    """
    for layer, blobs in net.params.items():
        wanted = [tuple(blob.data.shape) for blob in blobs]
        given = [array.shape for array in weights.get(layer, ())]
        if wanted != given:
            found = " and ".join(map(str, given)) or "nothing"
            raise InputError(
                f"{path} belongs to another net: layer {layer} wants "
                f"{' and '.join(map(str, wanted))}, the file has {found}; "
                "give the weights of this model."
            )
    for layer, blobs in net.params.items():
        for blob, array in zip(blobs, weights[layer]):
            blob.data[...] = array


def open_net(
    deploy: Path, weights: Path, blobs: Sequence[str], command: str
) -> tuple[caffe.Net, Weights]:
    """A net with its weights, and all that the file of weights holds.

    Parameters
    ----------
    deploy, weights : Path
    blobs : sequence of str
        What the net must have.
    command : str
        That makes the weights.

    Raises
    ------
    InputError
        If a file is missing, damaged or belongs to another net.
    """
    definition = read_net(deploy, blobs)
    if not weights.is_file():
        raise InputError(f"{weights} does not exist; make it with `{command}`.")
    trained = read_caffemodel(weights)
    net = build_net(definition)
    load_weights(net, trained, weights)
    return net, trained
