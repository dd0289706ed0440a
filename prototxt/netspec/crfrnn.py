"""CRF-RNN for trimaps, a row of Table 1: FCN-8s and mean-field inference, trained together.

Zheng et al., "Conditional Random Fields as Recurrent Neural Networks" (2015).  Training starts
from FCN-8s that was trained to the trimap before; the layer is
`caffe_layers.mean_field_layer`, its mathematics `caffe_layers.mean_field`.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import caffe
from caffe import layers as L
from caffe.proto import caffe_pb2

from caffe_layers.mean_field import CrfSettings
from prototxt.catalog import CRF_LAYER
from prototxt.netspec import fcn8s
from prototxt.netspec.blocks import both_phases, named, trimap_loss
from prototxt.netspec.fcn8s import SHAPES, fcn8s_scores, input_shape, portrait_data

#: By net: its FCN-8s, a key of `prototxt.netspec.fcn8s.SHAPES`, and the CRF that it starts
#: with.  The published one (160, 3, 3 and weights of 5 and 3) is for objects in photos of 500
#: pixels; on the trimaps of portraits it removes half of the unknown band before it has learned
#: anything.
VARIANTS = {
    "crfrnn_half": (
        "fcn8s_half",
        CrfSettings(theta_alpha=80, theta_gamma=3, bilateral_weight=0.5, spatial_weight=0.3),
    ),
    "lite_crfrnn": (
        "lite",
        CrfSettings(theta_alpha=40, theta_gamma=1.5, bilateral_weight=0.5, spatial_weight=0.3),
    ),
}
ITERATIONS = {"train": 5, "test": 10}  # the published ones
#: Rates of W_spatial, W_bilateral and C, for Adam, whose steps are the rate whatever the gradient.
RATES = (100, 100, 30)


def mean_field(n: caffe.NetSpec, settings: CrfSettings, **options) -> None:
    """Top ``crf_score`` from the blobs ``score`` and ``data``."""
    options = asdict(settings) | {"iterations": ITERATIONS} | options
    n[CRF_LAYER] = L.Python(
        n.score,
        n.data,
        param=[dict(lr_mult=rate, decay_mult=0) for rate in RATES],
        python_param=dict(
            module="caffe_layers.mean_field_layer",
            layer="MeanFieldLayer",
            param_str=json.dumps(options),
        ),
    )


def train_val(net: str) -> caffe_pb2.NetParameter:
    """Net definition for `caffe train`, both phases: softmax loss against the trimap.

    Parameters
    ----------
    net : str
        A key of `VARIANTS`.
    """
    trunk, settings = VARIANTS[net]
    shape = SHAPES[trunk]
    test_data = portrait_data("test", shape, shape_mask=False)
    n = portrait_data("train", shape, shape_mask=False)
    fcn8s_scores(n, shape)
    mean_field(n, settings, log_every=20)
    trimap_loss(n, CRF_LAYER)
    return both_phases(n, test_data, f"{net}_trimap")


def deploy(net: str) -> caffe_pb2.NetParameter:
    """Net definition for one portrait: from ``data``, mean-subtracted BGR, to ``prob``."""
    trunk, settings = VARIANTS[net]
    n = caffe.NetSpec()
    n.data = L.Input(shape=input_shape(trunk, channels=3))
    fcn8s_scores(n, SHAPES[trunk])
    mean_field(n, settings)
    n.prob = L.Softmax(n.crf_score)
    return named(n, f"{net}_deploy")


def trimap_deploy(net: str) -> caffe_pb2.NetParameter:
    """The same before the mean field, to ``score``, without Python layers."""
    trunk, _ = VARIANTS[net]
    proto = fcn8s.deploy(trunk, "trimap", shape_mask=False)
    proto.name = f"{net}_trimap_deploy"
    return proto
