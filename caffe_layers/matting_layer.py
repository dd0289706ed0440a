"""Caffe layer: probabilities and image in, alpha matte out (eq. 5 to 8).

layer {
  name: "alpha"  type: "Python"
  bottom: "prob"  bottom: "image"  top: "alpha"
  param { lr_mult: 1e5 decay_mult: 0 }        # lambda; 1e2 to 1e3 under Adam
  python_param { module: "caffe_layers.matting_layer" layer: "MattingLayer"
                 param_str: '{"lambda": 100}' }
}

Beyond the paper, `"smooth": true` takes the Laplacian of the smoothed photo, as
`tools/matte.py` does, and `"nonlocal": 3e-4` adds affinities of unknown pixels to D, as its
option ``--nonlocal 3e-4`` does.
"""

from __future__ import annotations

import logging

import caffe
import numpy as np

from caffe_layers.affinities import affinities
from caffe_layers.laplacian import DEFAULT_EPSILON, matting_laplacian
from caffe_layers.layer_support import (
    LayerError,
    Parameter,
    check_blobs,
    is_number,
    not_negative,
    parse_parameters,
    positive,
    reported,
    switch,
    whole_number,
)
from caffe_layers.linear_solver import SOLVERS
from caffe_layers.matting import DEFAULT_LAMBDA, LAMBDA_FLOOR, MattingFunction
from caffe_layers.smoothing import smoothed
from caffe_layers.threads import calls_at_once, map_in_threads

NAME = "MattingLayer"
logger = logging.getLogger(__name__)

PARAMETERS = {
    # Lambda where no loaded weights hold one (initial weights do not, snapshots do);
    # None: `DEFAULT_LAMBDA`.
    "lambda": positive(None),
    # D is positive definite only for lambda > 0, which SGD does not respect.
    "lambda_floor": positive(LAMBDA_FLOOR),
    "epsilon": positive(DEFAULT_EPSILON),
    "radius": Parameter(1, lambda v: is_number(v) and v in (1, 2, 3, 4), "1, 2, 3 or 4"),
    # Colors of the image blob times this are in units of [0, 1].
    "color_scale": positive(1.0 / 255.0),
    # Smooth the photo first, edges kept.
    "smooth": switch(False),
    # Weight mu of the affinities between unknown pixels, at the start where it is learned; 0:
    # there are none.
    "nonlocal": not_negative(0.0),
    # Whether mu is a second blob, and learned at its lr_mult.
    "nonlocal_learned": switch(False),
    # How D is solved (see linear_solver): "hybrid" factorizes the unknown part,
    # "pardiso" all of D as the paper does.
    "solver": Parameter(
        "hybrid", lambda v: isinstance(v, str) and v in SOLVERS, " or ".join(map(repr, SOLVERS))
    ),
    # Log lambda and the shares of certain and unknown pixels in every N-th
    # training pass; 0: never.
    "log_every": whole_number(0),
}

#: F + B below this leaves a pixel to the Laplacian; above `CERTAIN` the data
#: term decides alone (see docs/design.md on the gray trap).
UNKNOWN, CERTAIN = 1e-4, 0.5


