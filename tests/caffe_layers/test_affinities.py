"""Affinities of the unknown region: the graph, the system with it, and its gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree
from threads import outputs_by_threads

from caffe_layers import _affinities, _hybrid, linear_solver
from caffe_layers.affinities import (
    FAR_NEIGHBORS,
    FAR_PLACE_SCALE,
    NEAR_NEIGHBORS,
    PLACE_WEIGHT,
    affinities,
)
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.linear_solver import HybridSolver, PardisoSolver, SolveError
from caffe_layers.matting import MattingFunction, solve_alpha
from caffe_layers.matting_system import matting_system
from caffe_layers.tiled import solve_alpha_in_tiles

MU = 1e-3


def problem(shape, seed):
    """Image, F and B: two colors with soft noise, unknown between a disk and the outside."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows / shape[0] - 0.5, columns / shape[1] - 0.5)
    alpha = np.clip((0.3 - distance) / 0.1 + 0.5, 0, 1)[..., None]
    image = alpha * (0.8, 0.5, 0.3) + (1 - alpha) * (0.2, 0.4, 0.6)
    image = image + cv2.GaussianBlur(0.2 * rng.normal(size=image.shape), (0, 0), 2)
    return image, (distance < 0.2).astype(float), (distance > 0.4).astype(float)


def expected_matrix(image, pixels, shape):
    """E by SciPy's tree and dense algebra."""
    rows, columns = np.divmod(pixels, shape[1])
    places = PLACE_WEIGHT * np.stack([columns / shape[1], rows / shape[0]], axis=1)
    near = np.hstack([image.reshape(-1, 3)[pixels], places])
    far = near * [1, 1, 1, FAR_PLACE_SCALE, FAR_PLACE_SCALE]
    weights = np.zeros((pixels.size, pixels.size))
    for points, count in ((near, NEAR_NEIGHBORS), (far, FAR_NEIGHBORS)):
        _, neighbors = cKDTree(points).query(points, count + 1)
        for i, others in enumerate(neighbors):
            for j in others[1:]:  # the first is the point itself
                weights[i, j] += max(0, 1 - np.abs(points[i] - points[j]).sum() / 5)
    weights = (weights + weights.T) / 2
    return np.diag(weights.sum(axis=1)) - weights


def test_graph_equals_that_of_scipys_tree():
    image, foreground, background = problem((40, 50), 1)
    found = affinities(image, foreground, background)
    np.testing.assert_array_equal(found.pixels, np.flatnonzero(foreground + background == 0))
    expected = expected_matrix(image, found.pixels, (40, 50))
    np.testing.assert_allclose(found.matrix.toarray(), expected, rtol=0, atol=1e-12)
    assert found.matrix.has_sorted_indices


