"""Initial weights: every number ends where the paper says it should."""

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep.common.errors import InputError
from prototxt.catalog import NETS
from prototxt.generate import FOLDER
from tools.init_weights import main
from tools.matting.caffe_net import read_caffemodel
from tools.training.weights import (
    SCORE_LAYERS,
    UPSAMPLING_LAYERS,
    bilinear_kernel,
    filled_net,
    transplant,
    vgg16_convolutions,
    widen_input,
)


def as_published(net_text, size=64):
    """The 21-class net for color images of size x size: voc-fcn8s."""
    net = text_format.Parse(net_text, caffe_pb2.NetParameter())
    for layer in net.layer:
        if layer.name in SCORE_LAYERS + UPSAMPLING_LAYERS:
            layer.convolution_param.num_output = 21
        if layer.type == "Input":
            layer.input_param.shape[0].dim[2:] = [size, size]
    return str(net)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A caffemodel with the names and shapes of voc-fcn8s, random weights."""
    folder = tmp_path_factory.mktemp("published")
    definition = folder / "voc-fcn8s.prototxt"
    definition.write_text(
        as_published((FOLDER / "fcn8s_nomask/trimap_deploy.prototxt").read_text())
    )
    net = caffe.Net(str(definition), caffe.TEST)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.standard_normal(blob.data.shape, dtype=np.float32)
    path = folder / "voc-fcn8s.caffemodel"
    net.save(str(path))
    return path, {name: [b.data.copy() for b in blobs] for name, blobs in net.params.items()}


def test_21_class_fcn8s_converts_number_by_number(published, tmp_path, capsys):
    path, source = published
    output = tmp_path / "init.caffemodel"
    assert (
        main(["fcn8s", "--from", "fcn8s", "--source", str(path), "--seed", "3", "-o", str(output)])
        == 0
    )
    printed = capsys.readouterr().out
    classes = np.random.default_rng(3).choice(21, size=3, replace=False)
    assert f"chose classes {', '.join(map(str, classes))} of 21" in printed
    assert "widened to 4 channels" in printed

    net = caffe.Net(str(FOLDER / "fcn8s/deploy.prototxt"), str(output), caffe.TEST)
    for name, blobs in net.params.items():
        found = [b.data for b in blobs]
        if name == "alpha":
            assert found[0][0] == 100
        elif name == "conv1_1":
            assert np.array_equal(found[0][:, :3], source[name][0])
            assert np.all(found[0][:, 3] == 0)
            assert np.array_equal(found[1], source[name][1])
        elif name in SCORE_LAYERS:
            for i, c in enumerate(classes):
                assert np.array_equal(found[0][i], source[name][0][c])
                assert found[1][i] == source[name][1][c]
        elif name in UPSAMPLING_LAYERS:
            for i, c in enumerate(classes):
                for j, d in enumerate(classes):
                    assert np.array_equal(found[0][i, j], source[name][0][c, d])
        else:
            assert all(np.array_equal(a, b) for a, b in zip(found, source[name], strict=True))


def test_refuses_weights_of_another_net(published, tmp_path):
    _, source = published
    net = filled_net(NETS["lite"], seed=0)
    with pytest.raises(InputError, match="conv1_1.*do not fit|do not fit.*conv1_1"):
        transplant(net, {"conv1_1": source["conv1_1"]})
    small = tmp_path / "lite.caffemodel"
    net.save(str(small))
    with pytest.raises(InputError, match="21-class"):
        main(["fcn8s", "--from", "fcn8s", "--source", str(small), "-o", str(tmp_path / "x")])


def test_refuses_weights_of_which_nothing_would_be_copied(tmp_path):
    output = tmp_path / "x.caffemodel"
    with pytest.raises(InputError, match="nothing would be copied; it fits fcn8s, .*") as refused:
        main(["portrait", "--from", "vgg16", "-o", str(output)])
    fitting = str(refused.value).rpartition(" fits ")[2].rstrip(".").split(", ")
    assert {"fcn8s_half", "deeplab_half"} < set(fitting)
    assert not {"portrait", "lite", "selfie"} & set(fitting)
    assert not output.exists()


@pytest.mark.parametrize(
    "content, words",
    [(None, "does not exist"), (b"\xff" * 50, "no caffemodel"), (b"", "no layers")],
)
def test_refuses_files_that_are_no_caffemodel(tmp_path, content, words):
    path = tmp_path / "x.caffemodel"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_caffemodel(path)


def test_source_is_not_written_over(tmp_path):
    path = tmp_path / "x.caffemodel"
    path.write_bytes(b"the only copy")
    with pytest.raises(InputError, match="x.caffemodel is read and would be replaced"):
        main(["fcn8s", "--from", "fcn8s", "--source", str(path), "-o", str(path)])
    assert path.read_bytes() == b"the only copy"


def test_vgg16_convolutions_fit_and_see_edges():
    weights = vgg16_convolutions()
    assert len(weights) == 13
    assert weights["conv1_1"][0].shape == (64, 3, 3, 3)
    assert weights["conv5_3"][0].shape == (512, 512, 3, 3)
    # ImageNet's first layer holds color-opponent and oriented filters: most
    # of its energy is not in the mean of a filter.
    first = weights["conv1_1"][0]
    mean_energy = (first.mean(axis=(1, 2, 3)) ** 2 * 27).sum()
    assert mean_energy < 0.3 * (first**2).sum()


def test_widened_net_answers_as_the_original():
    rng = np.random.default_rng(0)
    narrow = rng.normal(size=(5, 3, 3, 3))
    wide = widen_input(narrow, 4)
    patch = rng.normal(size=(4, 3, 3))
    np.testing.assert_allclose(
        np.tensordot(wide, patch, 3), np.tensordot(narrow, patch[:3], 3), rtol=1e-12
    )


@pytest.mark.parametrize("factor", [2, 8])
def test_bilinear_kernel_interpolates_a_ramp_exactly(factor):
    """Transposed convolution of x gives the linear function between the samples."""
    kernel = bilinear_kernel(2 * factor).sum(axis=0) / factor
    coarse = np.arange(6.0)
    fine = np.zeros(5 * factor + 2 * factor)
    for i, value in enumerate(coarse):
        fine[i * factor : i * factor + 2 * factor] += value * kernel
    inner = fine[2 * factor : -2 * factor]
    np.testing.assert_allclose(np.diff(inner), 1 / factor, atol=1e-12)


def test_same_seed_same_weights(tmp_path):
    one, two, other = (tmp_path / f"{n}.caffemodel" for n in ("one", "two", "other"))
    for path, seed in ((one, "0"), (two, "0"), (other, "1")):
        assert main(["lite", "--from", "nothing", "--seed", seed, "-o", str(path)]) == 0
    first, second, third = (read_caffemodel(p)["conv1_1"][0] for p in (one, two, other))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_without_shape_mask_the_other_layers_are_drawn_alike(tmp_path):
    drawn = {}
    for net in ("lite", "lite_nomask"):
        path = tmp_path / f"{net}.caffemodel"
        assert main([net, "--from", "nothing", "--seed", "2", "-o", str(path)]) == 0
        drawn[net] = read_caffemodel(path)
    assert drawn["lite"].keys() == drawn["lite_nomask"].keys()
    for name, blobs in drawn["lite_nomask"].items():
        alike = [np.array_equal(a, b) for a, b in zip(blobs, drawn["lite"][name], strict=True)]
        if name == "conv1_1":
            assert blobs[0].shape[1] == 3 and blobs[0].std() > 0
        else:
            assert all(alike)
