"""The `selfie` net: a small person segmenter with a trimap head.

The trunk is the segmenter that ``tools/convert_selfie.py`` reads (a
MobileNetV3 encoder and a gated decoder, 256x256, Apache-2.0), spelled in
BVLC layers only.  The head turns its logit into the three scores of eq. 3,
so that the matting layer follows it like any other trimap net.

Where Caffe has no layer of the same meaning, the spelling is:

* hard-swish x clip(x + 3, 0, 6) / 6: clip(x + 3, 0, 6) = relu(x + 3) -
  relu(x - 3).  (BVLC's Clip layer is younger than most readers of Caffe
  files; OpenCV's has none.)
* stride-2 convolutions with TensorFlow's padding, one row and column less
  before the image than after it: a kernel one row and column larger, whose
  first row and column are zero, with symmetric padding.
* bilinear x2 with clamped borders: see `prototxt.netspec.blocks.upsample_bilinear`.
* squeeze-and-excitation: Scale with two bottoms, N x C x H x W and N x C.
"""

from __future__ import annotations

from dataclasses import dataclass

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from prototxt.catalog import MEAN_BGR
from prototxt.netspec.blocks import (
    CROP,
    FIXED,
    LEARNED,
    both_phases,
    convolution,
    lmdb_data,
    matte_loss,
    matting,
    named,
    reduced_portrait,
    relu,
    upsample_bilinear,
)

NET_SIZE = (256, 256)  # rows, columns of `data`; the photo is stretched to it

REDUCTION = 3  # of portraits, for training

# Net pixels, everywhere the same in training; on photos tools/matting/band.py widens
# the band where hair can be.
TRAIN_RADIUS = 3


@dataclass(frozen=True)
class Block:
    """One inverted residual block: expand, depthwise, squeeze, project."""

    name: str
    kernel: int
    stride: int
    expand: int
    squeeze: int  # channels in the bottleneck of the gate; 0 = no gate
    project: int
    activation: str  # "relu" or "hard_swish"
    residual: bool


ENCODER = (
    Block("block1", 3, 2, 16, 8, 16, "relu", False),
    Block("block2", 3, 2, 72, 0, 24, "relu", False),
    Block("block3", 3, 1, 88, 0, 24, "relu", True),
    Block("block4", 5, 2, 96, 24, 32, "hard_swish", False),
    Block("block5", 5, 1, 128, 32, 32, "hard_swish", True),
    Block("block6", 5, 1, 128, 32, 32, "hard_swish", True),
    Block("block7", 5, 1, 96, 24, 32, "hard_swish", True),
    Block("block8", 5, 1, 96, 24, 32, "hard_swish", True),
)
CONTEXT_CHANNELS = 128


def hard_swish(n: NetSpec, name: str, bottom: Top) -> Top:
    """Activation x (relu(x + 3) - relu(x - 3)) / 6."""
    n[f"{name}_high"] = L.Power(bottom, shift=3)
    n[f"{name}_low"] = L.Power(bottom, shift=-3)
    high = relu(n, f"{name}_high", n[f"{name}_high"])
    low = relu(n, f"{name}_low", n[f"{name}_low"])
    ramp = L.Eltwise(high, low, operation=P.Eltwise.SUM, coeff=[1 / 6, -1 / 6])
    n[f"{name}_ramp"] = ramp
    n[f"{name}_swish"] = L.Eltwise(bottom, ramp, operation=P.Eltwise.PROD)
    return n[f"{name}_swish"]


ACTIVATIONS = {"relu": relu, "hard_swish": hard_swish}


def mean_over_image(n: NetSpec, name: str, bottom: Top) -> Top:
    """N x C x H x W -> N x C x 1 x 1."""
    n[name] = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    return n[name]


def gate(n: NetSpec, name: str, bottom: Top, logits: Top) -> Top:
    """Multiply every channel of `bottom` by the sigmoid of its logit."""
    n[f"{name}_sigmoid"] = L.Sigmoid(logits)
    n[f"{name}_factors"] = L.Flatten(n[f"{name}_sigmoid"])
    n[name] = L.Scale(bottom, n[f"{name}_factors"], axis=0)
    return n[name]


def squeeze_gate(
    n: NetSpec, name: str, watched: Top, bottom: Top, bottleneck: int, channels: int
) -> Top:
    """Gate the channels of `bottom` by what `watched` holds on average."""
    mean = mean_over_image(n, f"{name}_mean", watched)
    reduce = convolution(n, f"{name}_reduce", mean, bottleneck)
    reduce = relu(n, f"{name}_reduce", reduce)
    expand = convolution(n, f"{name}_expand", reduce, channels)
    return gate(n, name, bottom, expand)


def encoder_block(n: NetSpec, block: Block, bottom: Top) -> Top:
    """Inverted residual block of MobileNetV3 (Howard et al. 2019)."""
    name = block.name
    activate = ACTIVATIONS[block.activation]
    wide = convolution(n, f"{name}_expand", bottom, block.expand)
    wide = activate(n, f"{name}_expand", wide)
    deep = convolution(
        n,
        f"{name}_depthwise",
        wide,
        block.expand,
        block.kernel,
        block.stride,
        group=block.expand,
    )
    deep = activate(n, f"{name}_depthwise", deep)
    if block.squeeze:
        deep = squeeze_gate(n, f"{name}_gate", deep, deep, block.squeeze, block.expand)
    narrow = convolution(n, f"{name}_project", deep, block.project)
    if not block.residual:
        return narrow
    n[f"{name}_sum"] = L.Eltwise(narrow, bottom)
    return n[f"{name}_sum"]


