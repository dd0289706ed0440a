"""f(F, B; lambda) against finite differences, dense algebra and PyMatting."""

import cv2
import numpy as np
import pymatting
import pytest
from checkout import ROOT

from caffe_layers.affinities import affinities
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.linear_solver import PardisoSolver, check_residual
from caffe_layers.matting import MattingFunction, solve_alpha
from caffe_layers.matting_system import DATA_FLOOR, MattingSystem
from data_prep.common.images import read_matte, read_photo

SAMPLE = ROOT / "data/sample"


def random_problem(shape, seed):
    """Image, F, B and lambda with F + B well away from 0."""
    rng = np.random.default_rng(seed)
    image = rng.random((*shape, 3))
    foreground, background, _ = np.moveaxis(rng.dirichlet([1, 1, 1], shape), 2, 0)
    return image, foreground, background, float(rng.uniform(0.5, 200))


def objective(laplacian, foreground, background, lambda_, weights):
    alpha = MattingFunction().forward(laplacian, foreground, background, lambda_)
    return float(np.sum(alpha * weights))


def central_differences(function, x, step):
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("shape", [(6, 7), (9, 8), (12, 11)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_equal_finite_differences(shape, seed):
    image, foreground, background, lambda_ = random_problem(shape, seed)
    weights = np.random.default_rng(seed + 100).normal(size=shape)
    laplacian = matting_laplacian(image)
    function = MattingFunction()
    function.forward(laplacian, foreground, background, lambda_)
    d_foreground, d_background, d_lambda = function.backward(weights)

    expected_f = central_differences(
        lambda f: objective(laplacian, f, background, lambda_, weights), foreground, 1e-5
    )
    expected_b = central_differences(
        lambda b: objective(laplacian, foreground, b, lambda_, weights), background, 1e-5
    )
    expected_l = central_differences(
        lambda v: objective(laplacian, foreground, background, v[0], weights),
        np.array([lambda_]),
        1e-4 * lambda_,
    )
    assert relative_error(d_foreground, expected_f) < 1e-6
    assert relative_error(d_background, expected_b) < 1e-6
    assert relative_error(d_lambda, expected_l) < 1e-6


def test_backward_is_the_transposed_jacobian_of_the_paper():
    """Eq. 6 to 8 written out as matrices; the transpose is what reimplementations miss."""
    shape = (6, 5)
    image, foreground, background, lambda_ = random_problem(shape, 7)
    laplacian = matting_laplacian(image)
    f, b = foreground.ravel(), background.ravel()
    inverse = np.linalg.inv(laplacian.to_csr().toarray() + lambda_ * np.diag(f + b))
    jacobian_b = -(lambda_**2) * inverse @ np.diag(inverse @ f)
    jacobian_f = jacobian_b + lambda_ * inverse
    jacobian_l = -lambda_ * inverse @ np.diag(f + b) @ inverse @ f + inverse @ f

    function = MattingFunction()
    alpha = function.forward(laplacian, foreground, background, lambda_)
    assert relative_error(alpha.ravel(), lambda_ * inverse @ f) < 1e-8
    gradient = np.random.default_rng(8).normal(size=shape)
    d_foreground, d_background, d_lambda = function.backward(gradient)
    assert relative_error(d_background.ravel(), jacobian_b.T @ gradient.ravel()) < 1e-8
    assert relative_error(d_foreground.ravel(), jacobian_f.T @ gradient.ravel()) < 1e-8
    assert d_lambda == pytest.approx(jacobian_l @ gradient.ravel(), rel=1e-8)


@pytest.fixture(scope="module")
def portrait():
    """Photo, matte and a trimap of a sample portrait at its size, 600 x 800."""
    stem = (SAMPLE / "test.txt").read_text().split()[0]
    photo = read_photo(SAMPLE / f"images/{stem}.jpg")
    matte = read_matte(SAMPLE / f"mattes/{stem}.png")
    window = np.ones((21, 21), np.uint8)
    foreground = cv2.erode((matte == 255).astype(np.uint8), window).astype(float)
    background = cv2.erode((matte == 0).astype(np.uint8), window).astype(float)
    return photo, matte / 255, foreground, background


def test_residual_at_600_by_800(portrait):
    photo, _, foreground, background = portrait
    assert photo.shape == (800, 600, 3)
    solver = PardisoSolver()
    laplacian = matting_laplacian(photo / 255)
    alpha = MattingFunction(solver).forward(laplacian, foreground, background, 100.0)
    system = MattingSystem(laplacian, 100.0 * (foreground + background))
    assert check_residual(system, alpha, 100.0 * foreground) < 1e-8


def test_equals_pymatting_on_a_hard_trimap(portrait):
    photo, truth, foreground, background = (
        np.ascontiguousarray(x[100:400, 150:450]) for x in portrait
    )
    trimap = 0.5 + 0.5 * foreground - 0.5 * background
    theirs = pymatting.estimate_alpha_cf(
        photo[..., ::-1] / 255.0,
        trimap,
        laplacian_kwargs={"epsilon": 1e-7},
        cg_kwargs={"maxiter": 20000, "rtol": 1e-10},
    )
    ours = solve_alpha(photo, foreground, background, lambda_=1e4)
    known = (foreground + background).astype(np.uint8)
    border = cv2.dilate(known, np.ones((3, 3), np.uint8)) - cv2.erode(
        known, np.ones((3, 3), np.uint8)
    )
    assert np.abs(ours - theirs)[border == 0].max() < 1e-3
    # and both resemble the exact matte: the comparison is not of two blanks
    assert np.abs(ours - truth).mean() < 0.1 < truth.std()


@pytest.mark.parametrize("radius", [1, 2])
def test_wider_windows_solve_the_system_of_their_laplacian(radius):
    rng = np.random.default_rng(5)
    image = cv2.GaussianBlur(255 * rng.random((40, 30, 3)), (0, 0), 3)
    foreground, background = np.zeros((2, 40, 30))
    foreground[:, :9], background[:, 19:] = 1, 1
    alpha = solve_alpha(image, foreground, background, radius=radius)
    laplacian = matting_laplacian(image / 255, radius=radius).to_csr().toarray()
    diagonal = 100 * (foreground + background) + DATA_FLOOR
    system = laplacian + np.diag(diagonal.ravel())
    expected = np.linalg.solve(system, 100 * foreground.ravel()).reshape(40, 30)
    np.testing.assert_allclose(alpha, expected.clip(0, 1), atol=1e-4)


def test_constant_image_has_a_unique_answer():
    """Flat color: every window covariance is singular."""
    foreground, background = np.zeros((10, 12)), np.zeros((10, 12))
    foreground[:, :3], background[:, -3:] = 1, 1
    alpha = solve_alpha(np.full((10, 12, 3), 77.0), foreground, background)
    assert alpha[:, :3].min() > 0.99 and alpha[:, -3:].max() < 0.01
    assert np.all(np.diff(alpha, axis=1) <= 1e-6)


def test_image_without_any_certain_pixel_is_background():
    zero = np.zeros((9, 9))
    alpha = MattingFunction().forward(
        matting_laplacian(np.random.default_rng(0).random((9, 9, 3))), zero, zero
    )
    assert np.array_equal(alpha, zero)


def test_alpha_is_the_same_without_the_floor_of_the_data_term(portrait):
    """Where windows tie the unknown pixels to certain ones, the floor decides nothing."""
    photo, _, foreground, background = (np.ascontiguousarray(x[100:260, 200:360]) for x in portrait)
    laplacian = matting_laplacian(photo / 255)
    with_floor = MattingFunction().forward(laplacian, foreground, background, 100.0)
    matrix = laplacian.to_csr().tolil()
    matrix.setdiag(matrix.diagonal() + 100.0 * (foreground + background).ravel())
    from scipy.sparse.linalg import spsolve

    without = spsolve(matrix.tocsc(), 100.0 * foreground.ravel()).reshape(foreground.shape)
    assert 0 < ((foreground + background) == 0).mean() < 1
    assert np.abs(with_floor - without).max() < 1e-6


def test_probabilities_of_1_percent_in_the_band_make_its_error_half_as_large_again(portrait):
    """They turn hair gray: what a net must learn is to be silent in the band."""
    photo, truth, foreground, background = portrait
    unknown = foreground + background == 0
    quiet = solve_alpha(photo, foreground, background)
    leaky = solve_alpha(photo, foreground + 1e-2 * unknown, background + 1e-2 * unknown)

    def error(alpha):
        return np.abs(alpha - truth)[unknown].mean()

    assert error(leaky) > 1.5 * error(quiet)


def test_solver_serves_images_of_changing_size():
    solver = PardisoSolver()
    for shape in [(6, 7), (9, 5), (6, 7), (3, 3)]:
        image, foreground, background, lambda_ = random_problem(shape, 3)
        laplacian = matting_laplacian(image)
        alpha = MattingFunction(solver).forward(laplacian, foreground, background, lambda_)
        dense = laplacian.to_csr().toarray() + lambda_ * np.diag((foreground + background).ravel())
        expected = np.linalg.solve(dense, lambda_ * foreground.ravel()).reshape(shape)
        np.testing.assert_allclose(alpha, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("lambda_", [0.0, -1.0, np.nan])
def test_refuses_a_lambda_that_is_not_positive(lambda_):
    laplacian = matting_laplacian(np.random.default_rng(0).random((5, 5, 3)))
    with pytest.raises(ValueError, match="lambda"):
        MattingFunction().forward(laplacian, np.ones((5, 5)), np.zeros((5, 5)), lambda_)


def test_refuses_maps_of_another_size():
    with pytest.raises(ValueError, match="differ in size"):
        solve_alpha(np.zeros((5, 5, 3)), np.ones((5, 6)), np.zeros((5, 6)))


def test_gradients_before_a_solution_are_refused_in_a_sentence():
    image, foreground, background, lambda_ = random_problem((6, 7), 0)
    function = MattingFunction()
    with pytest.raises(RuntimeError, match="call forward first"):
        function.backward(np.ones((6, 7)))
    laplacian = matting_laplacian(image)
    ties = affinities(image, foreground, background)
    function.forward(laplacian, foreground, background, lambda_, ties, 0.1)
    with pytest.raises(RuntimeError, match="call forward and backward first"):
        function.d_mu()
