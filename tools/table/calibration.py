"""Sharper scores, and more or less of them unknown: after a net, within it, or within its weights.

What a softmax loss has trained for a short time leaves F + B = 0.01 in the unknown region, which
is enough to make its matte gray, and calls too little unknown.  Other rows of Table 1 widen their
unknown region by a width that is chosen on validation people; in front of a matting layer two
numbers are chosen in its place: a sharpness, by which scores are multiplied, and a bias, by which
those of the unknown class are raised before (Menon et al., "Long-tail learning via logit
adjustment", ICLR 2021).
"""

from __future__ import annotations

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from tools.evaluation.trimaps import UNKNOWN
from tools.matting.caffe_net import Weights
from tools.training.weights import SCORE_LAYERS


def calibrated_scores(scores: np.ndarray, sharpness: float, unknown_bias: float) -> np.ndarray:
    """Scores (C, h, w) times `sharpness`, those of the unknown class raised before.

    Parameters
    ----------
    scores : (C, h, w) ndarray
        Before the softmax.
    sharpness : float
        Odds of the classes are raised to its power.
    unknown_bias : float
        Logarithm of what the odds of the unknown class are multiplied by.
    """
    raised = scores.copy()
    raised[UNKNOWN] += unknown_bias
    return sharpness * raised


def calibrated_weights(weights: Weights, sharpness: float, unknown_bias: float) -> Weights:
    """Weights of an FCN-8s whose scores are those of `calibrated_scores`.

    Its scores are sums of three convolutions, enlarged by layers without bias.  The enlarged
    bias is smaller in the four outermost pixels, as the scores themselves are there.

    Parameters
    ----------
    weights : dict
        By layer; not changed.
    sharpness, unknown_bias : float
    """
    calibrated = dict(weights)
    for name in SCORE_LAYERS:
        kernel, bias = weights[name]
        if name == SCORE_LAYERS[-1]:  # one of the summands gets it
            bias = bias.copy()
            bias[UNKNOWN] += unknown_bias
        calibrated[name] = [sharpness * kernel, sharpness * bias]
    return calibrated


def calibrate_net(
    definition: caffe_pb2.NetParameter, sharpness: float, unknown_bias: float
) -> None:
    """Calibrate, as `calibrated_scores` does, the scores of which a net's probabilities are made.

    The loss of the trimap, if the net has one, stays that of the scores before: it would take the
    bias back.

    Parameters
    ----------
    definition : NetParameter
        Changed in place: layers come before ``prob``.
    sharpness, unknown_bias : float
    """
    (place,) = (place for place, each in enumerate(definition.layer) if each.name == "prob")
    prob = definition.layer[place]
    calibration = text_format.Parse(
        f"""
        layer {{
          name: "known_and_unknown" type: "Slice" bottom: "{prob.bottom[0]}"
          top: "known_score" top: "unknown_score" slice_param {{ slice_point: {UNKNOWN} }}
        }}
        layer {{
          name: "sharp_known" type: "Power" bottom: "known_score" top: "sharp_known"
          power_param {{ scale: {sharpness} }}
        }}
        layer {{
          name: "sharp_unknown" type: "Power" bottom: "unknown_score" top: "sharp_unknown"
          power_param {{ scale: {sharpness} shift: {sharpness * unknown_bias} }}
        }}
        layer {{
          name: "calibrated_score" type: "Concat" bottom: "sharp_known" bottom: "sharp_unknown"
          top: "calibrated_score"
        }}
        """,
        caffe_pb2.NetParameter(),
    )
    prob.bottom[0] = "calibrated_score"
    layers = list(definition.layer)
    layers[place:place] = calibration.layer
    del definition.layer[:]
    definition.layer.extend(layers)
