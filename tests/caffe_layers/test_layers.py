"""The layers as Caffe runs them, float32, through caffe.Net."""

import json
import os

import numpy as np
import pytest
from threads import openmp_threads

os.environ.setdefault("GLOG_minloglevel", "2")
import caffe

from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction, solve_alpha
from caffe_layers.mean_field import CrfSettings, CrfWeights, dense_crf
from caffe_layers.position import position_channels
from caffe_layers.smoothing import smoothed
from caffe_layers.weighted_loss import (
    default_alpha_distribution,
    loss_weights,
    weighted_loss,
)


def input_layer(name, shape):
    dims = " ".join(f"dim: {d}" for d in shape)
    shape = f"input_param {{ shape {{ {dims} }} }}"
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" {shape} }}\n'


def matting_layer(options):
    return f"""layer {{
      name: "alpha" type: "Python" bottom: "prob" bottom: "image" top: "alpha"
      python_param {{ module: "caffe_layers.matting_layer" layer: "MattingLayer"
                      param_str: '{options}' }} }}
    """


def loss_layer(options):
    return f"""layer {{
      name: "loss" type: "Python" bottom: "alpha" bottom: "matte" top: "loss" loss_weight: 1
      python_param {{ module: "caffe_layers.weighted_loss_layer" layer: "WeightedLossLayer"
                      param_str: '{options}' }} }}
    """


@pytest.fixture
def make_net(tmp_path):
    def make(text, phase=caffe.TRAIN):
        path = tmp_path / "net.prototxt"
        path.write_text("force_backward: true\n" + text)
        return caffe.Net(str(path), phase)

    return make


@pytest.fixture
def matting_net(make_net):
    def make(batch=1, size=(7, 9), options="{}", phase=caffe.TRAIN):
        return make_net(
            input_layer("prob", (batch, 3, *size))
            + input_layer("image", (batch, 3, *size))
            + matting_layer(options),
            phase,
        )

    return make


def fill(net, seed):
    """Random softmax-like probabilities and a mean-subtracted image."""
    rng = np.random.default_rng(seed)
    batch, _, height, width = net.blobs["prob"].data.shape
    probabilities = rng.dirichlet([1, 1, 1], (batch, height, width))
    net.blobs["prob"].data[...] = np.moveaxis(probabilities, 3, 1)
    net.blobs["image"].data[...] = rng.uniform(-110, 140, (batch, 3, height, width))


def directional_differences(net, blob, direction, objective, step):
    start = blob.data.copy()
    blob.data[...] = start + step * direction
    up = objective(net)
    blob.data[...] = start - step * direction
    down = objective(net)
    blob.data[...] = start
    return (up - down) / (2 * step)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("batch", [1, 2])
def test_matting_layer_gradients(matting_net, seed, batch):
    net = matting_net(batch)
    fill(net, seed)
    rng = np.random.default_rng(seed + 50)
    top_gradient = rng.normal(size=net.blobs["alpha"].data.shape)

    def objective(net):
        net.forward()
        return float(np.sum(net.blobs["alpha"].data.astype(np.float64) * top_gradient))

    objective(net)
    net.blobs["alpha"].diff[...] = top_gradient
    net.params["alpha"][0].diff[...] = 0
    net.backward()
    gradient = net.blobs["prob"].diff.astype(np.float64)
    d_lambda = float(net.params["alpha"][0].diff[0])

    assert np.all(gradient[:, 2] == 0)
    assert np.all(net.blobs["image"].diff == 0)
    # Where alpha hangs on a probability least, float32 cannot see the
    # difference: compare along the gradient itself and random directions.
    for direction in [gradient / np.abs(gradient).max(), rng.choice([-1.0, 1.0], gradient.shape)]:
        direction[:, 2] = 0
        expected = directional_differences(net, net.blobs["prob"], direction, objective, 1e-3)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-2)
    expected = directional_differences(net, net.params["alpha"][0], 1.0, objective, 5.0)
    assert d_lambda == pytest.approx(expected, rel=1e-2)


