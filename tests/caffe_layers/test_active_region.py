"""The solve on the active region is that of the whole image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from checkout import ROOT
from threads import outputs_by_threads

from caffe_layers import _hybrid, matting
from caffe_layers.active_region import GROWTH, ActiveRegion, active_region, grown
from caffe_layers.affinities import affinities
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.linear_solver import HybridSolver, PardisoSolver, SolveError, check_residual
from caffe_layers.matting import MattingFunction, solve_alpha
from caffe_layers.matting_system import matting_system
from caffe_layers.smoothing import smoothed
from data_prep.common.images import read_matte, read_photo

SHAPE = (150, 130)
SAMPLE = ROOT / "data/sample"


def photo_like(seed):
    """Colors in [0, 1]: two noisy colors and a soft border between them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    alpha = np.clip((40 - np.hypot(rows - 75, columns - 65)) / 6 + 0.5, 0, 1)[..., None]
    image = alpha * (0.8, 0.5, 0.3) + (1 - alpha) * (0.2, 0.4, 0.6)
    return np.clip(image + cv2.GaussianBlur(0.2 * rng.normal(size=image.shape), (0, 0), 1), 0, 1)


def narrow(width):
    """F and B, 0 or 1, unknown along a circle."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - 75, columns - 65)
    return (distance < 40 - width).astype(float), (distance > 40 + width).astype(float)


def soft(seed):
    """As a net gives them: certain pixels are of no opinion to the last digit either."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = 40 - np.hypot(rows - 75, columns - 65) + cv2.blur(rng.normal(size=SHAPE), (5, 5))
    scores = np.stack([distance, -distance, np.full(SHAPE, rng.uniform(-4, 6))], axis=2)
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    return tuple(np.moveaxis(powers / powers.sum(axis=2, keepdims=True), 2, 0)[:2])


def uneven(seed):
    """Certain pixels whose F / (F + B) is anything at all, and an unknown ring."""
    rng = np.random.default_rng(seed)
    share, unknown = rng.random(SHAPE), sum(narrow(4)) == 0
    return np.where(unknown, 0, share), np.where(unknown, 0, 1 - share)


PROBABILITIES = {
    "narrow": narrow(3),
    "wide": narrow(12),
    "soft 1": soft(1),
    "soft 2": soft(2),
    "uneven": uneven(3),
    "nothing unknown": narrow(-0.5),
}


def share_of_active(foreground, background, lambda_=100.0):
    return active_region(lambda_ * (foreground + background)).active.mean()


@pytest.mark.parametrize("lambda_", [30.0, 100.0, 1e4])
@pytest.mark.parametrize("name", PROBABILITIES)
def test_forward_and_adjoint_equal_the_full_factorization(name, lambda_):
    foreground, background = PROBABILITIES[name]
    laplacian = matting_laplacian(photo_like(1))
    gradient = np.random.default_rng(2).normal(size=SHAPE)
    results = []
    for solver in (PardisoSolver(), HybridSolver()):
        function = MattingFunction(solver)
        alpha = function.forward(laplacian, foreground, background, lambda_)
        results.append((alpha, *function.backward(gradient)))
    assert solver.used == "hybrid"
    (expected, *gradients), (found, *found_gradients) = results
    assert np.abs(found - expected).max() < 1e-6
    for one, other, tolerance in zip(gradients, found_gradients, (1e-6, 1e-6, 1e-4)):
        assert np.linalg.norm(other - one) <= tolerance * np.linalg.norm(one)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_solutions_reach_the_residual_of_the_whole_system(name):
    foreground, background = PROBABILITIES[name]
    system = matting_system(matting_laplacian(photo_like(3)), foreground, background, 100.0)
    solver = HybridSolver()
    solver.factorize(system)
    for rhs in (100.0 * foreground, np.random.default_rng(4).normal(size=SHAPE)):
        assert check_residual(system, solver.solve(rhs), rhs) < 1e-8


