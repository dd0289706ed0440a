"""Caffe layer: scores and image in, scores after mean-field inference out (CRF-RNN).

layer {
  name: "crf"  type: "Python"
  bottom: "score"  bottom: "image"  top: "crf_score"
  param { lr_mult: 100 decay_mult: 0 }        # W_spatial
  param { lr_mult: 100 decay_mult: 0 }        # W_bilateral
  param { lr_mult: 30 decay_mult: 0 }         # C
  python_param { module: "caffe_layers.mean_field_layer" layer: "MeanFieldLayer"
                 param_str: '{"theta_alpha": 80, "iterations": {"train": 5, "test": 10}}' }
}
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import caffe
import numpy as np

from caffe_layers.layer_support import (
    LayerError,
    Parameter,
    check_blobs,
    not_negative,
    parse_parameters,
    positive,
    reported,
    whole_number,
)
from caffe_layers.mean_field import (
    CrfKernels,
    CrfSettings,
    CrfWeights,
    MeanFieldStep,
    image_kernels,
    initial_weights,
    mean_field,
    mean_field_gradients,
)

NAME = "MeanFieldLayer"
logger = logging.getLogger(__name__)


def _are_iterations(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"train", "test"}
        and all(type(count) is int and count > 0 for count in value.values())
    )


PUBLISHED = CrfSettings()
PARAMETERS = {
    # Fields of `CrfSettings`; the defaults are those of the published CRF-RNN.  Weights and
    # penalty count where no loaded weights hold the matrices.
    "theta_alpha": positive(PUBLISHED.theta_alpha),
    "theta_beta": positive(PUBLISHED.theta_beta),
    "theta_gamma": positive(PUBLISHED.theta_gamma),
    "bilateral_weight": not_negative(PUBLISHED.bilateral_weight),
    "spatial_weight": not_negative(PUBLISHED.spatial_weight),
    "unknown_penalty": not_negative(PUBLISHED.unknown_penalty),
    # T by phase: fewer in training keep gradients from vanishing.
    "iterations": Parameter(
        {"train": 5, "test": 10},
        _are_iterations,
        'an object with whole numbers above 0, {"train": 5, "test": 10}',
    ),
    # Log the matrices in every N-th training pass; 0: never.
    "log_every": whole_number(0),
}


class MeanFieldLayer(caffe.Layer):
    """Mean-field inference for every image of a batch.

    Bottoms: scores (N, L, H, W), image (N, 3, H, W), any constant color offset.  Top: scores
    (N, L, H, W), whose softmax is the marginals.  Learnable blobs, L x L each: W_spatial,
    W_bilateral and C.  The image counts as a constant: its gradient is 0.
    """

    @reported
    def setup(self, bottom, top):
        check_blobs(NAME, bottom, 2, "bottoms (scores, image)")
        check_blobs(NAME, top, 1, "top (scores)")
        options = parse_parameters(NAME, self.param_str, PARAMETERS)
        phase = "train" if self.phase == caffe.TRAIN else "test"
        self.iterations = options.pop("iterations")[phase]
        self.log_every = int(options.pop("log_every"))
        self.settings = CrfSettings(**options)
        classes = bottom[0].shape[1]
        if len(self.blobs) == 0:
            start = initial_weights(self.settings, classes)
            for matrix in (start.spatial, start.bilateral, start.compatibility):
                self.blobs.add_blob(classes, classes)
                self.blobs[len(self.blobs) - 1].data[...] = matrix
        self.count = 0
        self.passes: list[tuple[list[MeanFieldStep], CrfKernels]] = []

    @reported
    def reshape(self, bottom, top):
        scores, image = tuple(bottom[0].shape), tuple(bottom[1].shape)
        if len(scores) != 4 or image != (scores[0], 3, *scores[2:]):
            raise LayerError(
                f"{NAME}: scores must be N x L x H x W and the image N x 3 x H x W, "
                f"not {scores} and {image}"
            )
        top[0].reshape(*scores)

    @reported
    def forward(self, bottom, top):
        if not np.isfinite(bottom[0].data).all():
            raise LayerError(
                f"{NAME}: the scores hold a NaN or infinity; lower the learning rate and resume "
                "from the last snapshot"
            )
        weights = self._weights()
        self.passes = []
        for scores, image, result in zip(bottom[0].data, bottom[1].data, top[0].data):
            kernels = image_kernels(np.moveaxis(image, 0, 2), self.settings)
            # A copy: the steps must not change when another layer works in place.
            rows = scores.reshape(len(scores), -1).copy()
            found, steps = mean_field(rows, kernels, weights, self.iterations)
            result[...] = found.reshape(result.shape)
            if self.phase == caffe.TRAIN:
                self.passes.append((steps, kernels))
        if self.phase == caffe.TRAIN:
            if self.log_every and self.count % self.log_every == 0:
                self._log(weights)
            self.count += 1

    @reported
    def backward(self, top, propagate_down, bottom):
        weights = self._weights()
        for n, (steps, kernels) in enumerate(self.passes):
            d_result = top[0].diff[n].reshape(top[0].shape[1], -1)
            gradients = mean_field_gradients(steps, kernels, weights, d_result)
            found = gradients.weights
            for blob, gradient in zip(
                self.blobs, (found.spatial, found.bilateral, found.compatibility)
            ):
                blob.diff[...] += gradient  # += : Caffe sums over iter_size
            if propagate_down[0]:
                bottom[0].diff[n] = gradients.scores.reshape(bottom[0].diff[n].shape)
        if propagate_down[1]:
            bottom[1].diff[...] = 0.0

    def _weights(self) -> CrfWeights:
        return CrfWeights(*(blob.data.copy() for blob in self.blobs))

    def _log(self, weights: CrfWeights) -> None:
        """One line with what is learned, row by row."""
        matrices = {
            name: " ".join(f"{value:.4g}" for value in matrix.ravel())
            for name, matrix in asdict(weights).items()
        }
        logger.info("[crf] %s", "; ".join(f"{name} {row}" for name, row in matrices.items()))
