"""The nets of Table 1's baselines, and the trunk that they share with ours at half size."""

import os
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format

os.environ.setdefault("GLOG_minloglevel", "2")
import caffe
from caffe import layers as L
from caffe.proto import caffe_pb2
from opencv_scores import assert_opencv_agrees

from caffe_layers.mean_field import softmax
from prototxt.catalog import NETS
from prototxt.generate import FOLDER
from prototxt.netspec import fcn8s
from tools.training.weights import filled_net, vgg16_convolutions, write_initial_weights

BASELINES = [
    f"{kind}{net}{size}"
    for net in ("deeplab", "crfrnn", "portraitfcn")
    for kind, size in (("", "_half"), ("lite_", ""))
]
# VGG-16's weights, and fc6, fc7 and fc8 of the published DeepLab-LargeFOV with 21 classes.
PUBLISHED_DEEPLAB_WEIGHTS = 20.5e6


def read(path):
    return text_format.Parse(path.read_text(), caffe_pb2.NetParameter())


def net_of(definition, folder, phase=caffe.TEST):
    path = folder / "net.prototxt"
    path.write_text(str(definition))
    return caffe.Net(str(path), phase)


def test_the_half_size_trunk_crops_the_upsampled_scores():
    net = caffe.Net(str(FOLDER / "fcn8s_half/trimap_deploy.prototxt"), caffe.TEST)
    sizes = {name: tuple(blob.data.shape[2:]) for name, blob in net.blobs.items()}
    assert [sizes[name] for name in ("pool3", "pool4", "pool5", "fc6")] == [
        (50, 38),
        (25, 19),
        (13, 10),
        (13, 10),
    ]
    assert sizes["upscore2"] == (28, 22) and sizes["upscore_pool4"] == (52, 40)
    assert sizes["upscore8"] == (408, 312) and sizes["score"] == (400, 300)
    crops = {
        l.name: l.crop_param.offset[0]
        for l in read(NETS["fcn8s_half"].deploy).layer
        if l.type == "Crop"
    }
    assert crops == {"upscore2c": 1, "upscore_pool4c": 1, "score": 4}


def forward_work(net):
    """Floating-point operations of the convolutions of a forward pass."""
    pixels = {name: np.prod(blob.data.shape[2:]) for name, blob in net.blobs.items()}
    return sum(
        2 * blobs[0].data.size * pixels[name]
        for name, blobs in net.params.items()
        if not name.startswith("upscore")
    )


def test_the_half_size_trunk_has_four_tenths_of_the_work_of_the_published_padding(tmp_path):
    definition = read(NETS["fcn8s_half"].trimap_deploy)
    work = forward_work(net_of(definition, tmp_path))
    n = caffe.NetSpec()
    n.data = L.Input(shape=fcn8s.input_shape("fcn8s_half", channels=4))
    fcn8s.fcn8s_scores(n, replace(fcn8s.SHAPES["fcn8s_half"], pad=100, fc_pad=0))
    published = forward_work(net_of(n.to_proto(), tmp_path))
    assert work / 1e9 == pytest.approx(77, abs=1) and published / 1e9 == pytest.approx(188, abs=1)


def narrow_trunk(size, folder):
    """The half-size trunk with few channels on images of any size, weights alike both ways."""
    shape = fcn8s.Shape((2, 2, 2, 2, 2), 2, 7, 1, reduction=2, batch_size=1, fc_pad=3)
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, *size]))
    fcn8s.fcn8s_scores(n, shape)
    net = net_of(n.to_proto(), folder)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        weights = np.abs(rng.normal(0.1, 0.1, blobs[0].data.shape))
        weights += weights[:, :, ::-1]
        blobs[0].data[...] = weights + weights[:, :, :, ::-1]
    return net


def test_scores_lie_where_the_image_is(tmp_path):
    # With weights that are alike from left and right, a crop that is off shows.
    net = narrow_trunk((96, 64), tmp_path)
    image = np.random.default_rng(1).normal(size=(3, 96, 64))
    for axis in (1, 2):
        net.blobs["data"].data[0] = image + np.flip(image, axis)
        score = net.forward()["score"][0]
        assert np.ptp(score) > 0
        np.testing.assert_allclose(score, np.flip(score, axis), rtol=1e-4)


@pytest.mark.parametrize("size", [(400, 300), (61, 47), (33, 200), (8, 8)])
def test_the_half_size_trunk_takes_images_of_any_size(size, tmp_path):
    net = narrow_trunk(size, tmp_path)
    assert net.forward()["score"].shape == (1, 3, *size)