def test_matting_layer_equals_the_function_and_takes_batches(matting_net):
    net = matting_net(batch=2, options='{"lambda": 30, "epsilon": 1e-5}')
    fill(net, 3)
    net.forward()
    for n in range(2):
        image = np.moveaxis(net.blobs["image"].data[n], 0, 2) / 255.0
        foreground, background, _ = net.blobs["prob"].data[n]
        expected = MattingFunction().forward(
            matting_laplacian(image, 1e-5), foreground, background, 30.0
        )
        np.testing.assert_allclose(net.blobs["alpha"].data[n, 0], expected, atol=1e-5)


def test_image_size_may_change_from_batch_to_batch(matting_net):
    net = matting_net()
    for size in [(7, 9), (12, 5), (7, 9), (3, 3)]:
        net.blobs["prob"].reshape(1, 3, *size)
        net.blobs["image"].reshape(1, 3, *size)
        net.reshape()
        fill(net, 4)
        net.forward()
        net.blobs["alpha"].diff[...] = 1
        net.backward()
        assert net.blobs["alpha"].data.shape == (1, 1, *size)
        assert np.isfinite(net.blobs["prob"].diff).all()


def test_lambda_gradient_accumulates_and_bottom_gradient_does_not(matting_net):
    net = matting_net()
    fill(net, 5)
    net.forward()
    net.blobs["alpha"].diff[...] = 1
    net.backward()
    once, bottom = net.params["alpha"][0].diff.copy(), net.blobs["prob"].diff.copy()
    net.backward()
    np.testing.assert_allclose(net.params["alpha"][0].diff, 2 * once, rtol=1e-6)
    np.testing.assert_array_equal(net.blobs["prob"].diff, bottom)


def test_lambda_starts_at_100_and_stays_above_its_floor(matting_net):
    net = matting_net(options='{"lambda_floor": 0.5}')
    assert net.params["alpha"][0].data[0] == 100
    fill(net, 6)
    net.params["alpha"][0].data[0] = -3
    net.forward()
    assert net.params["alpha"][0].data[0] == 0.5
    assert np.isfinite(net.blobs["alpha"].data).all()


def test_test_phase_gives_the_same_matte(matting_net):
    train, test = matting_net(batch=2), matting_net(batch=2, phase=caffe.TEST)
    fill(train, 7), fill(test, 7)
    train.forward(), test.forward()
    np.testing.assert_array_equal(train.blobs["alpha"].data, test.blobs["alpha"].data)


@pytest.mark.parametrize(
    "options, words",
    [
        ('{"lamda": 3}', ["MattingLayer", "lamda"]),
        ('{"lambda": -1}', ["MattingLayer", "lambda", "-1"]),
        ('{"radius": 1.5}', ["MattingLayer", "radius"]),
        ('{"nonlocal": -1}', ["MattingLayer", "nonlocal", "0 or more"]),
        ('{"nonlocal_learned": 1}', ["MattingLayer", "nonlocal_learned", "true or false"]),
        ('{"smooth": 1}', ["MattingLayer", "smooth", "true or false"]),
        ('{"epsilon": "small"}', ["MattingLayer", "epsilon"]),
        ("[1]", ["MattingLayer", "object"]),
        ("lambda=3", ["MattingLayer", "JSON"]),
    ],
)
def test_bad_parameters_are_named(matting_net, options, words):
    with pytest.raises(ValueError) as error:
        matting_net(options=options)
    assert all(word in str(error.value) for word in words)


def test_empty_parameters_mean_the_defaults(matting_net):
    assert matting_net(options="").params["alpha"][0].data[0] == 100


def test_a_nan_in_the_scores_is_named(matting_net):
    net = matting_net()
    fill(net, 8)
    net.forward()
    net.blobs["prob"].data[0, 0, 2, 2] = np.nan
    with pytest.raises(ValueError, match="MattingLayer.*NaN.*forward pass 2"):
        net.forward()


def test_wrong_shapes_are_named(make_net):
    with pytest.raises(ValueError, match="3 x H x W"):
        make_net(
            input_layer("prob", (1, 2, 5, 5))
            + input_layer("image", (1, 3, 5, 5))
            + matting_layer("{}")
        )
    with pytest.raises(ValueError, match="differ"):
        make_net(
            input_layer("prob", (1, 3, 5, 5))
            + input_layer("image", (1, 3, 5, 6))
            + matting_layer("{}")
        )


