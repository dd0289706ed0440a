"""Photo to matte: what the predictor promises, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest
from caffe import layers as L
from caffe.proto import caffe_pb2

from caffe_layers.matting import LAMBDA_FLOOR
from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector
from prototxt.catalog import NETS
from tools import convert_selfie
from tools.matting.models import MODELS, model_of_net
from tools.matting.predictor import Predictor
from tools.matting.session import Matte, MattingSession
from tools.training.stages import RECIPES


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Head and shoulders of the astronaut."""
    return np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])


@pytest.fixture(scope="module")
def faceless(photo) -> np.ndarray:
    """The same, smaller, with a bar over the eyes."""
    points = LandmarkDetector().detect(photo)
    (left, top), (right, bottom) = np.rint([points.min(axis=0), points.max(axis=0)]).astype(int)
    covered = photo.copy()
    bar = covered[top - 5 : (top + bottom) // 2 + 8, left:right]
    bar[:] = np.median(bar, axis=(0, 1))
    return cv2.resize(covered, (150, 150), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("selfie") / "selfie.caffemodel"
    convert_selfie.main(["-o", str(path)])
    return path


def matte_by(predictor: Predictor, photo: np.ndarray) -> Matte:
    return MattingSession(predictor).matte(photo)


def edited(weights: Path, target: Path, edit) -> Path:
    """Copy of a caffemodel; `edit` changes the message in place."""
    model = caffe_pb2.NetParameter.FromString(weights.read_bytes())
    edit(model)
    target.write_bytes(model.SerializeToString())
    return target


def layer_named(model: caffe_pb2.NetParameter, name: str) -> caffe_pb2.LayerParameter:
    return next(layer for layer in model.layer if layer.name == name)


def test_person_is_white_and_ground_is_black(weights, photo):
    matte = matte_by(Predictor("selfie", weights=weights), photo)
    assert matte.faces
    assert matte.alpha.shape == (300, 300)
    assert matte.probabilities.shape == (3, 300, 300)
    assert 0 <= matte.alpha.min() and matte.alpha.max() <= 1
    np.testing.assert_allclose(matte.probabilities.sum(axis=0), 1, atol=1e-5)
    assert matte.alpha[60:290, 140:190].min() > 0.95
    assert matte.alpha[:100, 255:].max() < 0.05


def test_works_without_a_face(weights, faceless):
    matte = matte_by(Predictor("selfie", weights=weights), faceless)
    assert not matte.faces
    assert matte.alpha.shape == (150, 150)
    assert matte.alpha[30:145, 70:95].min() > 0.95
    assert matte.alpha[:50, 128:].max() < 0.05


def test_answer_does_not_depend_on_the_photos_before(weights, photo, faceless):
    session = MattingSession(Predictor("selfie", weights=weights))
    first = session.matte(photo).probabilities
    session.matte(faceless)
    np.testing.assert_array_equal(session.matte(photo).probabilities, first)


def test_missing_weights_say_how_to_make_them(tmp_path):
    with pytest.raises(InputError, match="none.caffemodel does not exist.*`make`"):
        Predictor("selfie", weights=tmp_path / "none.caffemodel")
    with pytest.raises(InputError, match="`make train`"):
        Predictor("lite", weights=tmp_path / "none.caffemodel")


def test_weights_that_are_no_caffemodel(tmp_path):
    path = tmp_path / "photo.caffemodel"
    path.write_bytes(b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(InputError, match="photo.caffemodel"):
        Predictor("selfie", weights=path)


def test_weights_of_another_net_name_the_layer(weights, tmp_path):
    def drop(model):
        model.layer.remove(layer_named(model, "block4_project"))

    def reshape(model):
        blob = layer_named(model, "block4_project").blobs[0]
        blob.shape.dim[0] = 16
        del blob.data[len(blob.data) // 2 :]

    for edit in (drop, reshape):
        path = edited(weights, tmp_path / "other.caffemodel", edit)
        with pytest.raises(InputError, match="other.caffemodel.*another net.*block4_project"):
            Predictor("selfie", weights=path)


def test_not_a_number_names_its_layer(weights, photo, tmp_path):
    def poison(model):
        layer_named(model, "block3_project").blobs[1].data[0] = np.nan

    path = edited(weights, tmp_path / "nan.caffemodel", poison)
    with pytest.raises(InputError, match="nan.caffemodel.*layer block3_project"):
        matte_by(Predictor("selfie", weights=path), photo)


def test_learned_lambda_comes_with_the_weights(weights, tmp_path):
    def learn(model):
        blob = model.layer.add(name="alpha", type="Python").blobs.add()
        blob.shape.dim.append(1)
        blob.data.append(42.0)

    path = edited(weights, tmp_path / "tuned.caffemodel", learn)
    assert Predictor("selfie", weights=path).lambda_ == 42

    def below(model):  # a snapshot right after an update that went too far
        layer_named(model, "alpha").blobs[0].data[0] = -350

    assert Predictor("selfie", weights=edited(path, path, below)).lambda_ == LAMBDA_FLOOR
    assert Predictor("selfie", weights=weights).lambda_ == 100


def test_deploy_definition_is_checked(weights, tmp_path):
    path = tmp_path / "net.prototxt"
    with pytest.raises(InputError, match="net.prototxt does not exist"):
        Predictor("selfie", deploy=path, weights=weights)
    path.write_text("this is no net")
    with pytest.raises(InputError, match="net.prototxt is no net definition"):
        Predictor("selfie", deploy=path, weights=weights)
    path.write_text('layer { name: "data" type: "Input" top: "data" }')
    with pytest.raises(InputError, match="net.prototxt has no blob score"):
        Predictor("selfie", deploy=path, weights=weights)


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> dict[str, Path]:
    """A net with the shape mask as fourth input channel, random weights."""
    folder = tmp_path_factory.mktemp("masked")
    files = dict(deploy=folder / "net.prototxt", weights=folder / "net.caffemodel")
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 4, 40, 30]))
    n.score = L.Convolution(n.data, num_output=3, kernel_size=1)
    files["deploy"].write_text(str(n.to_proto()))
    net = caffe.Net(str(files["deploy"]), caffe.TEST)
    net.params["score"][0].data[...] = 0.01 * np.arange(12).reshape(3, 4, 1, 1)
    net.save(str(files["weights"]))
    return files


def test_shape_mask_is_used_with_a_face_and_neutral_without(masked, photo, faceless, tmp_path):
    template = np.random.default_rng(1).uniform(60, 120, (68, 2))
    found = []
    for name, value in (("empty", 0), ("full", 1)):
        path = tmp_path / f"{name}.npz"
        ShapeMask(np.full((200, 150), value, np.float32), template).save(path)
        predictor = Predictor("lite", **masked, shape_mask=path)
        found.append([matte_by(predictor, each).probabilities for each in (photo, faceless)])
    (with_face, without), (other_with_face, other_without) = found
    assert np.abs(with_face - other_with_face).max() > 1e-3
    np.testing.assert_array_equal(without, other_without)


def test_missing_shape_mask_is_named(masked, tmp_path):
    with pytest.raises(InputError, match="none.npz"):
        Predictor("lite", **masked, shape_mask=tmp_path / "none.npz")


def test_models_name_committed_definitions():
    names = {"ensemble", "selfie", "portrait", "lite", "fcn8s", "fcn8s_half", "fcn8s_full"}
    assert set(MODELS) == names
    for model in MODELS.values():
        assert model.deploy.is_file()


def test_fcn8s_is_the_half_size_net_whose_weights_can_ship_and_the_full_one_has_its_own_name():
    assert MODELS["fcn8s"] == MODELS["fcn8s_half"]
    assert MODELS["fcn8s"].deploy == NETS["fcn8s_half"].trimap_deploy
    assert MODELS["fcn8s_full"].deploy == NETS["fcn8s"].trimap_deploy


@pytest.mark.parametrize("net", RECIPES)
def test_the_weights_of_a_training_are_those_of_a_model_with_its_net(net):
    assert MODELS[model_of_net(net)].deploy == NETS[net].trimap_deploy


@pytest.mark.parametrize("name", ["fcn8s", "fcn8s_full"])
def test_missing_weights_are_told_in_one_sentence_with_the_command_that_makes_them(name, tmp_path):
    with pytest.raises(InputError, match=rf"make the weights of {name} with `[^`]+`\.$") as told:
        Predictor(name, weights=tmp_path / "none.caffemodel")
    assert "\n" not in str(told.value)
