"""Metrics against pure loops, hand-computed cases and calculus."""

import math

import numpy as np
import pytest

from tools.evaluation import metrics


def naive_components(mask):
    """4-connected components by flood fill, in raster order: lists of pixels."""
    height, width = mask.shape
    seen, components = set(), []
    for start in ((y, x) for y in range(height) for x in range(width)):
        if not mask[start] or start in seen:
            continue
        component, stack = [], [start]
        seen.add(start)
        while stack:
            y, x = stack.pop()
            component.append((y, x))
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and mask[near] and near not in seen:
                    seen.add(near)
                    stack.append(near)
        components.append(component)
    return components


def naive_connectivity_differences(matte, truth):
    """|phi - phi_true| of every pixel, straight from the definition."""
    height, width = matte.shape
    level = np.full((height, width), -1.0)
    thresholds = [k / 10 for k in range(11)]
    for k in range(1, 11):
        mask = (matte >= thresholds[k]) & (truth >= thresholds[k])
        components = naive_components(mask)
        largest = max(components, key=len) if components else []
        for y in range(height):
            for x in range(width):
                if level[y, x] == -1 and (y, x) not in largest:
                    level[y, x] = thresholds[k - 1]
    level[level == -1] = 1.0
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            phi = []
            for alpha in (matte[y, x], truth[y, x]):
                d = alpha - level[y, x]
                phi.append(1 - d if d >= 0.15 else 1.0)
            result[y, x] = abs(phi[0] - phi[1])
    return result


def naive_gradient(matte, radius, unit_energy):
    """Gaussian derivative by explicit two-dimensional convolution."""
    sigma = 1.4
    offsets = range(-radius, radius + 1)
    total = sum(math.exp(-(u * u + v * v) / (2 * sigma**2)) for u in offsets for v in offsets)
    kernel = {
        (u, v): u / sigma**2 * math.exp(-(u * u + v * v) / (2 * sigma**2)) / total
        for u in offsets
        for v in offsets
    }
    energy = math.sqrt(sum(value**2 for value in kernel.values())) if unit_energy else 1.0
    height, width = matte.shape
    gradient = np.zeros((height, width, 2))
    for y in range(height):
        for x in range(width):
            for (u, v), value in kernel.items():
                along, across = min(max(x + u, 0), width - 1), min(max(y + v, 0), height - 1)
                gradient[y, x, 0] += value / energy * matte[across, along]
                along, across = min(max(x + v, 0), width - 1), min(max(y + u, 0), height - 1)
                gradient[y, x, 1] += value / energy * matte[across, along]
    return gradient


def random_pair(seed, height=9, width=11):
    """A blotchy matte and a truth that resembles it."""
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.normal(0.55, 0.45, (height, width)), 0, 1)
    matte = np.clip(truth + rng.normal(0, 0.15, truth.shape), 0, 1)
    return matte, truth


