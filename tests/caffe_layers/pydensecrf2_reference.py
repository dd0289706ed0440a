"""Write what pydensecrf2 infers for a picture, for test_mean_field.py to compare with.

    pip install pydensecrf2==1.1 numpy        # in an environment of its own
    python tests/caffe_layers/pydensecrf2_reference.py

It is Krähenbühl's own code of the dense CRF, in a wrapper: an implementation that shares nothing
with ours.  Its one-sided norm is NORMALIZE_AFTER.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
SHAPE = (24, 18)
ITERATIONS = 10
THETA_ALPHA, THETA_BETA, THETA_GAMMA = 8.3, 20.7, 2.7
BILATERAL_WEIGHT, SPATIAL_WEIGHT = 2.0, 1.5


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (H, W, 3), float32, and an image (H, W, 3), uint8."""
    rng = np.random.default_rng(11)
    rows, columns = np.indices(SHAPE)
    waves = [np.sin(rows / 4 + columns / 7), np.cos(rows / 5), np.sin(columns / 3)]
    image = 128 + 80 * np.stack(waves, axis=2) + rng.normal(0, 6, (*SHAPE, 3))
    scores = 1.5 * np.stack(waves[::-1], axis=2) + rng.normal(0, 1, (*SHAPE, 3))
    logs = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    return logs.astype(np.float32), image.clip(0, 255).astype(np.uint8)


def infer(compatibility: np.ndarray | float) -> np.ndarray:
    """Marginals (H, W, 3) after `ITERATIONS`, for penalties (a number: Potts)."""
    import pydensecrf.densecrf as reference

    logs, image = picture()
    crf = reference.DenseCRF2D(SHAPE[1], SHAPE[0], 3)
    crf.setUnaryEnergy(np.ascontiguousarray(-logs.reshape(-1, 3).T))
    one_sided = dict(kernel=reference.CONST_KERNEL, normalization=reference.NORMALIZE_AFTER)
    crf.addPairwiseGaussian(
        sxy=THETA_GAMMA,
        compat=(SPATIAL_WEIGHT * np.asarray(compatibility)).astype(np.float32),
        **one_sided,
    )
    crf.addPairwiseBilateral(
        sxy=THETA_ALPHA,
        srgb=THETA_BETA,
        rgbim=image,
        compat=(BILATERAL_WEIGHT * np.asarray(compatibility)).astype(np.float32),
        **one_sided,
    )
    return np.array(crf.inference(ITERATIONS)).T.reshape(*SHAPE, 3)


if __name__ == "__main__":
    lenient = -np.array([[1, 0, 0.7], [0, 1, 0.7], [0.7, 0.7, 1]])  # unknown penalty 0.3
    np.savez_compressed(FILE, potts=infer(-np.eye(3)), lenient=infer(lenient))