TIED = '{"nonlocal": 0.01, "nonlocal_learned": true, "smooth": true, "solver": "pardiso"}'


def silent(net):
    """Leave a square in the middle of the probabilities unknown."""
    net.blobs["prob"].data[:, :2, 2:-2, 2:-2] *= 0.02


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_with_affinities(matting_net, batch):
    net = matting_net(batch, (9, 11), TIED)
    fill(net, 10), silent(net)
    rng = np.random.default_rng(60)
    top_gradient = rng.normal(size=net.blobs["alpha"].data.shape)
    assert len(net.params["alpha"]) == 2
    # So large that the affinities count on random colors.
    net.params["alpha"][1].data[0] = 2.0

    def objective(net):
        net.forward()
        return float(np.sum(net.blobs["alpha"].data.astype(np.float64) * top_gradient))

    objective(net)
    net.blobs["alpha"].diff[...] = top_gradient
    for blob in net.params["alpha"]:
        blob.diff[...] = 0
    net.backward()
    gradient = net.blobs["prob"].diff.astype(np.float64)
    found = [float(blob.diff[0]) for blob in net.params["alpha"]]
    direction = gradient / np.abs(gradient).max()
    direction[:, 2] = 0
    expected = directional_differences(net, net.blobs["prob"], direction, objective, 1e-3)
    assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-2)
    for blob, d_found, step in zip(net.params["alpha"], found, (5.0, 0.1)):
        expected = directional_differences(net, blob, 1.0, objective, step)
        assert d_found == pytest.approx(expected, rel=2e-2)
    net.params["alpha"][1].diff[...] = 0
    objective(net)
    net.backward(), net.backward()  # Caffe sums over iter_size
    assert net.params["alpha"][1].diff[0] == pytest.approx(2 * found[1], rel=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_layer_solves_what_the_photo_tool_solves(matting_net, batch):
    net = matting_net(batch, (24, 30), '{"nonlocal": 1e-2, "smooth": true}')
    fill(net, 11), silent(net)
    rows, columns = np.mgrid[:24, :30]
    waves = np.stack([np.sin(rows / 5), np.sin(columns / 6), np.cos(rows / 4)])
    noise = np.random.default_rng(12).normal(size=(3, 24, 30))
    photo = np.rint(120 + 60 * waves + 5 * noise).clip(0, 255).astype(np.uint8)
    net.blobs["image"].data[...] = photo - np.array([104, 117, 123])[:, None, None]
    net.forward()
    assert len(net.params["alpha"]) == 1
    image = np.moveaxis(photo, 0, 2)
    for probabilities, alpha in zip(net.blobs["prob"].data, net.blobs["alpha"].data):
        expected = solve_alpha(smoothed(image), probabilities[0], probabilities[1], mu=1e-2)
        np.testing.assert_allclose(alpha[0].clip(0, 1), expected, atol=1e-4)
        for levels, mu in ((image, 1e-2), (smoothed(image), 0.0)):  # both options count
            other = solve_alpha(levels, probabilities[0], probabilities[1], mu=mu)
            assert np.abs(other - expected).max() > 1e-3


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("options", ["{}", TIED, TIED.replace("pardiso", "hybrid")])
def test_batches_give_the_same_bytes_with_any_number_of_threads(matting_net, options, phase):
    def passes(threads):
        net = matting_net(5, (24, 30), options, phase)
        fill(net, 15), silent(net)
        with openmp_threads(threads):
            net.forward()
            found = [net.blobs["alpha"].data.copy()]
            if phase == caffe.TRAIN:
                net.blobs["alpha"].diff[...] = np.random.default_rng(16).normal(size=(5, 1, 24, 30))
                net.backward()
                blobs = [net.blobs["prob"], *net.params["alpha"]]
                found += [blob.diff.copy() for blob in blobs]
        return found

    expected = passes(1)
    assert all(np.abs(array).max() > 0 for array in expected)
    for threads in (2, 3, 8):
        for found, array in zip(passes(threads), expected, strict=True):
            np.testing.assert_array_equal(found, array)


def test_nonlocal_of_zero_gives_the_same_bytes(matting_net):
    plain, zero = matting_net(), matting_net(options='{"nonlocal": 0, "smooth": false}')
    for net in (plain, zero):
        fill(net, 13), silent(net)
        net.forward()
        net.blobs["alpha"].diff[...] = 1
        net.backward()
    for name in ("alpha", "prob"):
        np.testing.assert_array_equal(plain.blobs[name].data, zero.blobs[name].data)
        np.testing.assert_array_equal(plain.blobs[name].diff, zero.blobs[name].diff)
    assert len(zero.params["alpha"]) == 1


def test_a_learned_mu_starts_as_given_and_does_not_become_negative(matting_net):
    net = matting_net(options=TIED)
    mu = net.params["alpha"][1]
    assert mu.data[0] == np.float32(0.01)
    fill(net, 14), silent(net)
    mu.data[0] = -3
    net.forward()
    assert mu.data[0] == 0
    net.blobs["alpha"].diff[...] = np.random.default_rng(15).normal(size=(1, 1, 7, 9))
    net.backward()
    assert mu.diff[0] != 0  # it can leave 0 again


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_layer(make_net, tmp_path, normalize, seed):
    rng = np.random.default_rng(seed)
    distribution = rng.dirichlet(np.ones(256))
    np.savetxt(tmp_path / "p.txt", distribution)
    options = json.dumps({"p_alpha": str(tmp_path / "p.txt"), "normalize": normalize})
    net = make_net(
        input_layer("alpha", (2, 1, 6, 5))
        + input_layer("matte", (2, 1, 6, 5))
        + loss_layer(options)
    )
    alpha, truth = rng.random((2, 1, 6, 5)), rng.integers(0, 256, (2, 1, 6, 5)) / 255
    net.blobs["alpha"].data[...], net.blobs["matte"].data[...] = alpha, truth

    def objective(net):
        return float(net.forward()["loss"].item())

    expected_loss, _ = weighted_loss(alpha, truth, loss_weights(distribution))
    assert objective(net) == pytest.approx(expected_loss / (60 if normalize else 1), rel=1e-4)
    net.backward()
    gradient = net.blobs["alpha"].diff.copy()
    for index in np.ndindex(*gradient.shape):
        direction = np.zeros_like(gradient)
        direction[index] = 1
        # the loss is piecewise linear: any step that stays on one side is exact
        step = min(0.05, 0.5 * abs(alpha[index] - truth[index]))
        if step < 0.01:
            continue
        expected = directional_differences(net, net.blobs["alpha"], direction, objective, step)
        assert gradient[index] == pytest.approx(
            expected, rel=1e-3, abs=1e-3 * float(np.abs(gradient).max())
        )


def test_loss_layer_defaults_to_the_papers_shares(make_net):
    net = make_net(
        input_layer("alpha", (1, 1, 4, 4)) + input_layer("matte", (1, 1, 4, 4)) + loss_layer("{}")
    )
    net.blobs["alpha"].data[...], net.blobs["matte"].data[...] = 0.25, 1.0
    expected = 16 * 0.75 * loss_weights(default_alpha_distribution())[-1]
    assert float(net.forward()["loss"].item()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "options", ['{"p_alpha": 3}', '{"normalize": 1}', '{"p": "x"}', '{"p_alpha": "absent.txt"}']
)
def test_loss_layer_refuses_bad_parameters(make_net, options):
    with pytest.raises(ValueError, match="WeightedLossLayer"):
        make_net(
            input_layer("alpha", (1, 1, 4, 4))
            + input_layer("matte", (1, 1, 4, 4))
            + loss_layer(options)
        )


def mean_field_layer(options):
    return f"""layer {{
      name: "crf" type: "Python" bottom: "score" bottom: "image" top: "crf"
      python_param {{ module: "caffe_layers.mean_field_layer" layer: "MeanFieldLayer"
                      param_str: '{options}' }} }}
    """


CRF = dict(
    theta_alpha=6.1, theta_beta=60.0, theta_gamma=1.7, bilateral_weight=2.0, spatial_weight=1.0
)


@pytest.fixture
def mean_field_net(make_net):
    def make(batch=1, size=(12, 9), phase=caffe.TRAIN, classes=3, **options):
        net = make_net(
            input_layer("score", (batch, classes, *size))
            + input_layer("image", (batch, 3, *size))
            + mean_field_layer(json.dumps(CRF | options)),
            phase,
        )
        rng = np.random.default_rng(30)
        net.blobs["score"].data[...] = rng.normal(size=net.blobs["score"].data.shape)
        net.blobs["image"].data[...] = rng.uniform(-110, 140, net.blobs["image"].data.shape)
        return net

    return make


@pytest.mark.parametrize("batch, classes", [(1, 3), (2, 3), (1, 2)])
def test_mean_field_layer_gradients(mean_field_net, batch, classes):
    net = mean_field_net(batch, classes=classes)
    rng = np.random.default_rng(31)
    for blob in net.params["crf"]:  # without any symmetry
        blob.data[...] += rng.normal(0, 0.3, blob.data.shape)
    top_gradient = rng.normal(size=net.blobs["crf"].data.shape)

    def objective(net):
        net.forward()
        return float(np.sum(net.blobs["crf"].data.astype(np.float64) * top_gradient))

    objective(net)
    net.blobs["crf"].diff[...] = top_gradient
    net.blobs["image"].diff[...] = 7
    net.backward()
    assert np.all(net.blobs["image"].diff == 0)
    for blob in (net.blobs["score"], *net.params["crf"]):
        gradient = blob.diff.astype(np.float64)
        assert np.abs(gradient).max() > 0
        for direction in (
            gradient / np.abs(gradient).max(),
            rng.choice([-1.0, 1.0], blob.diff.shape),
        ):
            expected = directional_differences(net, blob, direction, objective, 1e-3)
            assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-2)


