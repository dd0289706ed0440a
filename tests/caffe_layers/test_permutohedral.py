"""The Gaussian filter: against the Gaussian itself, its adjoint, and any number of threads."""

import numpy as np
import pytest
from threads import outputs_by_threads

from caffe_layers.permutohedral import GaussianFilter, bilateral_features, spatial_features


def features(dimensions, count=150, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (count, dimensions))


def small_image(seed=1):
    """(24, 18, 3) smooth colors, 0 to 255, with an edge."""
    rows, columns = np.indices((24, 18))
    waves = np.stack([np.sin(rows / 5), np.cos(columns / 6), np.sin((rows + columns) / 8)], axis=2)
    noise = np.random.default_rng(seed).normal(0, 2, (24, 18, 3))
    return 100 + 50 * waves + 60 * (columns > 9)[:, :, None] + noise


@pytest.mark.parametrize("dimensions", range(1, 7))
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_the_adjoint_is_exact(dimensions, dtype, tolerance):
    gaussian = GaussianFilter(features(dimensions))
    rng = np.random.default_rng(2)
    x, y = rng.random((2, 5, 150)).astype(dtype)
    assert gaussian(x).dtype == gaussian.adjoint(y).dtype == dtype
    for forward, back in (
        (gaussian(x), gaussian.adjoint(y)),
        (gaussian.unnormalized(x), gaussian.unnormalized(y, transposed=True)),
    ):
        assert np.vdot(forward, y) == pytest.approx(np.vdot(x, back), rel=tolerance)


def test_the_filter_is_not_its_own_adjoint():
    # Otherwise the test above would not see blurs in the wrong order.
    gaussian = GaussianFilter(features(5))
    x, y = np.random.default_rng(2).random((2, 1, 150))
    forward, back = gaussian.unnormalized(x), gaussian.unnormalized(y)
    assert abs(np.vdot(forward, y) / np.vdot(x, back) - 1) > 1e-5


@pytest.mark.parametrize(
    "points, most",
    [(spatial_features((24, 18), 3.1), 0.02), (bilateral_features(small_image(), 8.3, 31), 0.05)],
)
def test_it_approximates_the_normalized_gaussian(points, most):
    kernel = np.exp(-np.square(points[:, None] - points).sum(axis=2) / 2)
    x = np.random.default_rng(3).random((2, len(points)))
    x[1] = np.arange(len(points)) > 200  # a step
    expected = x @ kernel / kernel.sum(axis=1)
    errors = np.abs(GaussianFilter(points)(x) - expected)
    assert errors.mean() <= most * expected.mean()


@pytest.mark.parametrize("dimensions", [2, 5])
def test_constants_stay_and_results_are_means(dimensions):
    gaussian = GaussianFilter(features(dimensions))
    assert gaussian(np.full((1, 150), 3.0)) == pytest.approx(3.0)
    x = np.random.default_rng(4).random((1, 150))
    found = gaussian(x)
    assert x.min() <= found.min() and found.max() <= x.max()


def test_channels_are_filtered_each_by_itself():
    gaussian = GaussianFilter(features(5))
    x = np.random.default_rng(5).random((7, 150))  # two blocks of channels
    together = gaussian(x)
    for channel in range(7):
        assert np.array_equal(together[channel], gaussian(x[channel : channel + 1])[0])


def test_far_points_do_not_see_each_other():
    near = features(5)
    gaussian = GaussianFilter(np.concatenate([near, near + 1000]))
    x = np.zeros((1, 300))
    x[0, :150] = 1
    assert gaussian(x)[0, :150] == pytest.approx(1)
    assert np.all(gaussian(x)[0, 150:] == 0)


def test_many_vertices_are_found_again():
    # More of them than the table has at the start, and every one isolated.
    points = 50.0 * np.random.default_rng(6).permutation(20_000)[:, None] * [1, -1, 1]
    gaussian = GaussianFilter(np.concatenate([points, points]))
    x = np.random.default_rng(7).random((1, 20_000))
    found = gaussian(np.concatenate([x, x], axis=1))
    np.testing.assert_allclose(found[0, :20_000], x[0], rtol=1e-12)
    assert gaussian.vertices == GaussianFilter(points).vertices


def test_the_same_bytes_for_any_number_of_threads():
    program = """
import hashlib
import numpy as np
from caffe_layers.permutohedral import GaussianFilter, bilateral_features
rng = np.random.default_rng(0)
gaussian = GaussianFilter(bilateral_features(rng.uniform(0, 255, (60, 50, 3)), 9, 60))
x = rng.random((3, 3000))
for dtype in (np.float32, np.float64):
    values = x.astype(dtype)
    for found in (gaussian(values), gaussian.adjoint(values)):
        print(hashlib.sha256(found.tobytes()).hexdigest())
"""
    assert len(outputs_by_threads(program, 1, 2, 3, 5)) == 1


@pytest.mark.parametrize(
    "points, words",
    [
        (np.zeros((5, 7)), "1 to 6 dimensions"),
        (np.zeros((5, 0)), "1 to 6 dimensions"),
        (np.zeros((0, 2)), "n at least 1"),
        (np.zeros(5), "shape"),
        (np.array([[0.0], [np.nan]]), "finite"),
        (np.array([[0.0], [1e9]]), "larger"),
    ],
)
def test_bad_features_are_refused(points, words):
    with pytest.raises(ValueError, match=words):
        GaussianFilter(points)


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="channels, n"):
        GaussianFilter(features(2)).unnormalized(np.zeros((3, 149)))


def test_features_are_in_units_of_the_deviations():
    places = spatial_features((4, 5), 2.0)
    assert np.array_equal(places[7], [1.0, 0.5])  # row 1, column 2
    image = np.zeros((4, 5, 3))
    image[1, 2] = [3, 6, 9]
    both = bilateral_features(image, 2.0, 3.0)
    assert np.array_equal(both[7], [1.0, 0.5, 1.0, 2.0, 3.0])