def context(n: NetSpec, bottom: Top) -> Top:
    """Features of every pixel, gated by the mean of the whole image."""
    mean = mean_over_image(n, "context_mean", bottom)
    features = convolution(n, "context_features", bottom, CONTEXT_CHANNELS)
    logits = convolution(n, "context_logits", mean, CONTEXT_CHANNELS)
    features = relu(n, "context_features", features)
    return gate(n, "context_gate", features, logits)


def decoder_stage(
    n: NetSpec, name: str, bottom: Top, bottom_channels: int, skip: Top, channels: int
) -> Top:
    """Upsample, join the gated encoder blob of that size, refine."""
    up = upsample_bilinear(n, f"{name}_up", bottom, bottom_channels)
    lateral = convolution(n, f"{name}_lateral", up, channels)
    n[f"{name}_joint"] = L.Eltwise(skip, lateral)
    gated = squeeze_gate(n, f"{name}_gate", n[f"{name}_joint"], skip, channels, channels)
    n[f"{name}_fused"] = L.Eltwise(gated, lateral)
    refined = convolution(n, f"{name}_refine", n[f"{name}_fused"], channels)
    refined = relu(n, f"{name}_refine", refined)
    smooth = convolution(n, f"{name}_depthwise", refined, channels, 3, group=channels)
    smooth = relu(n, f"{name}_depthwise", smooth)
    n[f"{name}_sum"] = L.Eltwise(refined, smooth)
    return n[f"{name}_sum"]


def features(n: NetSpec, colors: Top) -> Top:
    """What the decoder knows of every second pixel, N x 16 x H/2 x W/2.

    Parameters
    ----------
    n : NetSpec
    colors : Top
        RGB in [0, 1]; further channels widen the first learned convolution.
        Rows and columns must be multiples of 16.
    """
    half = hard_swish(n, "conv1", convolution(n, "conv1", colors, 16, 3, stride=2))
    outputs = {}
    x = half
    for block in ENCODER:
        outputs[block.name] = x = encoder_block(n, block, x)
    x = context(n, x)
    x = decoder_stage(n, "decode1", x, CONTEXT_CHANNELS, outputs["block3"], 24)
    x = decoder_stage(n, "decode2", x, 24, outputs["block1"], 16)
    return decoder_stage(n, "decode3", x, 16, half, 16)


def per_pixel(n: NetSpec, name: str, bottom: Top, channels: int) -> Top:
    """Values of every pixel from the features of every second one."""
    n[name] = L.Deconvolution(
        bottom,
        param=LEARNED,
        convolution_param=dict(
            num_output=channels, kernel_size=2, stride=2, weight_filler=dict(type="msra")
        ),
    )
    return n[name]


def trunk(n: NetSpec, data: Top) -> Top:
    """Person logit, N x 1 x H x W, of a mean-subtracted BGR image."""
    # Fixed weights: RGB in [0, 1] from our BGR minus mean.
    n.rgb = L.Convolution(data, num_output=3, kernel_size=1, param=FIXED * 2)
    return per_pixel(n, "logit", features(n, n.rgb), 1)


def trimap_head(n: NetSpec, logit: Top, radius: int) -> Top:
    """Scores of foreground, background and unknown from the person logit z.

    With g = `prototxt.catalog.SHARPNESS` and t = `CERTAIN_LOGIT` there, over the
    window of `radius` pixels around each pixel:

        F^s = g (min z - t),   B^s = g (-max z - t),   U^s = 0.

    A pixel is certain where the whole window is, so the unknown band is the
    uncertain logits (|z| < t) widened by the radius.  g is large because in
    the band F + B must vanish against the Laplacian's small eigenvalues: at
    1e-4 it would already pull hair toward 0.5 gray.
    """
    window = dict(pool=P.Pooling.MAX, kernel_size=2 * radius + 1, pad=radius, stride=1)
    n.negated = L.Power(logit, scale=-1)
    n.person_nearby = L.Pooling(logit, **window)  # max z
    n.scene_nearby = L.Pooling(n.negated, **window)  # -min z
    n.nearby = L.Concat(n.scene_nearby, n.person_nearby)
    n.score = L.Convolution(
        n.nearby,
        num_output=3,
        kernel_size=1,
        param=LEARNED,
        weight_filler=dict(type="msra"),
    )
    return n.score


def selfie_trimap_deploy() -> caffe_pb2.NetParameter:
    """Photo -> scores; standard layers only."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, *NET_SIZE]))
    logit = trunk(n, n.data)
    n.segment = L.Sigmoid(logit)
    trimap_head(n, logit, TRAIN_RADIUS)
    return named(n, "selfie_trimap_deploy")


def selfie_deploy() -> caffe_pb2.NetParameter:
    """Photo -> matte, all at the net's size."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, *NET_SIZE]))
    trimap_head(n, trunk(n, n.data), TRAIN_RADIUS)
    matting(n, "data")
    return named(n, "selfie_deploy")


def selfie_train_val() -> caffe_pb2.NetParameter:
    """Fine-tuning end to end on the prepared dataset, at 256 x 192.

    That size holds multiples of 16, which the decoder needs, at the aspect
    of the portraits.
    """
    n, test = NetSpec(), NetSpec()
    for phase, net in (("train", n), ("test", test)):
        net.full_image = lmdb_data(phase, "image", 1, mean_value=list(MEAN_BGR))
        net.full_matte = lmdb_data(phase, "matte", 1, scale=1 / 255)
    n.crop_size = L.DummyData(shape=dict(dim=[1, 1, *CROP]))
    data = reduced_portrait(n, "data", n.full_image, REDUCTION)
    reduced_portrait(n, "matte", n.full_matte, REDUCTION)
    trimap_head(n, trunk(n, data), TRAIN_RADIUS)
    matting(n, "data")
    matte_loss(n)
    return both_phases(n, test, "selfie_train_val")