@pytest.mark.parametrize("name", ["deeplab_half", "lite_deeplab"])
def test_deeplab_scores_every_eighth_pixel(name):
    net = caffe.Net(str(NETS[name].trimap_deploy), caffe.TEST)
    height, width = net.blobs["data"].data.shape[2:]
    rows, columns = net.blobs["fc8"].data.shape[2:]
    assert 8 * (rows - 1) >= height - 1 and 8 * (columns - 1) >= width - 1
    # An upsampled cell lies on its pixel, and between cells it is linear.
    cells = np.random.default_rng(0).normal(size=(3, rows, columns))
    net.blobs["fc8"].data[0] = cells
    layers = list(net._layer_names)
    net._forward(layers.index("upscore"), layers.index("prob"))
    along = np.apply_along_axis(
        lambda values: np.interp(np.arange(height) / 8, np.arange(rows), values), 1, cells
    )
    expected = np.apply_along_axis(
        lambda values: np.interp(np.arange(width) / 8, np.arange(columns), values), 2, along
    )
    np.testing.assert_allclose(net.blobs["score"].data[0], expected, atol=1e-5)
    np.testing.assert_allclose(net.blobs["prob"].data[0], softmax(expected), atol=1e-5)


def test_deeplab_sizes_are_those_of_the_released_net():
    net = caffe.Net(str(NETS["deeplab_half"].trimap_deploy), caffe.TEST)
    names = ("pool1", "pool2", "pool3", "pool4", "pool5", "pool5a", "fc6", "fc8")
    assert [net.blobs[name].data.shape[2:] for name in names] == [
        (201, 151),
        (101, 76),
        *[(51, 39)] * 6,
    ]
    for name, (weights, bias) in vgg16_convolutions().items():
        assert net.params[name][0].data.shape == weights.shape
        assert net.params[name][1].data.shape == bias.shape


def test_deeplab_of_the_published_widths_has_the_published_number_of_weights(tmp_path):
    definition = read(NETS["deeplab_half"].trimap_deploy)
    for layer in definition.layer:
        if layer.name in ("fc6", "fc7", "fc8", "upscore"):
            layer.convolution_param.num_output = 21 if layer.name in ("fc8", "upscore") else 1024
        if layer.name == "upscore":
            layer.convolution_param.group = 21
        if layer.name == "data":
            layer.input_param.shape[0].dim[2:] = [33, 33]
    net = net_of(definition, tmp_path)
    weights = sum(
        blob.data.size for name, blobs in net.params.items() for blob in blobs if name != "upscore"
    )
    assert weights == pytest.approx(PUBLISHED_DEEPLAB_WEIGHTS, rel=5e-3)


def test_deeplab_learns_every_eighth_label(tmp_path):
    definition = read(NETS["lite_deeplab"].trimap_train_val)
    kept = ("not_background", "foreground", "class_step", "label", "eighth_label")
    small = text_format.Parse(
        'layer { name: "m" type: "Input" top: "matte" input_param {'
        " shape { dim: 2 dim: 1 dim: 200 dim: 150 } } }",
        caffe_pb2.NetParameter(),
    )
    small.layer.extend(layer for layer in definition.layer if layer.name in kept)
    net = net_of(small, tmp_path)
    mattes = np.random.default_rng(0).integers(0, 3, (2, 1, 200, 150)) / 2
    net.blobs["matte"].data[...] = mattes
    net.forward()
    assert np.array_equal(net.blobs["eighth_label"].data, net.blobs["label"].data[..., ::8, ::8])
    assert np.array_equal(net.blobs["label"].data == 2, mattes == 0.5)


def test_the_last_layer_of_deeplab_learns_ten_times_as_fast():
    layers = {layer.name: layer for layer in read(NETS["deeplab_half"].trimap_train_val).layer}
    assert [(p.lr_mult, p.decay_mult) for p in layers["fc8"].param] == [(10, 1), (20, 0)]
    assert [(p.lr_mult, p.decay_mult) for p in layers["conv5_3"].param] == [(1, 1), (2, 0)]


@pytest.mark.parametrize("name", ["lite_crfrnn", "crfrnn_half"])
def test_a_crf_without_weights_leaves_the_fcn(name):
    net = caffe.Net(str(NETS[name].deploy), caffe.TEST)
    for blob in net.params["crf_score"][:2]:
        assert np.all(np.diag(blob.data) > 0)
        blob.data[...] = 0
    rng = np.random.default_rng(0)
    net.blobs["score"].data[...] = rng.normal(size=net.blobs["score"].data.shape)
    net.blobs["data"].data[...] = rng.uniform(-100, 130, net.blobs["data"].data.shape)
    layers = list(net._layer_names)
    net._forward(layers.index("crf_score"), layers.index("prob"))
    np.testing.assert_array_equal(net.blobs["crf_score"].data, net.blobs["score"].data)
    expected = softmax(net.blobs["score"].data[0].astype(float))
    np.testing.assert_allclose(net.blobs["prob"].data[0], expected, atol=1e-6)