class MattingLayer(caffe.Layer):
    """A = f(F, B; lambda) for every image of a batch.

    Bottoms: probabilities (N, 3, H, W), channels foreground, background,
    unknown; image (N, 3, H, W), any constant color offset.  Top: alpha
    (N, 1, H, W).  Learnable blobs: lambda, and mu where `nonlocal_learned` is
    true.  The image counts as a constant, as in the paper: its gradient is 0;
    so do the affinities and the region that they are of.

    Lambda starts as param_str says unless weights that hold one are loaded (snapshots
    do, those of tools/init_weights.py do not); a training says where the two differ.
    """

    @reported
    def setup(self, bottom, top):
        check_blobs(NAME, bottom, 2, "bottoms (probabilities, image)")
        check_blobs(NAME, top, 1, "top (alpha)")
        self.options = parse_parameters(NAME, self.param_str, PARAMETERS)
        if len(self.blobs) == 0:
            self.blobs.add_blob(1)
            self.blobs[0].data[0] = self.options["lambda"] or DEFAULT_LAMBDA
            if self.options["nonlocal_learned"]:
                self.blobs.add_blob(1)
                self.blobs[1].data[0] = self.options["nonlocal"]
        self.passes = 0
        self.functions: list[MattingFunction] = []

    @reported
    def reshape(self, bottom, top):
        probabilities, image = bottom[0].shape, bottom[1].shape
        if len(probabilities) != 4 or probabilities[1] != 3:
            raise LayerError(f"{NAME}: probabilities must be N x 3 x H x W, not {probabilities}")
        if tuple(image) != tuple(probabilities):
            raise LayerError(f"{NAME}: image {image} and probabilities {probabilities} differ")
        top[0].reshape(probabilities[0], 1, *probabilities[2:])

    @reported
    def forward(self, bottom, top):
        self.passes += 1
        # A backward pass needs the factors of the whole batch, a test pass
        # none: it reuses one solver for every image that is computed at a time.
        training = self.phase == caffe.TRAIN
        if training and self.passes == 1:
            self._tell_loaded_lambda()
        # The data blob is a float32 view into Caffe's memory.
        lambda_ = max(float(self.blobs[0].data[0]), self.options["lambda_floor"])
        self.blobs[0].data[0] = lambda_
        mu = self._mu()
        if not np.isfinite(bottom[0].data).all():
            raise LayerError(
                f"{NAME}: the scores hold a NaN or infinity in forward pass {self.passes} "
                "of this run; lower the learning rate and resume from the last snapshot"
            )
        solver = SOLVERS[self.options["solver"]]
        batch = len(bottom[0].data)
        solvers = batch if training else calls_at_once(batch)
        while len(self.functions) < solvers:
            self.functions.append(MattingFunction(solver()))
        # Views of Caffe's memory, taken once: it may be copied from a GPU.
        probabilities, images, alphas = bottom[0].data, bottom[1].data, top[0].data

        def compute(n: int) -> None:
            colors = np.moveaxis(images[n], 0, 2) * self.options["color_scale"]
            if self.options["smooth"]:
                colors = smoothed(colors * 255) / 255
            laplacian = matting_laplacian(
                colors, self.options["epsilon"], int(self.options["radius"])
            )
            foreground, background, _ = probabilities[n].astype(np.float64)
            ties = None
            if mu or self.options["nonlocal_learned"]:
                ties = affinities(colors, foreground, background)
            alphas[n, 0] = self.functions[n % solvers].forward(
                laplacian, foreground, background, lambda_, ties, mu
            )

        for first in range(0, batch, solvers):
            map_in_threads(compute, range(first, min(first + solvers, batch)))
        if training:
            self._log(bottom[0].data, lambda_)

    @reported
    def backward(self, top, propagate_down, bottom):
        gradients = top[0].diff

        learned = self.options["nonlocal_learned"]

        def derivatives(n: int) -> tuple[np.ndarray, np.ndarray, float, float]:
            function = self.functions[n]
            found = function.backward(gradients[n, 0])
            return *found, function.d_mu() if learned else 0.0

        found = map_in_threads(derivatives, range(len(gradients)))
        for n, (d_foreground, d_background, d_lambda, d_mu) in enumerate(found):
            self.blobs[0].diff[0] += d_lambda  # += : Caffe sums over iter_size
            if learned:
                self.blobs[1].diff[0] += d_mu
            if propagate_down[0]:
                bottom[0].diff[n, 0] = d_foreground
                bottom[0].diff[n, 1] = d_background
                bottom[0].diff[n, 2] = 0.0
        if propagate_down[1]:
            bottom[1].diff[...] = 0.0

    def _mu(self) -> float:
        """Weight of the affinities; a learned one is kept from becoming negative."""
        if not self.options["nonlocal_learned"]:
            return float(self.options["nonlocal"])
        self.blobs[1].data[0] = mu = max(float(self.blobs[1].data[0]), 0.0)
        return mu

    def _tell_loaded_lambda(self) -> None:
        """Say in one line that loaded weights hold another lambda than param_str.

        Caffe loads weights after `setup`, so the first training pass is the first to see.
        """
        given, loaded = self.options["lambda"], self.blobs[0].data[0]
        if given and np.float32(given) != loaded:
            logger.warning(
                "%s: lambda is %.6g as in the loaded weights; the %.6g of param_str counts only "
                "where they hold none",
                NAME,
                loaded,
                given,
            )

    def _log(self, probabilities: np.ndarray, lambda_: float) -> None:
        """One line for tools/plot_training.py, every `log_every` passes."""
        every = self.options["log_every"]
        if every and (self.passes - 1) % every == 0:
            known = probabilities[:, 0] + probabilities[:, 1]
            logger.info(
                "[matting] lambda=%.6g certain=%.4f unknown=%.4f solver=%s",
                lambda_,
                np.mean(known >= CERTAIN),
                np.mean(known < UNKNOWN),
                self.functions[0].used,
            )
