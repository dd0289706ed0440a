"""The gradient error (eq. 13) as a loss, and its layer as Caffe runs it."""

import math
import os

import numpy as np
import pytest

os.environ.setdefault("GLOG_minloglevel", "2")
import caffe  # noqa: E402

from caffe_layers.gradient_loss import (  # noqa: E402
    GRADIENT_RADIUS,
    gaussian_gradient,
    gradient_loss,
)
from tools.metrics import dapm_gradient_error  # noqa: E402


def test_gradient_of_a_blurred_step_is_a_gaussian():
    """A Gaussian edge of width s, blurred by 1.4, has slope N(x; s^2 + 1.4^2)."""
    x = np.arange(60.0) - 29.3
    edge_sigma = 3.0
    edge = np.array([0.5 * (1 + math.erf(v / edge_sigma / math.sqrt(2))) for v in x])
    width = math.hypot(edge_sigma, 1.4)
    slope = np.exp(-0.5 * (x / width) ** 2) / (width * math.sqrt(2 * math.pi))
    gradient_x, gradient_y = gaussian_gradient(np.tile(edge, (20, 1)))
    np.testing.assert_allclose(gradient_x, np.tile(slope, (20, 1)), atol=1.5e-3 * slope.max())
    np.testing.assert_allclose(gradient_y, 0, atol=1e-15)


def test_gradient_of_a_ramp_is_its_slope_and_direction():
    y, x = np.mgrid[:40, :50]
    gradient_x, gradient_y = gaussian_gradient(0.01 * x - 0.005 * y)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(gradient_x[inner], 0.01, rtol=1e-3)
    np.testing.assert_allclose(gradient_y[inner], -0.005, rtol=1e-3)


def two_mattes(seed, shape=(2, 19, 17)):
    return np.random.default_rng(seed).random((2, *shape))


def test_loss_is_the_gradient_error_of_the_middle():
    alpha, truth = two_mattes(0)
    middle = np.zeros(alpha.shape[1:], bool)
    middle[GRADIENT_RADIUS:-GRADIENT_RADIUS, GRADIENT_RADIUS:-GRADIENT_RADIUS] = True
    wanted = [dapm_gradient_error(a, t, middle) for a, t in zip(alpha, truth)]
    assert gradient_loss(alpha, truth)[0] == pytest.approx(np.mean(wanted), rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_equals_finite_differences(seed):
    """Everywhere, at the border too: what lies there counts for the pixels inside."""
    alpha, truth = two_mattes(seed, (2, 15, 14))
    _, gradient = gradient_loss(alpha, truth)
    for index in np.ndindex(alpha.shape):
        up, down = alpha.copy(), alpha.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        expected = (gradient_loss(up, truth)[0] - gradient_loss(down, truth)[0]) / 2e-6
        assert gradient[index] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_equal_mattes_have_no_gradient():
    alpha, _ = two_mattes(2)
    loss, gradient = gradient_loss(alpha, alpha)
    assert loss == 0 and not gradient.any()


def test_too_small_mattes_are_refused():
    with pytest.raises(ValueError, match="12x30 pixels are too small.*more than 12"):
        gradient_loss(np.zeros((1, 30, 12)), np.zeros((1, 30, 12)))


def net_of(tmp_path, options="{}", channels=1):
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ dim: 2 dim: {channels} dim: 19 dim: 17 }} }} }}\n"
        for name in ("alpha", "matte")
    )
    path = tmp_path / "net.prototxt"
    path.write_text(
        "force_backward: true\n" + inputs + 'layer { name: "loss" type: "Python" '
        'bottom: "alpha" bottom: "matte" top: "loss" loss_weight: 3 python_param { '
        'module: "caffe_layers.gradient_loss_layer" layer: "GradientLossLayer" '
        f"param_str: '{options}' }} }}"
    )
    return caffe.Net(str(path), caffe.TRAIN)


def test_layer_gives_the_function_and_its_gradient(tmp_path):
    net = net_of(tmp_path)
    alpha, truth = two_mattes(3).astype(np.float32)
    net.blobs["alpha"].data[:, 0], net.blobs["matte"].data[:, 0] = alpha, truth
    net.forward()
    net.backward()
    loss, gradient = gradient_loss(alpha, truth)
    assert net.blobs["loss"].data[0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(net.blobs["alpha"].diff[:, 0], 3 * gradient, rtol=1e-5, atol=1e-9)
    assert not net.blobs["matte"].diff.any()


@pytest.mark.parametrize(
    ("options", "channels", "sentence"),
    [
        ('{"sigma": 2}', 1, "unknown key 'sigma'"),
        ("{}", 3, r"are not both \(N, 1, H, W\)"),
    ],
)
def test_layer_refuses_what_it_cannot_use(tmp_path, options, channels, sentence):
    with pytest.raises(ValueError, match=sentence):
        net_of(tmp_path, options, channels)