def test_gradients_of_the_mean_field_s_weights_add_up(mean_field_net):
    net = mean_field_net()
    net.forward()
    net.blobs["crf"].diff[...] = np.random.default_rng(32).normal(size=net.blobs["crf"].data.shape)
    net.backward()
    once = [blob.diff.copy() for blob in net.params["crf"]]
    net.backward()  # Caffe sums over iter_size
    for blob, first in zip(net.params["crf"], once):
        np.testing.assert_allclose(blob.diff, 2 * first, rtol=1e-5)


@pytest.mark.parametrize("phase, iterations", [(caffe.TRAIN, 2), (caffe.TEST, 7)])
def test_mean_field_layer_is_dense_crf_and_iterates_by_phase(mean_field_net, phase, iterations):
    net = mean_field_net(2, phase=phase, unknown_penalty=0.4, iterations={"train": 2, "test": 7})
    net.forward()
    for scores, image, found in zip(
        net.blobs["score"].data, net.blobs["image"].data, net.blobs["crf"].data
    ):
        planes = (np.moveaxis(each, 0, 2) for each in (scores, image))
        expected = dense_crf(*planes, CrfSettings(**CRF, unknown_penalty=0.4), iterations)
        np.testing.assert_allclose(np.moveaxis(found, 0, 2), expected, atol=1e-5)


