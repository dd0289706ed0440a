"""The weighted loss (eq. 10, 11)."""

import numpy as np
import pytest

from caffe_layers.weighted_loss import (
    default_alpha_distribution,
    load_alpha_distribution,
    loss_weights,
    weighted_loss,
)


def test_loss_is_the_sum_of_equation_10():
    rng = np.random.default_rng(0)
    distribution = rng.dirichlet(np.ones(256))
    truth = rng.integers(0, 256, (5, 4)) / 255
    alpha = rng.random((5, 4))
    expected = sum(
        -np.log(distribution[round(t * 255)]) * abs(a - t)
        for a, t in zip(alpha.ravel(), truth.ravel())
    )
    loss, _ = weighted_loss(alpha, truth, loss_weights(distribution))
    assert loss == pytest.approx(expected, rel=1e-12)


def test_gradient_equals_finite_differences():
    rng = np.random.default_rng(1)
    weights = loss_weights(default_alpha_distribution())
    truth, alpha = rng.integers(0, 256, (4, 5)) / 255, rng.random((4, 5))
    _, gradient = weighted_loss(alpha, truth, weights)
    for index in np.ndindex(4, 5):
        up, down = alpha.copy(), alpha.copy()
        up[index] += 1e-7
        down[index] -= 1e-7
        expected = (
            weighted_loss(up, truth, weights)[0] - weighted_loss(down, truth, weights)[0]
        ) / 2e-7
        assert gradient[index] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("levels", [[0, 255], [-0.1, 1], [np.nan, 1]])
def test_a_truth_outside_of_0_to_1_is_refused(levels):
    weights = loss_weights(default_alpha_distribution())
    with pytest.raises(ValueError, match="true alpha goes from .* must be in"):
        weighted_loss(np.zeros((1, 2)), np.array([levels]), weights)


def test_a_truth_of_scaled_levels_is_taken():
    """As Caffe's Data layer scales it, in float32: 255 times 1/255 is not quite 1."""
    truth = np.float32([0, 128, 255]) * np.float32(0.00392156886)
    loss, _ = weighted_loss(truth, truth, loss_weights(default_alpha_distribution()))
    assert loss == 0


def test_fractional_pixels_count_more_than_certain_ones():
    distribution = default_alpha_distribution()
    assert distribution.sum() == pytest.approx(1)
    assert distribution[1:-1].sum() == pytest.approx(0.05)
    weights = loss_weights(distribution)
    assert weights[1:-1].min() > 10 * weights[[0, -1]].max()


@pytest.mark.parametrize(
    "content",
    ["", "abc", "\n".join(["0.5"] * 2), "\n".join(["0"] * 255 + ["1"]), "\n".join(["1"] * 256)],
)
def test_refuses_a_file_that_is_no_distribution(tmp_path, content):
    path = tmp_path / "p_alpha.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match="make data"):
        load_alpha_distribution(path)


def test_a_missing_file_names_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="make data"):
        load_alpha_distribution(tmp_path / "absent.txt")
