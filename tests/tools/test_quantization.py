"""Weights with 8 bits each: how near they are, what of a net is kept, and what is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.errors import InputError, collected_warnings
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from prototxt.catalog import NETS
from tools.evaluation.methods import net_method
from tools.evaluation.metrics import evaluate
from tools.matting.caffe_net import read_caffemodel, write_caffemodel
from tools.matting.models import MODELS, ROOT
from tools.matting.predictor import Predictor
from tools.quantize_weights import main
from tools.training.quantization import (
    FEWEST_WEIGHTS,
    LARGEST_LEVEL,
    expand,
    pack,
    quantized,
    read_quantized,
    write_quantized,
)
from tools.training.weights import write_initial_weights

LITE, PORTRAIT = NETS["lite"], NETS["portrait"]
SHIPPED = MODELS["portrait"]


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """A caffemodel of lite with random weights, and a folder into which it is packed."""
    folder = tmp_path_factory.mktemp("lite")
    caffemodel = folder / "trained.caffemodel"
    write_initial_weights(LITE, "nothing", caffemodel, seed=3)
    pack(LITE, caffemodel, SHIPPED.shape_mask, folder / "packed")
    return caffemodel, folder / "packed"


def assert_near(found: np.ndarray, blob: np.ndarray, step: np.ndarray) -> None:
    """Weights are less than a step from what they were, sums of kernels half of one."""
    difference = (found - blob).reshape(*blob.shape[:2], -1) / step.reshape(-1, 1, 1)
    assert np.abs(difference).max() < 1
    assert np.abs(difference.sum(axis=2)).max() <= 0.501


def test_levels_are_near_the_weights_and_use_the_whole_range():
    blob = np.random.default_rng(0).normal(0, 1, (5, 4, 3, 3)).astype(np.float32)
    blob *= np.float32([1e-6, 1e-3, 1, 1e3, 1e6])[:, None, None, None]
    levels, scale = quantized(blob)
    assert levels.dtype == np.int8 and scale.shape == (5, 1, 1, 1)
    assert_near(levels * scale, blob, scale)
    assert (np.abs(levels).max(axis=(1, 2, 3)) == LARGEST_LEVEL).all()


def test_sums_of_kernels_stay_where_nearest_levels_would_move_them():
    """A kernel of 127, 4.4 and eight times 1.4, in steps of 1: its sum is 142.6."""
    blob = np.float32([127, 4.4, *8 * [1.4]]).reshape(1, 1, 2, 5)
    levels, scale = quantized(blob)
    assert scale.item() == 1
    assert np.rint(blob).sum() == 139 and levels.sum() == 143
    assert levels[0, 0, 0, 0] == 127 and set(levels.ravel()[2:].tolist()) == {1, 2}


def test_weights_without_neighbors_get_the_nearest_level():
    blob = np.random.default_rng(2).normal(0, 1, (6, 40, 1, 1)).astype(np.float32)
    levels, scale = quantized(blob)
    assert (np.abs(levels * scale - blob) <= 0.501 * scale).all()


def test_a_channel_of_zeros_stays_one_and_changes_no_other():
    blob = np.float32([[0, 0], [1e-45, 0], [-2, 1]])
    levels, scale = quantized(blob)
    np.testing.assert_array_equal(levels, [[0, 0], [0, 0], [-127, 64]])
    assert np.isfinite(scale).all() and (scale > 0).all()


def test_levels_are_levels_of_themselves():
    blob = np.random.default_rng(1).normal(0, 1, (6, 40, 3, 3)).astype(np.float32)
    levels, scale = quantized(blob)
    again, same_scale = quantized(levels * scale)
    np.testing.assert_array_equal(again, levels)
    np.testing.assert_allclose(same_scale, scale, rtol=1e-6)


def test_large_layers_are_near_what_they_were_and_small_ones_equal(lite, tmp_path):
    caffemodel, packed = lite
    before, after = read_caffemodel(caffemodel), read_caffemodel(expand(LITE, packed, tmp_path))
    assert list(before) == list(after)
    changed = 0
    for layer, blobs in before.items():
        for blob, other in zip(blobs, after[layer], strict=True):
            assert blob.shape == other.shape
            if blob.ndim == 1 or blob.size < FEWEST_WEIGHTS:
                np.testing.assert_array_equal(blob, other)
            else:
                step = np.abs(blob.reshape(len(blob), -1)).max(axis=1) / LARGEST_LEVEL
                assert_near(other, blob, step)
                changed += bool((blob != other).any())
    assert changed > 5


def test_a_packed_file_is_a_plain_archive_that_takes_a_fourth(lite):
    caffemodel, packed = lite
    path = LITE.packed_weights(packed)
    assert path.stat().st_size < 0.3 * caffemodel.stat().st_size
    with np.load(path, allow_pickle=False) as arrays:
        values = arrays["fc6/0"] * arrays["fc6/0.scale"]
        assert arrays["fc6/0"].dtype == np.int8 and arrays["fc6/1"].dtype == np.float32
    np.testing.assert_array_equal(values, read_quantized(path)["fc6"][0])


def test_packing_and_expanding_twice_give_the_same_bytes(lite, tmp_path):
    caffemodel, packed = lite
    again = pack(LITE, caffemodel, SHIPPED.shape_mask, tmp_path / "packed")
    assert again.read_bytes() == LITE.packed_weights(packed).read_bytes()
    with collected_warnings() as warnings:
        first = expand(LITE, packed, tmp_path / "models").read_bytes()
        second = expand(LITE, packed, tmp_path / "models").read_bytes()
    assert first == second and not warnings
    names = {path.name for path in (tmp_path / "models").iterdir()}
    assert names == {"lite.caffemodel", "lite.shape_mask.npz"}


def test_weights_that_somebody_trained_are_moved_aside(lite, tmp_path):
    caffemodel, packed = lite
    own = tmp_path / "lite.caffemodel"
    shutil.copy(caffemodel, own)
    with collected_warnings() as warnings:
        expand(LITE, packed, tmp_path)
    aside = tmp_path / "lite.stale-1.caffemodel"
    assert aside.read_bytes() == caffemodel.read_bytes() != own.read_bytes()
    assert warnings == [f"{own} was another one; it is kept in {aside}."]


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    """The shipped portrait-lite, packed and expanded: its folder."""
    folder = tmp_path_factory.mktemp("portrait")
    pack(PORTRAIT, SHIPPED.weights, SHIPPED.shape_mask, folder / "packed")
    expand(PORTRAIT, folder / "packed", folder)
    return folder


def test_a_trained_nets_mattes_stay_within_one_percent_in_error(portrait):
    errors = {}
    for name, weights in (
        ("before", SHIPPED.weights),
        ("after", portrait / "portrait.caffemodel"),
    ):
        # By one look, without a second opinion: the net's own mattes.
        method = net_method(name, "", "lite", weights, SHIPPED.deploy, SHIPPED.shape_mask)
        matte = method.load()
        pairs = [
            (read_photo(each.photo), read_matte(each.matte) / 255)
            for each in Dataset.open(ROOT / "data/sample").test[::6]
        ]
        found = [evaluate(matte(photo, truth), truth) for photo, truth in pairs]
        errors[name] = np.mean([(e.sad, e.mse, e.dapm_gradient) for e in found], axis=0)
    assert (errors["before"] != errors["after"]).all()
    np.testing.assert_allclose(errors["after"], errors["before"], rtol=0.01)


def test_lambda_and_the_shape_mask_are_kept(portrait):
    predictor = Predictor("portrait", weights=portrait / "portrait.caffemodel")
    assert predictor.lambda_ == Predictor("portrait").lambda_
    kept = ShapeMask.load(portrait / "portrait.shape_mask.npz")
    np.testing.assert_array_equal(kept.mean, ShapeMask.load(SHIPPED.shape_mask).mean)


def test_layers_of_training_alone_are_not_packed(lite, tmp_path):
    weights = read_caffemodel(lite[0])
    labels = {"class_label": [np.ones((1, 1, 1, 1), np.float32)]}
    write_caffemodel(tmp_path / "net.caffemodel", labels | weights)
    path = pack(LITE, tmp_path / "net.caffemodel", SHIPPED.shape_mask, tmp_path)
    assert list(read_quantized(path)) == list(weights)


def test_a_net_without_shape_mask_needs_none(tmp_path):
    net = NETS["lite_nomask"]
    write_initial_weights(net, "nothing", tmp_path / "net.caffemodel")
    pack(net, tmp_path / "net.caffemodel", tmp_path / "none.npz", tmp_path / "packed")
    expand(net, tmp_path / "packed", tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["lite_nomask.caffemodel"]


def test_weights_of_another_net_are_refused_both_ways(lite, tmp_path):
    caffemodel, packed = lite
    net = NETS["lite_nomask"]
    shutil.copy(LITE.packed_weights(packed), net.packed_weights(tmp_path))
    sentence = r"belongs to another net: layer conv1_1 wants \(8, 3, 3, 3\)"
    with pytest.raises(InputError, match=f"trained.caffemodel {sentence}"):
        pack(net, caffemodel, SHIPPED.shape_mask, tmp_path)
    with pytest.raises(InputError, match=f"lite_nomask.int8.npz {sentence}"):
        expand(net, tmp_path, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_byte_changed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def other_text(content: bytes) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\n"


def nothing(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut_short, one_byte_changed, other_text, nothing])
def test_a_damaged_file_is_told_in_one_sentence_and_writes_nothing(lite, tmp_path, damage):
    packed = tmp_path / "packed"
    shutil.copytree(lite[1], packed)
    path = LITE.packed_weights(packed)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="lite.int8.npz is damaged.*`git checkout`.$"):
        expand(LITE, packed, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_levels_without_their_scale_are_refused(tmp_path):
    np.savez(tmp_path / "lite.int8.npz", **{"fc6/0": np.ones((2, 2), np.int8)})
    with pytest.raises(InputError, match="holds no weights with 8 bits"):
        read_quantized(tmp_path / "lite.int8.npz")


def test_weights_that_are_not_finite_are_not_packed(tmp_path):
    weights = {"fc6": [np.float32([[1, np.inf]])]}
    with pytest.raises(InputError, match="Layer fc6 has weights that are not finite"):
        write_quantized(tmp_path / "net.int8.npz", weights)
    assert not list(tmp_path.iterdir())


def test_the_program_packs_and_expands_and_names_a_missing_file(lite, tmp_path, capsys):
    caffemodel = str(lite[0])
    mask, packed, models = (str(each) for each in (SHIPPED.shape_mask, tmp_path / "p", tmp_path))
    assert main(["pack", "lite", caffemodel, "--shape-mask", mask, "-o", packed]) == 0
    with pytest.raises(InputError, match="lite.shape_mask.npz does not exist"):
        main(["pack", "lite", caffemodel, "-o", packed])
    assert main(["expand", "lite", "--source", packed, "-o", models]) == 0
    assert f"wrote {tmp_path / 'lite.caffemodel'} (" in capsys.readouterr().out
    with pytest.raises(InputError, match="lite.int8.npz does not exist.*with --source"):
        main(["expand", "lite", "--source", str(tmp_path / "none"), "-o", models])