@pytest.mark.parametrize("mu", [0.0, 1e-3])
@pytest.mark.parametrize("name", PROBABILITIES)
def test_alpha_from_a_part_of_the_laplacian_is_that_of_all_of_it(name, mu):
    foreground, background = PROBABILITIES[name]
    photo = 255 * photo_like(5)
    ties = affinities(photo / 255, foreground, background) if mu else None
    whole = MattingFunction(PardisoSolver()).forward(
        matting_laplacian(photo / 255), foreground, background, 100.0, ties, mu
    )
    found = solve_alpha(photo, foreground, background, mu=mu)
    assert np.abs(found - np.clip(whole, 0, 1)).max() < 1e-6


def test_a_narrow_band_leaves_most_pixels_alone():
    assert share_of_active(*narrow(3)) < 0.4
    assert share_of_active(*narrow(60)) == 1


def test_every_pixel_that_is_not_active_is_decided_and_so_is_what_it_reaches():
    region = active_region(100.0 * sum(narrow(5)))
    unknown = (sum(narrow(5)) == 0).astype(np.uint8)
    np.testing.assert_array_equal(region.active, grown(unknown, 2 * GROWTH))
    assert (region.hard <= region.active).all()
    assert region.decided[region.active == 0].all() and region.decided[region.outer == 1].all()


def test_active_pixels_out_of_reach_are_refused():
    region = active_region(100.0 * sum(narrow(3)))
    far = ActiveRegion(region.parts | np.uint8(_hybrid.ACTIVE))
    with pytest.raises(ValueError, match="not among those asked for"):
        matting_laplacian(photo_like(3), region=far)
    part = matting_laplacian(photo_like(3), region=region)
    system = _hybrid.PreconditionedSystem()
    with pytest.raises(ValueError, match="the stencil is not stored"):
        system.factorize(part.planes, 100.0 * sum(narrow(3)), far.parts, 1)


def test_hard_pixels_that_are_not_active_are_refused_and_the_system_before_stays():
    data = 100.0 * sum(narrow(3))
    region = active_region(data)
    part = matting_laplacian(photo_like(3), region=region)
    system = _hybrid.PreconditionedSystem()
    assert system.factorize(part.planes, data, region.parts, 1)
    before = system.precondition(data)
    larger = np.zeros((2 * data.shape[0], data.shape[1]), np.uint8)
    whole = matting_laplacian(np.zeros((*larger.shape, 3)))
    for planes, parts in (
        (part.planes, region.parts | np.uint8(_hybrid.HARD)),
        (whole.planes, larger + np.uint8(_hybrid.HARD)),
    ):
        with pytest.raises(ValueError, match="hard that is not active"):
            system.factorize(planes, np.ones(parts.shape), parts, 1)
    np.testing.assert_array_equal(system.precondition(data), before)


@pytest.mark.parametrize("radius", [1, 2])
def test_a_part_of_the_laplacian_has_the_rows_of_active_pixels(radius):
    image = photo_like(6)
    region = active_region(100.0 * sum(narrow(2)), radius)
    whole = matting_laplacian(image, radius=radius)
    part = matting_laplacian(image.astype(np.float32), radius=radius, region=region)
    assert part.shape == SHAPE and part.planes.shape[1] == np.count_nonzero(region.reached)
    reached, active = region.reached > 0, region.active > 0
    np.testing.assert_allclose(
        part.planes[:, active[reached]], whole.planes[:, active], rtol=0, atol=1e-3
    )
    exact = matting_laplacian(image, radius=radius, region=region)
    np.testing.assert_allclose(
        exact.planes[:, active[reached]], whole.planes[:, active], rtol=0, atol=1e-12
    )


@pytest.fixture
def regions(monkeypatch):
    """The growths that `solve_alpha` tries, and the regions that it takes."""
    taken = []
    region_of = matting.active_region

    def recorded(data, radius, tied, rhs, tolerance, growth):
        region = region_of(data, radius, tied, rhs, tolerance, growth)
        taken.append((growth, region))
        return region

    monkeypatch.setattr(matting, "active_region", recorded)
    return taken


@pytest.mark.parametrize("name", ["narrow", "soft 1", "soft 2"])
def test_the_first_region_suffices(name, regions):
    foreground, background = PROBABILITIES[name]
    solve_alpha(255 * photo_like(7), foreground, background)
    ((growth, region),) = regions
    assert growth == GROWTH and region.active.mean() < 0.7