@pytest.mark.parametrize("seed", range(12))
def test_connectivity_equals_loops(seed):
    matte, truth = random_pair(seed)
    expected = naive_connectivity_differences(matte, truth)
    assert expected.sum() > 0
    errors = metrics.evaluate(matte, truth)
    assert errors.rhemann_connectivity == pytest.approx(expected.sum() / 1000, rel=1e-12)
    assert errors.dapm_connectivity == pytest.approx(expected.mean(), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_errors_equal_loops(seed):
    matte, truth = random_pair(seed)
    difference = naive_gradient(matte, 6, False) - naive_gradient(truth, 6, False)
    errors = metrics.evaluate(matte, truth)
    expected = np.linalg.norm(difference, axis=2).mean()
    assert errors.dapm_gradient == pytest.approx(expected, rel=1e-12)
    magnitudes = [
        np.linalg.norm(naive_gradient(alpha, 4, True), axis=2) for alpha in (matte, truth)
    ]
    expected = ((magnitudes[0] - magnitudes[1]) ** 2).sum() / 1000
    assert errors.rhemann_gradient == pytest.approx(expected, rel=1e-12)


def test_gradient_of_a_blurred_step_is_a_gaussian():
    """A Gaussian edge of width s, blurred by 1.4, has slope N(x; s^2 + 1.4^2)."""
    x = np.arange(60.0) - 29.3
    edge_sigma = 3.0
    edge = np.array([0.5 * (1 + math.erf(v / edge_sigma / math.sqrt(2))) for v in x])
    width = math.hypot(edge_sigma, 1.4)
    slope = np.exp(-0.5 * (x / width) ** 2) / (width * math.sqrt(2 * math.pi))
    gradient_x, gradient_y = metrics.gaussian_gradient(np.tile(edge, (20, 1)))
    np.testing.assert_allclose(gradient_x, np.tile(slope, (20, 1)), atol=1.5e-3 * slope.max())
    np.testing.assert_allclose(gradient_y, 0, atol=1e-15)


def test_gradient_of_a_ramp_is_its_slope_and_direction():
    y, x = np.mgrid[:40, :50]
    gradient_x, gradient_y = metrics.gaussian_gradient(0.01 * x - 0.005 * y)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(gradient_x[inner], 0.01, rtol=1e-3)
    np.testing.assert_allclose(gradient_y[inner], -0.005, rtol=1e-3)


def test_conventions_differ_for_a_turned_edge():
    """Same steepness everywhere, other direction: only the vector norm sees it."""
    y, x = np.mgrid[:64, :64] / 100.0
    inner = np.zeros((64, 64), dtype=bool)
    inner[10:-10, 10:-10] = True
    errors = metrics.evaluate(x, y, inner)
    assert errors.rhemann_gradient == pytest.approx(0, abs=1e-12)
    assert errors.dapm_gradient == pytest.approx(0.01 * math.sqrt(2), rel=1e-3)


def test_background_is_never_the_source_region():
    """The person covers 4 of 100 pixels, so label 0 has the largest area.

    Counting it as a component would connect the empty background instead and
    report an error for the person, who is matted perfectly.
    """
    truth = np.zeros((10, 10))
    truth[4:6, 4:6] = 1.0
    matte = truth.copy()
    matte[0, 0] = 0.5
    level = metrics.source_levels(matte, truth)
    np.testing.assert_array_equal(level, truth)
    # The stray 0.5 is connected at level 0 only: phi differs by 0.5 there.
    errors = metrics.evaluate(matte, truth)
    assert errors.rhemann_connectivity == pytest.approx(0.5 / 1000)
    assert errors.dapm_connectivity == pytest.approx(0.5 / 100)


def test_connectivity_by_hand():
    """Six pixels in a row; levels worked out on paper."""
    truth = np.array([[1.0, 1.0, 0.0, 0.6, 0.0, 0.05]])
    matte = np.array([[1.0, 0.7, 0.0, 0.6, 0.1, 0.0]])
    np.testing.assert_allclose(
        metrics.source_levels(matte, truth), [[1.0, 0.7, 0.0, 0.0, 0.0, 0.0]]
    )
    # phi: pixel 1 is 1 and 1 - 0.3; pixel 3 is 0.4 in both; pixels 4 and 5
    # differ from level 0 by less than theta.
    assert metrics.evaluate(matte, truth).rhemann_connectivity == pytest.approx(0.3 / 1000)


def test_diagonal_neighbors_are_not_connected():
    truth = np.zeros((4, 4))
    truth[0, :3] = 1.0
    truth[1, 3] = 1.0
    assert metrics.source_levels(truth, truth)[1, 3] == 0.0


def test_levels_are_exact_for_8_bit_mattes():
    """153 / 255 is 0.6 exactly, and 6 * 0.1 is above it."""
    for value in (51, 102, 153, 204, 255):
        flat = np.full((3, 3), value / 255.0)
        np.testing.assert_array_equal(metrics.source_levels(flat, flat), value / 255.0)


def test_pixels_that_drop_out_stay_out():
    """The largest component moves from the left block to the right one."""
    matte = np.array([[0.4, 0.4, 0.4, 0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(
        metrics.source_levels(matte, matte), [[0.4, 0.4, 0.4, 0.0, 0.0, 0.0]]
    )


def test_nothing_in_common():
    truth = np.zeros((5, 6))
    truth[:, :3] = 1.0
    np.testing.assert_array_equal(metrics.source_levels(1 - truth, truth), 0.0)
    errors = metrics.evaluate(1 - truth, truth)
    assert errors.dapm_connectivity == 1.0
    assert errors.rhemann_connectivity == pytest.approx(30 / 1000)
    assert errors.sad == pytest.approx(30 / 1000)
    assert errors.mse == 1.0


@pytest.mark.parametrize("value", [None, 0.0, 0.5, 1.0])
def test_a_perfect_matte_has_no_error(value):
    truth = random_pair(3)[1] if value is None else np.full((7, 8), value)
    errors = metrics.evaluate(truth.copy(), truth)
    assert [getattr(errors, name) for name in errors.names()] == [0.0] * 6


def test_means_do_not_grow_with_the_image_and_sums_do():
    truth = np.zeros((20, 20))
    truth[:, 10:] = 1.0
    small = metrics.evaluate(np.full((20, 20), 0.5), truth)
    large = metrics.evaluate(np.full((40, 20), 0.5), np.vstack([truth, truth]))
    for name in ("dapm_gradient", "dapm_connectivity", "mse"):
        assert getattr(large, name) == pytest.approx(getattr(small, name))
    for name in ("rhemann_gradient", "rhemann_connectivity", "sad"):
        assert getattr(large, name) == pytest.approx(2 * getattr(small, name))
    assert small.sad == pytest.approx(0.2)
    assert small.mse == pytest.approx(0.25)


def test_region_counts_only_its_pixels_but_sees_the_whole_matte():
    matte, truth = random_pair(5)
    region = np.zeros(truth.shape, dtype=bool)
    region[2:5, 3:9] = True
    errors = metrics.evaluate(matte, truth, region)
    expected = naive_connectivity_differences(matte, truth)[region]
    assert errors.rhemann_connectivity == pytest.approx(expected.sum() / 1000)
    assert errors.dapm_connectivity == pytest.approx(expected.mean())
    assert errors.sad == pytest.approx(np.abs(matte - truth)[region].sum() / 1000)
    assert errors.mse == pytest.approx(((matte - truth)[region] ** 2).mean())
    gradient = naive_gradient(matte - truth, 6, False)[region]
    assert errors.dapm_gradient == pytest.approx(np.linalg.norm(gradient, axis=1).mean())


def test_unknown_region_is_the_dilated_fractional_part():
    truth = np.zeros((21, 21))
    truth[10, 10] = 0.5
    truth[10, 12:] = 1.0
    y, x = np.mgrid[:21, :21]
    distance = np.hypot(y - 10, x - 10)
    region = metrics.unknown_region(truth, radius=5)
    assert region[distance <= 4.5].all() and not region[distance > 5.6].any()
    np.testing.assert_array_equal(metrics.unknown_region(truth, radius=0), truth == 0.5)


def test_unusable_mattes_are_refused():
    truth = np.zeros((5, 5))
    with pytest.raises(ValueError, match="not a pair"):
        metrics.evaluate(np.zeros((5, 6)), truth)
    with pytest.raises(ValueError, match="finite"):
        metrics.evaluate(np.full((5, 5), np.nan), truth)
    with pytest.raises(ValueError, match="region"):
        metrics.evaluate(truth, truth, np.zeros((5, 5), dtype=bool))
