from __future__ import annotations

import json
import shutil
from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest

from caffe_layers.weighted_loss import load_alpha_distribution
from data_prep.augmentation import AUGMENTATIONS, Record
from data_prep.errors import InputError
from data_prep.images import encode_image, read_matte, read_photo, write_image
from data_prep.prepare import main, prepare
from data_prep.shape_mask import ShapeMask, build_shape_mask

MEAN = np.array([104.00699, 116.66877, 122.67892])
FACELESS = "blank"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, sample):
    """Two training portraits, a training photo without a face, one test portrait."""
    folder = tmp_path_factory.mktemp("dataset")
    for part in ("images", "mattes"):
        (folder / part).mkdir()
    for portrait in (*sample.train[:2], sample.test[0]):
        shutil.copy(portrait.photo, folder / "images")
        shutil.copy(portrait.matte, folder / "mattes")
    write_image(folder / "images" / f"{FACELESS}.png", np.full((800, 600, 3), 77, np.uint8))
    write_image(folder / "mattes" / f"{FACELESS}.png", np.zeros((800, 600), np.uint8))
    train = [p.stem for p in sample.train[:2]] + [FACELESS]
    (folder / "train.txt").write_text("\n".join(train))
    (folder / "test.txt").write_text(sample.test[0].stem)
    return folder


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    assert prepare(dataset, out, seed=0)
    return out


def records(out, split):
    lines = (out / f"{split}_records.txt").read_text().splitlines()
    return [line.split(" ") for line in lines]


def test_every_version_of_every_portrait_once(prepared, dataset):
    train = records(prepared, "train")
    stems = (dataset / "train.txt").read_text().split()
    pairs = [(stem, name) for _, stem, name in train]
    assert sorted(pairs) == sorted((s, a.name) for s in stems for a in AUGMENTATIONS)
    assert [stem for stem, _ in pairs] != sorted(stem for stem, _ in pairs)  # shuffled
    assert [key for key, _, _ in train] == [f"{i:08d}" for i in range(len(train))]
    test = records(prepared, "test")
    assert [(s, n) for _, s, n in test] == [
        ((dataset / "test.txt").read_text().strip(), "original")
    ]


def data_net(out, split, folder):
    layers = "".join(
        f'layer {{ name: "{part}" type: "Data" top: "{part}" '
        f'data_param {{ source: "{out}/{split}_{part}" backend: LMDB batch_size: 1 }} '
        f"transform_param {{ {transform} }} }}\n"
        for part, transform in [
            ("image", " ".join(f"mean_value: {value}" for value in MEAN)),
            ("mask", "mean_value: 128"),
            ("matte", "scale: 0.00392156862745098"),
        ]
    )
    path = folder / f"{split}.prototxt"
    path.write_text(layers)
    return caffe.Net(str(path), caffe.TEST)


@pytest.mark.parametrize("split", ["train", "test"])
def test_caffe_delivers_the_sources_put_through_the_same_changes(
    prepared, dataset, sample_landmarks, tmp_path, split
):
    net = data_net(prepared, split, tmp_path)
    shape_mask = ShapeMask.load(prepared / "shape_mask.npz")
    versions = {augmentation.name: augmentation for augmentation in AUGMENTATIONS}
    for _, stem, name in records(prepared, split):
        blobs = net.forward()
        photo = read_photo(next((dataset / "images").glob(f"{stem}.*")))
        matte = read_matte(dataset / "mattes" / f"{stem}.png")
        if stem == FACELESS:
            mask = np.full(matte.shape, 128, np.uint8)
        else:
            warped = shape_mask.warp_to(sample_landmarks[stem], matte.shape)
            mask = np.rint(255 * warped).astype(np.uint8)
        expected = versions[name].apply(Record(photo, mask, matte))
        file = np.frombuffer(encode_image(expected.photo, ".jpg"), np.uint8)
        decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
        # To float32 before the mean leaves, as in Caffe.
        image = (decoded.astype(np.float32) - MEAN.astype(np.float32)).transpose(2, 0, 1)
        np.testing.assert_allclose(blobs["image"][0], image, atol=1e-4)
        np.testing.assert_array_equal(blobs["mask"][0, 0], expected.mask - 128.0)
        np.testing.assert_allclose(blobs["matte"][0, 0], expected.matte / 255, atol=1e-7)


def test_jpeg_records_stay_close_to_the_photo(prepared, dataset, tmp_path):
    net = data_net(prepared, "test", tmp_path)
    (_, stem, _), = records(prepared, "test")
    delivered = net.forward()["image"][0].transpose(1, 2, 0) + MEAN
    photo = read_photo(dataset / "images" / f"{stem}.jpg")
    assert np.abs(delivered - photo).mean() < 1.5


def test_only_training_portraits_enter_mask_and_distribution(
    prepared, dataset, sample, sample_mattes, sample_landmarks
):
    stems = [p.stem for p in sample.train[:2]]
    mattes = [sample_mattes[stem] for stem in stems]
    counts = np.bincount(np.concatenate([*mattes, np.zeros_like(mattes[0])]).ravel()) + 1
    p = load_alpha_distribution(prepared / "p_alpha.txt")
    np.testing.assert_allclose(p, counts / counts.sum(), rtol=1e-12)
    expected = build_shape_mask(mattes, [sample_landmarks[stem] for stem in stems])
    found = ShapeMask.load(prepared / "shape_mask.npz")
    np.testing.assert_array_equal(found.mean, expected.mean)


def test_faceless_portrait_is_reported(prepared):
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert manifest["without_face"] == [FACELESS]


def snapshot(out):
    return {p: p.stat().st_mtime_ns for p in out.rglob("*.*") if p.name != "lock.mdb"}


def test_rerun_does_nothing_and_a_change_does_everything(
    prepared, dataset, tmp_path, capsys, monkeypatch
):
    before = snapshot(prepared)
    assert main(["--dataset", str(dataset), "--out", str(prepared)]) == 0
    assert "up to date" in capsys.readouterr().out
    assert snapshot(prepared) == before

    copy, changed = tmp_path / "out", tmp_path / "dataset"
    shutil.copytree(prepared, copy)
    shutil.copytree(dataset, changed)
    assert not prepare(changed, copy, seed=0)
    (copy / "shape_mask.png").unlink()
    assert prepare(changed, copy, seed=0)  # a product is missing
    matte = read_matte(changed / "mattes" / f"{FACELESS}.png")
    matte[0, 0] = 9
    write_image(changed / "mattes" / f"{FACELESS}.png", matte)
    assert prepare(changed, copy, seed=0)  # a source changed
    assert not list(copy.glob(".*"))


def test_photo_of_another_size_is_named(dataset, tmp_path):
    folder = tmp_path / "dataset"
    shutil.copytree(dataset, folder)
    write_image(folder / "images" / f"{FACELESS}.png", np.zeros((512, 512, 3), np.uint8))
    write_image(folder / "mattes" / f"{FACELESS}.png", np.zeros((512, 512), np.uint8))
    with pytest.raises(InputError, match=r"blank\.png: the photo is 512x512.*600x800"):
        prepare(folder, tmp_path / "out", seed=0)
    assert not Path(tmp_path / "out").exists()


def test_negative_seed():
    with pytest.raises(InputError, match="--seed -1"):
        main(["--seed", "-1"])


def test_out_that_is_a_file(dataset):
    with pytest.raises(InputError, match="train.txt is a file"):
        prepare(dataset, dataset / "train.txt", seed=0)