@pytest.mark.parametrize("k", [1, 5, 30])
def test_equal_distances_are_ranked_by_index(k):
    """Points on a coarse grid, most of them more than once: all distances are exact."""
    points = np.random.default_rng(2).integers(0, 3, (300, 5)).astype(float)
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    expected = np.argsort(squares, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(_affinities.nearest_others(points, k), expected)


def test_matrix_is_symmetric_and_semidefinite_and_its_rows_sum_to_zero():
    matrix = affinities(*problem((24, 20), 3)).to_csr().toarray()
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    assert matrix.any()


def test_system_with_affinities_is_symmetric_and_positive_definite():
    image, foreground, background = problem((24, 20), 4)
    ties = affinities(image, foreground, background)
    laplacian = matting_laplacian(image)
    system = matting_system(laplacian, foreground, background, 100.0, ties, MU)
    dense = system.to_csr().toarray()
    np.testing.assert_allclose(dense, dense.T, rtol=0, atol=1e-12)
    assert np.linalg.eigvalsh(dense).min() > 0
    x = np.random.default_rng(5).normal(size=(24, 20))
    np.testing.assert_allclose(system.apply(x).ravel(), dense @ x.ravel(), rtol=0, atol=1e-10)
    assert np.abs(dense).sum(axis=1).max() <= system.infinity_norm()


def test_a_constant_color_offset_does_not_matter():
    image, foreground, background = problem((24, 20), 6)
    exact = np.round(image * 1024) / 1024
    plain = affinities(exact, foreground, background)
    moved = affinities(exact - [0.5, 0.25, 0.125], foreground, background)
    np.testing.assert_array_equal(plain.matrix.indices, moved.matrix.indices)
    np.testing.assert_allclose(plain.matrix.data, moved.matrix.data, rtol=0, atol=1e-12)


@pytest.mark.parametrize("unknown", [0, 1, 2, 4])
def test_few_unknown_pixels_have_few_neighbors(unknown):
    image, foreground, background = problem((10, 12), 7)
    background[...] = 1
    background.ravel()[:unknown] = foreground.ravel()[:unknown] = 0
    matrix = affinities(image, foreground, background).matrix
    assert matrix.shape == (unknown, unknown)
    linked = np.count_nonzero(matrix.toarray(), axis=1)
    assert (linked == (unknown if unknown > 1 else 0)).all()


def test_a_color_that_is_not_finite_is_refused():
    image, foreground, background = problem((10, 12), 8)
    image[foreground + background == 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        affinities(image, foreground, background)


def test_maps_of_another_size_are_refused():
    image, foreground, background = problem((10, 12), 9)
    with pytest.raises(ValueError, match="differ in size"):
        affinities(image, foreground[:-1], background[:-1])
    ties = affinities(image[:-1], foreground[:-1], background[:-1])
    with pytest.raises(ValueError, match="differ in size"):
        matting_system(matting_laplacian(image), foreground, background, 1.0, ties, MU)


@pytest.mark.parametrize("mu", [-1e-4, np.nan, np.inf])
def test_a_mu_that_is_no_weight_is_refused(mu):
    image, foreground, background = problem((10, 12), 10)
    ties = affinities(image, foreground, background)
    with pytest.raises(ValueError, match="mu"):
        matting_system(matting_laplacian(image), foreground, background, 1.0, ties, mu)


def test_arrays_that_do_not_fit_are_refused_by_the_solver():
    image, foreground, background = problem((10, 12), 11)
    laplacian = matting_laplacian(image)
    ties = affinities(image, foreground, background)
    matrix = ties.matrix
    solver = _hybrid.PreconditionedSystem()
    data = 100 * (foreground + background) + 1e-3
    parts = np.full((10, 12), _hybrid.HARD | _hybrid.ACTIVE | _hybrid.REACHED, np.uint8)
    assert solver.factorize(laplacian.planes, data, parts, 1)
    for arrays, words in [
        ((ties.pixels[1:], matrix.indptr, matrix.indices, matrix.data), "length"),
        ((ties.pixels, matrix.indptr, matrix.indices[1:], matrix.data), "length"),
        ((ties.pixels[::-1], matrix.indptr, matrix.indices, matrix.data), "ascending"),
        ((ties.pixels + 120, matrix.indptr, matrix.indices, matrix.data), "ascending"),
        ((ties.pixels, matrix.indptr, matrix.indices - 1, matrix.data), "range"),
    ]:
        with pytest.raises(ValueError, match=words):
            solver.add(*arrays)


@pytest.mark.parametrize("mu", [1e-4, 1e-3, 1e-2])
def test_both_solvers_agree_with_dense_algebra(mu):
    image, foreground, background = problem((40, 30), 12)
    laplacian = matting_laplacian(image)
    ties = affinities(image, foreground, background)
    system = matting_system(laplacian, foreground, background, 100.0, ties, mu)
    expected = spsolve(system.to_csr().tocsc(), 100.0 * foreground.ravel()).reshape(40, 30)
    plain = MattingFunction().forward(laplacian, foreground, background, 100.0)
    for solver in (PardisoSolver(), HybridSolver()):
        function = MattingFunction(solver)
        alpha = function.forward(laplacian, foreground, background, 100.0, ties, mu)
        np.testing.assert_allclose(alpha, expected, rtol=0, atol=1e-6)
        assert function.used == ("hybrid" if isinstance(solver, HybridSolver) else "pardiso")
        # and one solver serves systems with and without affinities
        again = function.forward(laplacian, foreground, background, 100.0)
        np.testing.assert_allclose(again, plain, rtol=0, atol=1e-6)
    assert np.abs(expected - plain).max() > 1e-4


def test_pardiso_refuses_what_would_fill_memory(monkeypatch):
    image, foreground, background = problem((20, 20), 16)
    ties = affinities(image, foreground, background)
    function = MattingFunction(PardisoSolver())
    monkeypatch.setattr(linear_solver, "MOST_TIED_PIXELS", ties.pixels.size)
    function.forward(matting_laplacian(image), foreground, background, 100.0, ties, MU)
    monkeypatch.setattr(linear_solver, "MOST_TIED_PIXELS", ties.pixels.size - 1)
    with pytest.raises(SolveError, match="take the hybrid solver"):
        function.forward(matting_laplacian(image), foreground, background, 100.0, ties, MU)


def test_mu_of_zero_gives_the_plain_solution_bit_for_bit():
    image, foreground, background = problem((40, 30), 13)
    photo = 255 * image
    plain = solve_alpha(photo, foreground, background)
    np.testing.assert_array_equal(solve_alpha(photo, foreground, background, mu=0.0), plain)
    assert (solve_alpha(photo, foreground, background, mu=MU) != plain).any()


@pytest.mark.parametrize("solver", [PardisoSolver, HybridSolver])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_equal_finite_differences(solver, seed):
    """With the affinities as constants: those of a fixed region, F and B anywhere."""
    shape = (9, 8)
    rng = np.random.default_rng(seed)
    image, *trimap = problem(shape, seed)
    ties = affinities(image, *trimap)
    foreground, background, _ = np.moveaxis(rng.dirichlet([1, 1, 1], shape), 2, 0)
    lambda_, mu, weights = 3.0, 0.5, rng.normal(size=shape)
    laplacian = matting_laplacian(image)

    def objective(f=foreground, b=background, lambda_=lambda_, mu=mu):
        alpha = MattingFunction(solver()).forward(laplacian, f, b, lambda_, ties, mu)
        return float(np.sum(alpha * weights))

    function = MattingFunction(solver())
    function.forward(laplacian, foreground, background, lambda_, ties, mu)
    d_foreground, d_background, d_lambda = function.backward(weights)
    for found, name, start in [
        (d_foreground, "f", foreground),
        (d_background, "b", background),
    ]:
        for index in [(0, 0), (4, 4), (2, 5), (8, 7)]:
            step = np.zeros(shape)
            step[index] = 1e-4
            up, down = objective(**{name: start + step}), objective(**{name: start - step})
            assert found[index] == pytest.approx((up - down) / 2e-4, rel=1e-5, abs=1e-8)
    for found, name, start in [(d_lambda, "lambda_", lambda_), (function.d_mu(), "mu", mu)]:
        up, down = (objective(**{name: start + step}) for step in (1e-4, -1e-4))
        assert found == pytest.approx((up - down) / 2e-4, rel=1e-5)


def test_tiles_agree_with_the_whole():
    image, foreground, background = problem((240, 200), 14)
    photo = np.clip(255 * image, 0, 255)
    whole = solve_alpha(photo, foreground, background, mu=MU)
    plain = solve_alpha(photo, foreground, background)
    tiled = solve_alpha_in_tiles(
        photo, foreground, background, mu=MU, tile=100, overlap=40, coarse_pixels=6000
    )
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=0.02)
    assert np.abs(plain - whole).max() > 0.02


def test_a_part_of_a_photo_measures_places_by_the_whole():
    image, foreground, background = problem((30, 40), 15)
    part = (slice(0, 20), slice(0, 25))
    cut = [array[part] for array in (image, foreground, background)]
    ties = affinities(*cut, extent=(30, 40))
    whole_pixels = np.flatnonzero(cut[1] + cut[2] == 0)
    rows, columns = np.divmod(whole_pixels, 25)
    expected = expected_matrix(image, rows * 40 + columns, (30, 40))
    np.testing.assert_allclose(ties.matrix.toarray(), expected, rtol=0, atol=1e-12)


PRINT_CHECKSUM = """
import hashlib
import numpy as np
from caffe_layers.affinities import affinities
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction

rng = np.random.default_rng(0)
image = np.round(rng.random((200, 180, 3)) * 15) / 15  # so that there are ties
known = (rng.random((200, 180)) < 0.2) * 1.0
ties = affinities(image, known, 0 * known)
function = MattingFunction()
alpha = function.forward(matting_laplacian(image), known, 0 * known, 100.0, ties, 1e-3)
arrays = *function.backward(rng.normal(size=alpha.shape))[:2], alpha
matrix = ties.matrix
arrays += matrix.data, matrix.indices, matrix.indptr
print(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest(), function.d_mu().hex())
"""


def test_results_are_bit_equal_for_any_number_of_threads():
    assert len(outputs_by_threads(PRINT_CHECKSUM, 1, 2, 3)) == 1