def test_a_region_that_is_too_narrow_is_widened(regions, monkeypatch):
    foreground, background = narrow(3)
    photo = 255 * photo_like(7)
    monkeypatch.setattr(matting, "GROWTH", 2)
    found = solve_alpha(photo, foreground, background, lambda_=25.0)
    whole = MattingFunction(PardisoSolver()).forward(
        matting_laplacian(photo / 255), foreground, background, 25.0
    )
    assert [growth for growth, _ in regions] == [2, 4]
    assert np.abs(found - np.clip(whole, 0, 1)).max() < 1e-6


def test_pardiso_refuses_a_part_of_the_laplacian(monkeypatch):
    foreground, background = narrow(3)
    region = active_region(100.0 * (foreground + background))
    laplacian = matting_laplacian(photo_like(8), region=region)
    system = matting_system(laplacian, foreground, background, 100.0)
    with pytest.raises(SolveError, match="active region"):
        PardisoSolver().factorize(system)
    solver = HybridSolver()
    solver.factorize(system)
    with pytest.raises(SolveError, match="active region"):
        solver.solve(np.random.default_rng(9).normal(size=SHAPE))  # needs the rest of L


@pytest.mark.parametrize("name", sorted(p.stem for p in SAMPLE.glob("images/*.jpg"))[::10])
def test_sample_portraits_have_the_alpha_of_the_whole_image(name):
    photo = read_photo(SAMPLE / f"images/{name}.jpg")
    matte = read_matte(SAMPLE / f"mattes/{name}.png")
    window = np.ones((15, 15), np.uint8)
    foreground = cv2.erode((matte == 255).astype(np.uint8), window).astype(float)
    background = cv2.erode((matte == 0).astype(np.uint8), window).astype(float)
    whole = MattingFunction(PardisoSolver()).forward(
        matting_laplacian(photo / 255), foreground, background
    )
    found = solve_alpha(photo, foreground, background)
    assert np.abs(found - np.clip(whole, 0, 1)).max() < 1e-6


@pytest.mark.parametrize("offset", [0, -100])
def test_a_part_of_a_photo_is_smoothed_as_in_the_whole(offset):
    photo = (255 * photo_like(10) + offset).astype(np.float32)
    photo = np.tile(photo, (3, 3, 1))  # more than one tile
    where = np.zeros(photo.shape[:2], np.uint8)
    cv2.circle(where, (200, 220), 150, 1, 9)
    where[-3:, :20] = where[:30, -1] = 1
    whole, part = smoothed(photo), smoothed(photo, where)
    np.testing.assert_array_equal(part[where > 0], whole[where > 0])
    assert np.abs(photo - whole)[where > 0].max() > 1


@pytest.mark.parametrize("mu", [0, 1e-2])
@pytest.mark.parametrize("name", ["narrow", "soft 1"])
def test_alpha_of_a_smoothed_photo_needs_no_more_of_it_than_the_region(name, mu):
    photo = (255 * photo_like(11)).astype(np.uint8)
    expected = solve_alpha(smoothed(photo), *PROBABILITIES[name], mu=mu)
    found = solve_alpha(photo, *PROBABILITIES[name], mu=mu, smooth=True)
    np.testing.assert_array_equal(found, expected)


PRINT_CHECKSUM = """
import hashlib
import numpy as np
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction, solve_alpha

rng = np.random.default_rng(0)
image = rng.random((300, 280, 3))
distance = np.hypot(*(np.mgrid[:300, :280] - 140))
known = (distance < 70) * 1.0, (distance > 90) * 1.0
function = MattingFunction()
alpha = function.forward(matting_laplacian(image), *known)
arrays = *function.backward(rng.normal(size=alpha.shape))[:2], alpha
arrays += (solve_alpha(255 * image, *known),)
print(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest())
"""


def test_results_are_bit_equal_from_run_to_run_and_for_any_number_of_threads():
    assert len(outputs_by_threads(PRINT_CHECKSUM, 1, 2, 2, 3)) == 1
