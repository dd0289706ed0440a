"""The net definitions: as published, as generated, and readable by others."""

import os

import numpy as np
import pytest
from google.protobuf import text_format

os.environ.setdefault("GLOG_minloglevel", "2")
import caffe
from caffe.proto import caffe_pb2
from opencv_scores import assert_opencv_agrees

from prototxt import generate

# Learned layers of voc-fcn8s: outputs, kernel, pad.
PUBLISHED_CONVOLUTIONS = {
    "conv1_1": (64, 3, 100),
    "conv1_2": (64, 3, 1),
    "conv2_1": (128, 3, 1),
    "conv2_2": (128, 3, 1),
    "conv3_1": (256, 3, 1),
    "conv3_2": (256, 3, 1),
    "conv3_3": (256, 3, 1),
    "conv4_1": (512, 3, 1),
    "conv4_2": (512, 3, 1),
    "conv4_3": (512, 3, 1),
    "conv5_1": (512, 3, 1),
    "conv5_2": (512, 3, 1),
    "conv5_3": (512, 3, 1),
    "fc6": (4096, 7, 0),
    "fc7": (4096, 1, 0),
    "score_fr": (3, 1, 0),
    "score_pool4": (3, 1, 0),
    "score_pool3": (3, 1, 0),
}
PUBLISHED_DECONVOLUTIONS = {"upscore2": (4, 2), "upscore_pool4": (4, 2), "upscore8": (16, 8)}
PUBLISHED_CROPS = {"score_pool4c": 5, "score_pool3c": 9, "score": 31}


def read(name):
    net = caffe_pb2.NetParameter()
    return text_format.Parse((generate.FOLDER / name).read_text(), net)


def test_files_equal_the_generator():
    assert generate.stale_files() == []


@pytest.mark.parametrize(
    "name", ["fcn8s/deploy.prototxt", "fcn8s/train_val.prototxt", "fcn8s/trimap_train_val.prototxt"]
)
def test_fcn8s_is_as_published(name):
    layers = {layer.name: layer for layer in read(name).layer}
    convolutions = {n: l for n, l in layers.items() if l.type == "Convolution"}
    assert convolutions.keys() == PUBLISHED_CONVOLUTIONS.keys()
    for key, (outputs, kernel, pad) in PUBLISHED_CONVOLUTIONS.items():
        layer = convolutions[key]
        p = layer.convolution_param
        assert (p.num_output, list(p.kernel_size), list(p.pad)) == (outputs, [kernel], [pad])
        assert [(q.lr_mult, q.decay_mult) for q in layer.param] == [(1, 1), (2, 0)]
    deconvolutions = {n: l for n, l in layers.items() if l.type == "Deconvolution"}
    assert deconvolutions.keys() == PUBLISHED_DECONVOLUTIONS.keys()
    for key, (kernel, stride) in PUBLISHED_DECONVOLUTIONS.items():
        p = deconvolutions[key].convolution_param
        assert (list(p.kernel_size), list(p.stride), p.bias_term) == ([kernel], [stride], False)
        assert [q.lr_mult for q in deconvolutions[key].param] == [0]
    crops = {n: l.crop_param for n, l in layers.items() if l.type == "Crop"}
    assert {n: (c.axis, list(c.offset)) for n, c in crops.items()} == {
        n: (2, [offset]) for n, offset in PUBLISHED_CROPS.items()
    }
    assert all(layers[n].dropout_param.dropout_ratio == 0.5 for n in ("drop6", "drop7"))


def test_lambda_has_no_weight_decay():
    for name in ("fcn8s/train_val", "lite/train_val", "selfie/train_val"):
        alpha = next(l for l in read(f"{name}.prototxt").layer if l.name == "alpha")
        assert [p.decay_mult for p in alpha.param] == [0]
        assert alpha.param[0].lr_mult > 0


@pytest.mark.parametrize(
    "net, losses",
    [
        ("fcn8s", {"loss": 1}),  # the paper's
        ("lite", {"loss": 1}),
        ("fcn8s_half", {"loss": 1, "trimap_loss": 0.2}),
        ("fcn8s_half_nomask", {"loss": 1, "trimap_loss": 0.2}),
        ("portrait", {"loss": 1, "trimap_loss": 0.2}),
    ],
)
def test_what_is_learned_end_to_end(net, losses):
    layers = [
        l
        for l in read(f"{net}/train_val.prototxt").layer
        if "Loss" in (l.type + l.python_param.layer)
    ]
    found = {l.name: list(l.loss_weight) or [1] for l in layers}
    assert {name: weight for name, (weight,) in found.items()} == pytest.approx(losses)


def test_trimap_labels(tmp_path):
    """label = 1 + [alpha > 0] - 2 [alpha = 1], out of the generated layers."""
    net = read("lite/trimap_train_val.prototxt")
    kept = [
        l for l in net.layer if l.name in ("not_background", "foreground", "class_step", "label")
    ]
    small = caffe_pb2.NetParameter()
    text_format.Parse(
        'layer { name: "m" type: "Input" top: "matte" input_param { shape { dim: 256 } } }', small
    )
    small.layer.extend(kept)
    (tmp_path / "net.prototxt").write_text(str(small))
    caffe_net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    caffe_net.blobs["matte"].data[...] = np.arange(256) * np.float32(1 / 255)
    labels = caffe_net.forward()["label"]
    assert labels[0] == 1 and labels[255] == 0
    assert np.all(labels[1:255] == 2)


def test_softmax_of_the_head_is_equation_3():
    net = caffe.Net(str(generate.FOLDER / "lite/deploy.prototxt"), caffe.TEST)
    scores = np.random.default_rng(0).normal(size=net.blobs["score"].data.shape)
    net.blobs["score"].data[...] = scores
    net._forward(list(net._layer_names).index("prob"), list(net._layer_names).index("prob"))
    powers = np.exp(scores)
    np.testing.assert_allclose(
        net.blobs["prob"].data, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["lite", "lite_nomask", "fcn8s"])
def test_opencv_reads_our_files(name, tmp_path):
    """Another program gives the same scores (random weights in every layer)."""
    deploy = str(generate.FOLDER / f"{name}/trimap_deploy.prototxt")
    caffe.set_random_seed(1)
    net = caffe.Net(deploy, caffe.TEST)
    rng = np.random.default_rng(2)
    for layer in ("score_fr", "score_pool4", "score_pool3"):
        net.params[layer][0].data[...] = rng.normal(0, 1e-2, net.params[layer][0].data.shape)
        net.params[layer][1].data[...] = rng.normal(0, 1e-2, 3)
    for layer in ("upscore2", "upscore_pool4", "upscore8"):
        net.params[layer][0].data[...] = rng.normal(0, 0.2, net.params[layer][0].data.shape)
    assert_opencv_agrees(net, deploy, tmp_path / "net.caffemodel", rng)
