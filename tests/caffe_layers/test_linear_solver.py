"""The hybrid solver against the full factorisation."""

import numpy as np
import pytest

from caffe_layers.laplacian import matting_laplacian
from caffe_layers.linear_solver import HybridSolver, PardisoSolver, SolveError, check_residual
from caffe_layers.matting import MattingFunction
from caffe_layers.matting_system import MattingSystem


def disk_trimap(shape, inner, outer, center=None):
    """F and B, exactly 0 or 1, unknown between two radii (shares of the size)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = center or (shape[0] / 2, shape[1] / 2)
    distance = np.hypot((rows - y) / shape[0], (columns - x) / shape[1])
    return (distance < inner).astype(float), (distance > outer).astype(float)


def smooth_image(shape, seed):
    """Smooth colors with noise: harder for the Laplacian than pure noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(rows / rng.uniform(5, 30) + columns / rng.uniform(5, 30)) for _ in range(3)]
    return np.clip(0.5 + 0.3 * np.stack(waves, axis=2) + 0.02 * rng.normal(size=(*shape, 3)), 0, 1)


def soft(shape, seed):
    """Probabilities like a net's: saturated in places, undecided in others."""
    rng = np.random.default_rng(seed)
    logits = 8 * smooth_image(shape, seed + 1) - 4 + rng.normal(size=(*shape, 3))
    powers = np.exp(3 * logits)
    probabilities = powers / powers.sum(axis=2, keepdims=True)
    return probabilities[..., 0], probabilities[..., 1]


SYSTEMS = {
    **{
        f"disk {inner}-{outer}, lambda {lambda_}": (smooth_image((60, 50), 1), *disk_trimap((60, 50), inner, outer), lambda_)
        for inner, outer in [(0.2, 0.3), (0.1, 0.4)]
        for lambda_ in (1e-3, 1.0, 100.0, 1e6)
    },
    **{f"soft {seed}, lambda {lambda_}": (smooth_image((48, 64), seed), *soft((48, 64), seed), lambda_)
       for seed in (2, 3) for lambda_ in (1.0, 100.0, 1e4)},
    "noise": (np.random.default_rng(4).random((40, 40, 3)), *disk_trimap((40, 40), 0.2, 0.35), 100.0),
    "single color": (np.full((40, 50, 3), 0.4), *disk_trimap((40, 50), 0.2, 0.3), 100.0),
    "grey": (np.repeat(smooth_image((40, 50), 5)[..., :1], 3, 2), *disk_trimap((40, 50), 0.2, 0.3), 100.0),
    "all known": (smooth_image((30, 30), 6), *disk_trimap((30, 30), 0.3, 0.2999), 100.0),
    "all unknown": (smooth_image((30, 30), 7), np.zeros((30, 30)), np.zeros((30, 30)), 100.0),
    "one certain pixel": (smooth_image((30, 30), 8), np.eye(30) * (np.arange(30) == 3), np.zeros((30, 30)), 100.0),
    "3 x 3": (smooth_image((3, 3), 9), np.eye(3), np.fliplr(np.eye(3)) * (1 - np.eye(3)), 100.0),
    "two islands": (smooth_image((40, 90), 10), *(np.hstack(pair) for pair in zip(
        disk_trimap((40, 45), 0.1, 0.2), disk_trimap((40, 45), 0.2, 0.3))), 100.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_hybrid_equals_the_full_factorisation(name):
    image, foreground, background, lambda_ = SYSTEMS[name]
    laplacian = matting_laplacian(image)
    gradient = np.random.default_rng(11).normal(size=foreground.shape)
    results = []
    for solver in (PardisoSolver(), HybridSolver()):
        function = MattingFunction(solver)
        alpha = function.forward(laplacian, foreground, background, lambda_)
        results.append((alpha, *function.backward(gradient)))
    full, hybrid = results
    assert np.abs(full[0] - hybrid[0]).max() < 1e-6
    for expected, found in zip(full[1:], hybrid[1:]):
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def test_hybrid_factorises_only_what_is_unknown():
    """It must not fall back where it is meant to work, and must where it is not."""
    for name, used in [("disk 0.2-0.3, lambda 100.0", "hybrid"), ("all known", "hybrid"), ("all unknown", "pardiso")]:
        image, foreground, background, lambda_ = SYSTEMS[name]
        solver = HybridSolver()
        function = MattingFunction(solver)
        function.forward(matting_laplacian(image), foreground, background, lambda_)
        assert solver.used == used


def test_a_block_of_the_laplacian():
    laplacian = matting_laplacian(smooth_image((9, 8), 12))
    mask = np.random.default_rng(13).integers(0, 2, (9, 8)).astype(np.uint8)
    diagonal = np.random.default_rng(14).random((9, 8))
    indptr, indices, values = laplacian.masked_upper_csr(diagonal, mask)
    chosen = mask.ravel() != 0
    expected = laplacian.to_csr().toarray() + np.diag(diagonal.ravel())
    expected = np.triu(expected[np.ix_(chosen, chosen)])
    found = np.zeros_like(expected)
    for row in range(len(found)):
        span = slice(indptr[row], indptr[row + 1])
        found[row, indices[span]] = values[span]
        assert indices[span][0] == row and np.all(np.diff(indices[span]) > 0)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_an_inaccurate_solution_is_refused():
    image, foreground, background, _ = SYSTEMS["3 x 3"]
    system = MattingSystem(matting_laplacian(image), foreground + background)
    with pytest.raises(SolveError, match="residual"):
        check_residual(system, np.ones((3, 3)), foreground)