def test_dense_crf_takes_the_weights_that_a_net_has_learned(mean_field_net):
    net = mean_field_net(phase=caffe.TEST)
    for blob in net.params["crf"]:
        blob.data[...] += np.random.default_rng(33).normal(0, 0.3, blob.data.shape)
    net.forward()
    planes = (np.moveaxis(net.blobs[name].data[0], 0, 2) for name in ("score", "image"))
    weights = CrfWeights(*(blob.data for blob in net.params["crf"]))
    expected = dense_crf(*planes, CrfSettings(**CRF), 10, weights)
    np.testing.assert_allclose(np.moveaxis(net.blobs["crf"].data[0], 0, 2), expected, atol=1e-5)


def test_mean_field_layer_repeats_its_bytes(mean_field_net):
    first, second = mean_field_net(), mean_field_net()
    for net in (first, second):
        net.forward()
        net.blobs["crf"].diff[...] = 1 + net.blobs["score"].data
        net.backward()
    np.testing.assert_array_equal(first.blobs["crf"].data, second.blobs["crf"].data)
    np.testing.assert_array_equal(first.blobs["score"].diff, second.blobs["score"].diff)


def test_the_mean_field_s_weights_are_logged(mean_field_net, caplog):
    caplog.set_level("INFO")
    net = mean_field_net(classes=2, log_every=2)
    for _ in range(3):
        net.forward()
    lines = [record.message for record in caplog.records if record.message.startswith("[crf]")]
    assert lines == ["[crf] spatial 1 0 0 1; bilateral 2 0 0 2; compatibility -1 0 0 -1"] * 2


