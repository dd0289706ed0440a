"""Position channels: their place in the face, their versions, and their databases."""

import json
import shutil

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_layers.position import POSITION_SCALE, position_channels
from data_prep.caffe_data.alignment import transform_points
from data_prep.caffe_data.augmentation import Augmentation
from data_prep.caffe_data.position import (
    INNER,
    changed_landmarks,
    position_map,
    write_positions,
)
from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.caffe_data.variation import Variation
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.landmark_scheme import MIRRORED
from data_prep.common.landmarks import detect_landmarks
from data_prep.datasets.dataset import FRAME
from data_prep.position import main
from data_prep.prepare import main as prepare
from prototxt.catalog import NETS
from tools.baselines.portraitfcn import net_input


def turned(points, angle=0.2, scale=1.3, shift=(40.0, -25.0)):
    """Points turned, enlarged and moved: (3, 3) matrix and the points."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])
    return matrix, transform_points(matrix, points)


def positions(affine, points):
    return np.column_stack([points, np.ones(len(points))]) @ affine.T


@pytest.fixture(scope="module")
def template(sample_landmarks):
    return np.mean(list(sample_landmarks.values()), axis=0)


def test_positions_are_0_at_the_face_and_in_units_of_the_frame(template):
    affine = position_map(template, template)
    center = template[INNER].mean(axis=0)
    aside = center + [[0, 0], [FRAME[1], 0], [0, FRAME[0]]]
    np.testing.assert_allclose(positions(affine, aside), [[0, 0], [1, 0], [0, 1]], atol=1e-12)


def test_positions_follow_the_face(template):
    matrix, landmarks = turned(template)
    affine = position_map(landmarks, template)
    places = np.array([[10.0, 20], [300, 700], [599, 0]])
    np.testing.assert_allclose(
        positions(affine, transform_points(matrix, places)),
        positions(position_map(template, template), places),
        atol=1e-12,
    )


def test_the_outline_of_the_face_does_not_count(template):
    assert len(INNER) == 49
    landmarks = template.copy()
    others = [k for k in range(68) if k not in INNER]
    landmarks[others] += 50
    assert np.array_equal(position_map(landmarks, template), position_map(template, template))


def test_without_a_face_positions_are_0(template):
    assert np.array_equal(position_map(None, template), np.zeros((2, 3)))


def test_mirrored_landmarks_are_the_ones_of_the_other_side(template):
    assert np.array_equal(np.array(MIRRORED)[MIRRORED], np.arange(68))
    # A face is nearly its own mirror image: every landmark comes to lie near its own place.
    axis = template[27:31, 0].mean()
    mirrored = template[MIRRORED] * [-1, 1] + [2 * axis, 0]
    eyes = np.linalg.norm(template[36:42].mean(axis=0) - template[42:48].mean(axis=0))
    assert np.linalg.norm(mirrored - template, axis=1).max() < 0.15 * eyes


def test_a_mirrored_version_has_the_positions_of_a_mirrored_photo(sample, template):
    photo = read_photo(sample.train[0].photo)
    landmarks, seen = detect_landmarks(photo), detect_landmarks(photo[:, ::-1].copy())
    changed = changed_landmarks(landmarks, Augmentation("original"), Variation(mirrored=True))
    corners = np.array([[0.0, 0], [599, 0], [0, 799], [599, 799]])
    found, expected = (
        positions(position_map(points, template), corners) for points in (changed, seen)
    )
    assert np.abs(found - expected).max() < 0.08  # the detector's own noise
    # x keeps its sign: it is negative at the left border of the mirrored photo, too.
    assert found[0, 0] < -0.3 and found[1, 0] > 0.3


@pytest.mark.parametrize(
    "augmentation", [Augmentation("rotate-45", angle=-45), Augmentation("scale0.6", scale=0.6)]
)
@pytest.mark.parametrize("variation", [None, Variation(mirrored=True, shift=(0.1, -0.05))])
def test_landmarks_move_with_the_pixels(augmentation, variation):
    """A bright dot is where the landmark of its place says."""
    rng = np.random.default_rng(0)
    landmarks = rng.uniform([200, 300], [400, 500], (68, 2)).round()
    points = changed_landmarks(landmarks, augmentation, variation)
    for k in (0, 20, 36, 48):
        image = np.zeros(FRAME, np.uint8)
        column, row = landmarks[k].astype(int)
        image[row - 1 : row + 2, column - 1 : column + 2] = 255
        image = augmentation._warp(image)
        place = k
        if variation is not None:
            image, place = variation._moved(image), MIRRORED.tolist().index(k)
        rows, columns = np.nonzero(image)
        weights = image[rows, columns].astype(float)
        center = np.average(np.column_stack([columns, rows]), axis=0, weights=weights)
        assert np.abs(center - points[place]).max() < 0.3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, sample):
    """A folder that `prepare` made of one training and one test portrait, varied."""
    dataset = tmp_path_factory.mktemp("dataset")
    for side, portrait in (("train", sample.train[0]), ("test", sample.test[0])):
        (dataset / f"{side}.txt").write_text(portrait.stem)
        for kind, path in (("images", portrait.photo), ("mattes", portrait.matte)):
            (dataset / kind).mkdir(exist_ok=True)
            shutil.copy(path, dataset / kind)
    out = dataset / "prepared"
    options = ["--augment", "rotate+22,gamma0.5", "--vary", "--workers", "1"]
    assert prepare(["--dataset", str(dataset), "--out", str(out), *options]) == 0
    return out


def records(path):
    with lmdb.open(str(path), readonly=True, lock=False) as database:
        with database.begin() as transaction:
            return {
                key.decode(): caffe_pb2.Datum.FromString(value)
                for key, value in transaction.cursor()
            }


def test_the_databases_have_the_map_of_every_version(prepared, capsys):
    before = {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}
    assert main(["--prepared", str(prepared)]) == 0
    assert capsys.readouterr().out.split() == [
        str(prepared / f"{side}_position") for side in ("train", "test")
    ]
    for path, content in before.items():  # the other databases stay as they are
        assert path.read_bytes() == content
    template = ShapeMask.load(prepared / "shape_mask.npz").template
    compared = 0
    for side in ("train", "test"):
        images, maps = records(prepared / f"{side}_image"), records(prepared / f"{side}_position")
        assert maps.keys() == images.keys()
        for key, datum in maps.items():
            assert (datum.channels, datum.height, datum.width) == (6, 1, 1)
            encoded = np.frombuffer(images[key].data, np.uint8)
            landmarks = detect_landmarks(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
            if landmarks is None:  # the detector may lose a face that is turned or blurred
                continue
            corners = np.array([[0.0, 0], [599, 0], [0, 799], [599, 799]])
            expected = positions(position_map(landmarks, template), corners)
            found = positions(np.reshape(datum.float_data, (2, 3)), corners)
            assert np.abs(found - expected).max() < 0.15
            compared += 1
    assert compared > 0


def test_a_second_run_writes_nothing(prepared):
    write_positions(prepared)
    times = {path: path.stat().st_mtime_ns for path in prepared.glob("*_position/data.mdb")}
    assert len(times) == 2
    write_positions(prepared)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_caffe_reads_them_beside_the_images(prepared, tmp_path):
    write_positions(prepared)
    text = "".join(
        f'layer {{ name: "{name}" type: "Data" top: "{name}" include {{ phase: TEST }}'
        f' data_param {{ source: "{prepared}/test_{name}" batch_size: 1 backend: LMDB }} }}\n'
        for name in ("image", "position")
    )
    (tmp_path / "net.prototxt").write_text(
        text + 'layer { name: "channels" type: "Python" bottom: "position" bottom: "image" '
        'top: "channels" python_param { module: "caffe_layers.position_layer" '
        'layer: "PositionLayer" } }'
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward()
    (datum,) = records(prepared / "test_position").values()
    found = net.blobs["channels"].data
    assert found.shape == (1, 2, *FRAME)
    expected = positions(np.reshape(datum.float_data, (2, 3)), np.array([[30.0, 70.0]]))
    np.testing.assert_allclose(found[0, :, 70, 30], POSITION_SCALE * expected[0], rtol=1e-4)


def test_the_input_of_portraitfcn_is_that_of_its_training(prepared, sample, tmp_path):
    write_positions(prepared)
    text = NETS["lite_portraitfcn"].trimap_train_val.read_text()
    text = text.replace("data/prepared", str(prepared))
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward(end="data")
    (datum,) = records(prepared / "test_image").values()
    photo = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR)
    landmarks = detect_landmarks(read_photo(sample.test[0].photo))
    found = net_input(photo, landmarks, ShapeMask.load(prepared / "shape_mask.npz"), 4)
    np.testing.assert_allclose(found, net.blobs["data"].data[0], atol=2e-3)
    assert np.abs(found[3:5]).max() > 30


def test_the_input_of_portraitfcn_without_a_face_is_neutral(prepared):
    shape_mask = ShapeMask.load(prepared / "shape_mask.npz")
    photo = np.full((*FRAME, 3), 200, np.uint8)
    found = net_input(photo, None, shape_mask, 2)
    assert found.shape == (6, 400, 300) and np.all(found[3:] == 0)
    with pytest.raises(ValueError, match="800, 600"):
        net_input(photo[:400], None, shape_mask, 2)


def test_reduced_channels_are_means_of_the_full_ones(template):
    maps = position_map(turned(template)[1], template).reshape(1, 6)
    full = position_channels(maps, FRAME, 1)
    for reduction in (2, 4):
        height, width = FRAME[0] // reduction, FRAME[1] // reduction
        blocks = full.reshape(1, 2, height, reduction, width, reduction)
        np.testing.assert_allclose(
            position_channels(maps, (height, width), reduction),
            blocks.astype(np.float64).mean(axis=(3, 5)),
            atol=1e-3,
        )


def test_a_folder_that_is_not_finished_is_refused(tmp_path, prepared):
    with pytest.raises(InputError, match=r"no finished folder.*data_prep.prepare"):
        write_positions(tmp_path)
    shutil.copytree(prepared, tmp_path / "half")
    survey = tmp_path / "half/survey.txt"
    survey.write_text(survey.read_text().splitlines()[0] + "\n")
    for path in (tmp_path / "half").glob("*_position"):
        shutil.rmtree(path)
    with pytest.raises(InputError, match=r"survey.txt knows nothing of .*data_prep.prepare"):
        write_positions(tmp_path / "half")
    assert json.loads((tmp_path / "half/manifest.json").read_text())
