"""Initial weights of a net from published or converted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.images import refuse_overwriting
from prototxt.catalog import NETS, Net
from tools.matting.caffe_net import Weights, read_caffemodel, read_net
from tools.matting.models import MODELS

#: Sources that initial weights can be made from.
ORIGINS = ("fcn8s", "vgg16", "selfie", "nothing")
#: Nets that initial weights are made for; those of the segmenter are converted.
STARTED_NETS = tuple(name for name in NETS if name != "selfie")
#: The published FCN-8s has 21 classes (20 of PASCAL VOC and background).
PUBLISHED_CLASSES = 21
SCORE_LAYERS = ("score_fr", "score_pool4", "score_pool3")
#: Layers whose input has the shape mask as an additional channel.
FIRST_LAYERS = ("conv1_1", "conv1")
UPSAMPLING_LAYERS = ("upscore2", "upscore_pool4", "upscore8")
#: Convolutions in the five stages of VGG-16.
VGG16_STAGES = (2, 2, 3, 3, 3)


@dataclass(frozen=True)
class InitialWeightsReport:
    """How initial weights were made.

    Attributes
    ----------
    layers : list of (str, str)
        Each layer, and what happened to it, as `transplant` returns it.
    classes : tuple of int
        Classes of a 21-class FCN-8s that were chosen; empty for other origins.
    """

    layers: list[tuple[str, str]]
    classes: tuple[int, ...] = ()


def bilinear_kernel(size: int) -> np.ndarray:
    """(size, size) kernel of bilinear upsampling by size / 2."""
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    ramp = 1 - np.abs(np.arange(size) - center) / factor
    return np.outer(ramp, ramp)


def bilinear_weights(shape: tuple[int, int, int, int]) -> np.ndarray:
    """Deconvolution weights that upsample every channel by itself.

    They are the diagonal of a full channels x channels filter, as in the published FCN;
    Caffe's own bilinear filler would fill all pairs of channels.
    """
    weights = np.zeros(shape)
    channels = np.arange(shape[0])
    weights[channels, channels] = bilinear_kernel(shape[-1])
    return weights


def widen_input(
    weights: np.ndarray, channels: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """First-layer weights (K, 3, h, w) for an input of `channels` channels.

    Parameters
    ----------
    weights : (K, 3, h, w) ndarray
    channels : int
    rng : numpy.random.Generator, optional
        Draws the weights of the added channels, with the deviation of the given ones.  Without
        it they are zero: before training, the widened net has the outputs of the original.
    """
    widened = np.zeros((weights.shape[0], channels, *weights.shape[2:]), weights.dtype)
    if rng is not None:
        widened[...] = rng.normal(0, weights.std(), widened.shape)
    widened[:, : weights.shape[1]] = weights
    return widened


def choose_classes(source: Weights, classes: np.ndarray) -> Weights:
    """Reduce the score and upsampling layers of FCN-8s to some classes.

    Parameters
    ----------
    source : Weights
        Weights of a net with `PUBLISHED_CLASSES` classes.
    classes : (3,) int ndarray
        The same for all layers and for both axes of every Deconvolution, so that a
        channel stands for the same class from its first score to the last.
    """
    chosen = dict(source)
    for name in SCORE_LAYERS:
        chosen[name] = [blob[classes] for blob in source[name]]
    for name in UPSAMPLING_LAYERS:
        chosen[name] = [blob[np.ix_(classes, classes)] for blob in source[name]]
    return chosen


def published_fcn8s(path: Path) -> Weights:
    """Weights of a 21-class FCN-8s.

    Raises
    ------
    InputError
        If the file cannot be read or holds another net.
    """
    source = read_caffemodel(path)
    for name in SCORE_LAYERS + UPSAMPLING_LAYERS:
        if name not in source or len(source[name][0]) != PUBLISHED_CLASSES:
            raise InputError(
                f"{path} is no {PUBLISHED_CLASSES}-class FCN-8s: layer {name} is missing or "
                "has another number of classes; give voc-fcn8s weights."
            )
    return source


def draw_classes(seed: int) -> np.ndarray:
    """(3,) classes out of `PUBLISHED_CLASSES`, chosen at random as in the paper."""
    return np.random.default_rng(seed).choice(PUBLISHED_CLASSES, size=3, replace=False)


def vgg16_convolutions() -> Weights:
    """conv1_1 ... conv5_3 of VGG-16, from a Python package of a fixed version.

    They are for images in Caffe's convention (BGR, minus the mean of `prototxt.catalog`).
    Keras stores kernels as (h, w, in, out).
    """
    import h5py

    weights: Weights = {}
    with h5py.File(fetch("vgg16-convolutions")) as file:
        for stage, layers in enumerate(VGG16_STAGES, start=1):
            for i in range(layers):
                group = file[f"block{stage}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                kernel, bias = np.array(group["0"]), np.array(group["1"])
                weights[f"conv{stage}_{i + 1}"] = [kernel.transpose(3, 2, 0, 1), bias]
    return weights


def segmenter(path: Path, channels: int) -> Weights:
    """Weights with which the `portrait` net predicts the segmenter's own trimap.

    Parameters
    ----------
    path : Path
        The converted segmenter, see tools/convert_selfie.py.
    channels : int
        Number of channels of the net's input.

    Raises
    ------
    InputError
        If the file cannot be read or holds another net.
    """
    from prototxt.netspec import portrait

    source = read_caffemodel(path)
    if "logit" not in source:
        raise InputError(f"{path} is no converted segmenter; write one with `make`.")
    # The layers left out belong to the segmenter's own input and trimap head.
    weights = {
        name: blobs for name, blobs in source.items() if name not in ("rgb", "logit", "score")
    }
    kernel, bias = portrait.color_weights(channels)
    weights["colors"] = [kernel[:, :, None, None], bias]
    weights["class_score"] = list(portrait.score_weights(*source["logit"]))
    return weights


def transplant(
    net, source: Weights, rng: np.random.Generator | None = None
) -> list[tuple[str, str]]:
    """Put `source` into a `caffe.Net`; return pairs (layer, what happened to it).

    Parameters
    ----------
    net : caffe.Net
    source : Weights
    rng : numpy.random.Generator, optional
        As `widen_input` takes it.

    Raises
    ------
    InputError
        If weights fit neither directly nor after widening the input.
    """
    report = []
    for name, blobs in net.params.items():
        if name in UPSAMPLING_LAYERS and name not in source:
            blobs[0].data[...] = bilinear_weights(blobs[0].data.shape)
            report.append((name, "bilinear"))
            continue
        if name not in source:
            report.append((name, "left as filled"))
            continue
        given = source[name]
        if len(given) != len(blobs):
            raise InputError(
                f"The weights do not fit: layer {name} has {len(given)} blobs there and "
                f"{len(blobs)} in this net; give weights of the same kind of net."
            )
        action = "copied"
        for blob, values in zip(blobs, given):
            want = tuple(blob.data.shape)
            if name in FIRST_LAYERS and values.ndim == 4 and values.shape[1] == 3 < want[1]:
                values = widen_input(values, want[1], rng)
                action = f"widened to {want[1]} channels"
            # Old files store biases as 1 x 1 x 1 x K.
            if values.size == np.prod(want) and values.shape != want and len(want) == 1:
                values = values.reshape(want)
            if values.shape != want:
                raise InputError(
                    f"The weights do not fit: layer {name} is {values.shape} there and "
                    f"{want} in this net; give weights of the same kind of net."
                )
            blob.data[...] = values
        if name in SCORE_LAYERS + UPSAMPLING_LAYERS:
            action = "chosen"
        report.append((name, action))
    unused = [name for name in source if name not in net.params]
    return report + [(name, "not in this net") for name in unused]


def filled_net(net: Net, seed: int):
    """A `caffe.Net` from ``data`` to ``score``, its random weights drawn from `seed`.

    A net that is compared with another gets that net's weights in every layer of the same
    name and shape, so that comparing the two does not compare random draws.
    """
    import caffe

    if not net.trimap_deploy.exists():
        raise InputError(f"{net.trimap_deploy} does not exist; run 'make prototxt'.")
    caffe.set_mode_cpu()
    caffe.set_random_seed(seed)
    filled = caffe.Net(str(net.trimap_deploy), caffe.TEST)
    if net.compared_with is not None:
        twin = filled_net(NETS[net.compared_with], seed)
        for name, blobs in filled.params.items():
            others = twin.params.get(name, ())
            if [a.data.shape for a in blobs] == [b.data.shape for b in others]:
                for blob, other in zip(blobs, others):
                    blob.data[...] = other.data
    return filled


def mean_weights(snapshots: Sequence[Weights]) -> Weights:
    """Mean of several weights of one net, layer by layer.

    Steps of an optimizer at a fixed rate end somewhere around what they approach; the mean of
    several of them is nearer to it (Polyak and Juditsky, 1992; Izmailov et al., UAI 2018).

    Parameters
    ----------
    snapshots : sequence of dict
        One or more, with the same layers and shapes.
    """
    first = snapshots[0]
    return {
        layer: [
            np.mean([each[layer][number] for each in snapshots], axis=0, dtype=np.float64)
            for number in range(len(blobs))
        ]
        for layer, blobs in first.items()
    }


def has_layers_of(net: Net, weights: Weights) -> bool:
    """Whether a net has convolutions of the names and widths of some weights."""
    widths = {
        layer.name: layer.convolution_param.num_output
        for layer in read_net(net.trimap_deploy).layer
        if layer.type == "Convolution" and layer.name in weights
    }
    return any(len(weights[name][0]) == width for name, width in widths.items())


def write_initial_weights(
    net: Net, origin: str, output: Path, source: Path | None = None, seed: int = 0
) -> InitialWeightsReport:
    """Write a caffemodel to start a training from.

    Parameters
    ----------
    net : Net
    origin : str
        One of `ORIGINS`.
    output : Path
    source : Path, optional
        The 21-class FCN-8s, which ``"fcn8s"`` needs, or the converted segmenter (default:
        the one that `make` writes).
    seed : int
        Decides the random weights, and the classes that are taken from an FCN-8s.

    Returns
    -------
    InitialWeightsReport

    Raises
    ------
    InputError
        If a source is missing or is given to an origin that takes none, the source is the
        output, or its weights do not fit or belong to no layer of the net.
    """
    if origin == "fcn8s" and source is None:
        raise InputError("--from fcn8s needs --source.")
    if origin in ("vgg16", "nothing") and source is not None:
        raise InputError(f"--from {origin} takes no --source.")
    if source is not None:
        refuse_overwriting([output], [source])
    # Not the whole net: Caffe would load its lambda over that of the layer's param_str.
    filled = filled_net(net, seed)
    weights: Weights = {}
    classes: tuple[int, ...] = ()
    if origin == "fcn8s":
        drawn = draw_classes(seed)
        weights, classes = choose_classes(published_fcn8s(source), drawn), tuple(drawn.tolist())
    elif origin == "selfie":
        weights = segmenter(source or MODELS["selfie"].weights, filled.blobs["data"].shape[1])
    elif origin == "vgg16":
        weights = vgg16_convolutions()
    # Shen et al. start the channels that they add at random; our shape mask starts at zero.
    rng = np.random.default_rng(seed) if net.has_position else None
    report = InitialWeightsReport(transplant(filled, weights, rng), classes)
    if weights and not set(weights) & set(filled.params):
        fitting = ", ".join(each for each in STARTED_NETS if has_layers_of(NETS[each], weights))
        raise InputError(
            f"--from {origin} has no layer of the net {net.name}, so nothing would be copied; "
            f"it fits {fitting}."
        )
    with atomic_write(output) as path:
        filled.save(str(path))
    return report