def test_the_weights_of_the_fcn_fit_the_crf_net():
    fcn = caffe.Net(str(NETS["lite_nomask"].trimap_deploy), caffe.TEST)
    for definition in (NETS["lite_crfrnn"].deploy, NETS["lite_crfrnn"].trimap_deploy):
        crf = caffe.Net(str(definition), caffe.TEST)
        assert crf.params.keys() - fcn.params.keys() <= {"crf_score"}
        for name, blobs in fcn.params.items():
            assert [b.data.shape for b in crf.params[name]] == [b.data.shape for b in blobs]


def test_portraitfcn_labels_persons_with_0(tmp_path):
    definition = read(NETS["lite_portraitfcn"].trimap_train_val)
    small = text_format.Parse(
        'layer { name: "m" type: "Input" top: "matte" input_param { shape { dim: 256 } } }',
        caffe_pb2.NetParameter(),
    )
    small.layer.extend(layer for layer in definition.layer if layer.name in ("person", "label"))
    net = net_of(small, tmp_path)
    net.blobs["matte"].data[...] = np.arange(256) * np.float32(1 / 255)
    labels = net.forward()["label"]
    assert np.all(labels[:128] == 1) and np.all(labels[128:] == 0)


def test_portraitfcn_has_the_channels_of_the_released_net_in_its_order():
    layers = {layer.name: layer for layer in read(NETS["portraitfcn_half"].trimap_train_val).layer}
    assert list(layers["data"].bottom) == ["image", "position", "mask"]
    deploy = {layer.name: layer for layer in read(NETS["portraitfcn_half"].trimap_deploy).layer}
    assert list(deploy["data"].input_param.shape[0].dim) == [1, 6, 400, 300]
    assert deploy["score_fr"].convolution_param.num_output == 2


def test_added_channels_of_portraitfcn_start_at_random(tmp_path):
    output = tmp_path / "init.caffemodel"
    write_initial_weights(NETS["portraitfcn_half"], "vgg16", output, seed=0)
    net = caffe.Net(str(NETS["portraitfcn_half"].trimap_deploy), str(output), caffe.TEST)
    first, published = net.params["conv1_1"][0].data, vgg16_convolutions()["conv1_1"][0]
    assert np.array_equal(first[:, :3], published)
    assert first[:, 3:].std() == pytest.approx(published.std(), rel=0.1)


@pytest.mark.parametrize("name", [name for name in BASELINES if name.endswith("_half")])
def test_all_rows_start_from_the_same_draws(name):
    ours, baseline = filled_net(NETS["fcn8s_half"], seed=4), filled_net(NETS[name], seed=4)
    shared = ["fc7"] if name == "deeplab_half" else ["fc6", "fc7"]
    for layer in shared:
        assert np.array_equal(ours.params[layer][0].data, baseline.params[layer][0].data)


@pytest.mark.parametrize("name", BASELINES)
def test_training_and_deploy_nets_have_the_same_weights(name):
    def learned(path):
        return {
            layer.name: (
                list(layer.convolution_param.kernel_size),
                layer.convolution_param.num_output,
                list(layer.convolution_param.dilation),
            )
            for layer in read(path).layer
            if layer.type in ("Convolution", "Deconvolution")
        }

    training, deploy = learned(NETS[name].trimap_train_val), learned(NETS[name].trimap_deploy)
    training.pop("eighth_label", None)
    deploy.pop("upscore", None)  # DeepLab's training does without
    assert training == deploy


@pytest.mark.parametrize("name", ["lite_deeplab", "lite_crfrnn", "lite_portraitfcn"])
def test_opencv_reads_the_baselines(name, tmp_path):
    """Another program gives the same scores (random weights in every layer)."""
    deploy = str(NETS[name].trimap_deploy)
    net = filled_net(NETS[name], seed=1)
    rng = np.random.default_rng(2)
    for layer, blobs in net.params.items():
        if layer.startswith(("score", "fc8")):
            blobs[0].data[...] = rng.normal(0, 1e-2, blobs[0].data.shape)
        if layer in ("upscore2", "upscore_pool4", "upscore8"):
            blobs[0].data[...] = rng.normal(0, 0.2, blobs[0].data.shape)
    assert_opencv_agrees(net, deploy, tmp_path / "net.caffemodel", rng)