def test_the_mean_field_s_weights_are_saved_and_loaded(mean_field_net, tmp_path):
    net = mean_field_net()
    net.params["crf"][1].data[...] = np.arange(9).reshape(3, 3)
    net.save(str(tmp_path / "net.caffemodel"))
    other = mean_field_net(bilateral_weight=9)
    assert np.array_equal(other.params["crf"][1].data, 9 * np.eye(3))
    other.copy_from(str(tmp_path / "net.caffemodel"))
    assert np.array_equal(other.params["crf"][1].data, np.arange(9).reshape(3, 3))


def test_mean_field_layer_refuses_scores_that_are_no_numbers(mean_field_net):
    net = mean_field_net()
    net.blobs["score"].data[0, 1, 2, 3] = np.inf
    with pytest.raises(ValueError, match="MeanFieldLayer.*NaN or infinity.*snapshot"):
        net.forward()


@pytest.mark.parametrize(
    "options",
    [
        dict(theta_alpha=0),
        dict(unknown_penalty=-1),
        dict(iterations=5),
        dict(iterations={"train": 5}),
        dict(iterations={"train": 5, "test": 0}),
        dict(iterations={"train": 5, "test": True}),
        dict(theta=3),
    ],
)
def test_mean_field_layer_refuses_bad_parameters(mean_field_net, options):
    with pytest.raises(ValueError, match="MeanFieldLayer.*(theta|unknown_penalty|iterations)"):
        mean_field_net(**options)


def test_mean_field_layer_refuses_an_image_of_another_size(make_net):
    with pytest.raises(ValueError, match="MeanFieldLayer.*5, 6.*5, 7"):
        make_net(
            input_layer("score", (1, 3, 5, 6))
            + input_layer("image", (1, 3, 5, 7))
            + mean_field_layer("{}")
        )


def position_layer(options):
    return f"""layer {{
      name: "channels" type: "Python" bottom: "map" bottom: "image" top: "channels"
      python_param {{ module: "caffe_layers.position_layer" layer: "PositionLayer"
                      param_str: '{options}' }} }}
    """


def test_position_layer(make_net):
    net = make_net(
        input_layer("map", (2, 6, 1, 1))
        + input_layer("image", (2, 3, 4, 5))
        + position_layer('{"reduction": 3}')
    )
    maps = np.random.default_rng(40).normal(size=(2, 6)) / 100
    net.blobs["map"].data[:, :, 0, 0] = maps
    net.forward()
    np.testing.assert_allclose(
        net.blobs["channels"].data, position_channels(maps, (4, 5), 3), rtol=1e-5, atol=1e-5
    )
    for name in ("map", "image"):
        net.blobs[name].diff[...] = 7
    net.backward()
    assert np.all(net.blobs["map"].diff == 0) and np.all(net.blobs["image"].diff == 0)


@pytest.mark.parametrize("options", ['{"reduction": 0}', '{"reduction": 1.5}', '{"scale": 2}'])
def test_position_layer_refuses_bad_parameters(make_net, options):
    with pytest.raises(ValueError, match="PositionLayer.*(reduction|scale)"):
        make_net(
            input_layer("map", (1, 6, 1, 1))
            + input_layer("image", (1, 3, 4, 4))
            + position_layer(options)
        )


@pytest.mark.parametrize("shape", [(1, 6, 2, 1), (2, 6, 1, 1), (1, 5, 1, 1)])
def test_position_layer_refuses_maps_of_another_shape(make_net, shape):
    with pytest.raises(ValueError, match="PositionLayer.*N x 6 x 1 x 1"):
        make_net(
            input_layer("map", shape) + input_layer("image", (1, 3, 4, 4)) + position_layer("{}")
        )
