"""Weights with 8 bits each, a fourth of a caffemodel, for nets that ship with the project.

A file ``NET.int8.npz`` is a NumPy archive, a ZIP file of arrays that other languages read too.
For blob number ``i`` of a layer it has ``LAYER/i``:

* float32: the values themselves (biases, lambda, layers of few weights);
* int8, with ``LAYER/i.scale`` beside it, float32 with one number for each output channel: the
  values are the product of both.

A channel's scale is its largest weight by 127.  Smaller scales, which clip the largest weights,
hardly lower the squared error of the trained layers of FCN-8s, whose largest weights are but four
to seven standard deviations.

Weights are not rounded one by one, but so that the sum of every kernel stays (the idea of Guo et
al., "SQuant", ICLR 2022): pixels of a map are alike and not negative, so that the errors of a
kernel's weights add up, and shift what later layers see.  On 30 test portraits and an FCN-8s of
400 iterations, nearest levels raised the SAD by 0.45 %, these change it by 0.01 %.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np

from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write, atomic_write_keeping, require_file
from prototxt.catalog import Net
from tools.matting.caffe_net import (
    Weights,
    load_net,
    read_caffemodel,
    read_net,
    write_caffemodel,
)

#: Largest level; -128 stays unused, so that levels are symmetric.
LARGEST_LEVEL = 127
#: Blobs of fewer weights stay in float32: together they take less than one part in a thousand.
FEWEST_WEIGHTS = 4096


def quantized(blob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels of a blob and the step between them.

    Parameters
    ----------
    blob : (K, C, ...) float32 ndarray
        Finite weights: output channels, input channels, kernels.

    Returns
    -------
    levels : (K, C, ...) int8 ndarray
        From -127 to 127.
    scale : (K, 1, ...) float32 ndarray
        Positive.  ``levels * scale`` is nearer than this to `blob`, and sums of kernels are
        within half of it.
    """
    largest = np.abs(blob).max(axis=tuple(range(1, blob.ndim)), keepdims=True)
    scale = (largest / LARGEST_LEVEL).astype(np.float32)
    scale[scale == 0] = 1  # a channel of zeros has levels of zero whatever its step is
    exact = (blob / scale).reshape(*blob.shape[:2], -1)
    levels = np.rint(exact)
    rest = exact - levels
    # As many whole steps as a kernel's sum lacks go to the weights that are nearest to them.
    lacking = np.rint(rest.sum(axis=2, keepdims=True))
    nearest_first = np.argsort(-rest * np.sign(lacking), axis=2, kind="stable")
    place = np.argsort(nearest_first, axis=2, kind="stable")
    levels += np.sign(lacking) * (place < np.abs(lacking))
    levels = np.clip(levels, -LARGEST_LEVEL, LARGEST_LEVEL)
    return levels.astype(np.int8).reshape(blob.shape), scale


def write_quantized(path: Path, weights: Weights) -> None:
    """Write weights as an archive of the format above; equal weights make equal files.

    Parameters
    ----------
    path : Path
        Its name ends in ``.npz``.
    weights : Weights

    Raises
    ------
    InputError
        If a weight is not finite, or the file cannot be written.
    """
    arrays = {}
    for layer, blobs in weights.items():
        for index, blob in enumerate(blobs):
            key = f"{layer}/{index}"
            if not np.isfinite(blob).all():
                raise InputError(f"Layer {layer} has weights that are not finite; train it again.")
            if blob.ndim > 1 and blob.size >= FEWEST_WEIGHTS:
                arrays[key], arrays[f"{key}.scale"] = quantized(blob)
            else:
                arrays[key] = blob.astype(np.float32)
    with atomic_write(path) as scratch:
        np.savez_compressed(scratch, **arrays)  # type: ignore[arg-type]  # stubs: allow_pickle


def read_quantized(path: Path) -> Weights:
    """The weights that `write_quantized` wrote, in float32.

    Raises
    ------
    InputError
        If the file is missing, damaged or none of this kind.
    """
    weights: Weights = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                layer, _, index = key.rpartition("/")
                if not index.endswith(".scale"):
                    values = arrays[key]
                    if values.dtype == np.int8:
                        values = values * arrays[f"{key}.scale"]
                    weights.setdefault(layer, []).append(values.astype(np.float32))
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; give a folder that has it, such as data/weights of a "
            "checkout, with --source."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(
            f"{path} is damaged, or holds no weights with 8 bits; restore it with `git checkout`."
        ) from None
    return weights


def check_weights(net: Net, weights: Weights, path: Path) -> None:
    """Refuse weights of a file that are not those of a net.

    Raises
    ------
    InputError
        If a layer of the net has no weights, or others.
    """
    load_net(read_net(net.trimap_deploy), weights, path)


def _copy_shape_mask(net: Net, source: Path, folder: Path) -> None:
    """Put the shape mask of a net that takes one into a folder, after checking it."""
    if net.has_shape_mask:
        require_file(source)  # `make data` writes another one
        ShapeMask.load(source)
        with atomic_write_keeping(net.shape_mask(folder)) as scratch:
            shutil.copyfile(source, scratch)


def pack(net: Net, caffemodel: Path, shape_mask: Path, folder: Path) -> Path:
    """Put a trained net into a folder: its weights with 8 bits, and its shape mask if it has one.

    Parameters
    ----------
    net : Net
    caffemodel : Path
        Of training end to end, with lambda in it, or of the warm start, without.
    shape_mask : Path
        What the net was trained with.  Nets without one leave it out.
    folder : Path

    Returns
    -------
    Path
        The file of the weights.

    Raises
    ------
    InputError
        If a file is missing, of another kind or of another net, or cannot be written.
    """
    trained = read_caffemodel(caffemodel)
    check_weights(net, trained, caffemodel)
    # Layers that only training has, as those that make its labels, are left out.
    layers = {layer.name for layer in read_net(net.deploy).layer}
    _copy_shape_mask(net, shape_mask, folder)
    target = net.packed_weights(folder)
    write_quantized(target, {name: trained[name] for name in trained if name in layers})
    return target


def expand(net: Net, source: Path, target: Path) -> Path:
    """Write the caffemodel and shape mask of a net that was packed, where programs find them.

    Equal packed files give equal files.  Others that are there already, such as those that
    somebody trained, are moved aside, and a warning says where they are.

    Parameters
    ----------
    net : Net
    source, target : Path
        Folders.

    Returns
    -------
    Path
        The caffemodel.

    Raises
    ------
    InputError
        If a packed file is missing, damaged or of another net, or one cannot be written.
    """
    packed = net.packed_weights(source)
    weights = read_quantized(packed)
    check_weights(net, weights, packed)
    _copy_shape_mask(net, net.shape_mask(source), target)
    # Last: while it is missing, `make` does this again.
    caffemodel = target / f"{net.name}.caffemodel"
    write_caffemodel(caffemodel, weights)
    return caffemodel
