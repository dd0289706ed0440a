from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from checkout import ROOT
from google.protobuf import text_format

from caffe_layers.weighted_loss import load_alpha_distribution
from data_prep.caffe_data.alignment import align_to_template, center_of_gravity, fit_alignment
from data_prep.caffe_data.alpha_distribution import alpha_distribution, count_alphas
from data_prep.caffe_data.augmentation import AUGMENTATIONS
from data_prep.caffe_data.caffe_lmdb import RECORDS_PER_COMMIT
from data_prep.caffe_data.databases import SPLITS, check_space, database_paths
from data_prep.caffe_data.products import locked, prepare
from data_prep.caffe_data.shape_mask import ShapeMask, align_matte, average_mattes, sum_mattes
from data_prep.common.errors import InputError, run_program
from data_prep.common.images import read_matte, read_photo, write_image
from data_prep.datasets.dataset import FRAME
from data_prep.prepare import main

MEAN = np.array([104.00699, 116.66877, 122.67892])
FACELESS = "blank"
FACELESS_MATTE = np.zeros(FRAME, np.uint8)
FACELESS_MATTE[400:, 150:450] = 255


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
    write_image(folder / "mattes" / f"{FACELESS}.png", FACELESS_MATTE)
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
    """The Data layers of the net that is trained, reading from `out`, one by one."""
    net = caffe_pb2.NetParameter()
    text_format.Parse((ROOT / "prototxt/fcn8s/train_val.prototxt").read_text(), net)
    phase = caffe.TRAIN if split == "train" else caffe.TEST
    layers = [
        layer for layer in net.layer if layer.type == "Data" and layer.include[0].phase == phase
    ]
    del net.layer[:]
    for layer in layers:
        layer.data_param.batch_size = 1
        source = layer.data_param.source
        assert source.startswith(f"data/prepared/{split}_")
        layer.data_param.source = source.replace("data/prepared", str(out))
        net.layer.append(layer)
    path = folder / f"{split}.prototxt"
    path.write_text(text_format.MessageToString(net))
    return caffe.Net(str(path), phase)


def changed_by_hand(image, name):
    """Rotation or scale `name` of an image: the matrix written out, no `Augmentation`."""
    kind, value = re.fullmatch(r"([a-z]+)([-+.0-9]*)", name).groups()
    if kind in ("original", "gamma"):
        return image
    angle = np.radians(float(value)) if kind == "rotate" else 0.0
    scale = float(value) if kind == "scale" else 1.0
    if scale < 1:
        sigma = 0.5 * np.sqrt(1 / scale**2 - 1)
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    height, width = image.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[a, b, x - a * x - b * y], [-b, a, y + b * x - a * y]])
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def brightened_by_hand(photo, name):
    if not name.startswith("gamma"):
        return photo
    return np.rint(255 * (photo / 255) ** float(name.removeprefix("gamma"))).astype(np.uint8)


@pytest.mark.parametrize("split", ["train", "test"])
def test_caffe_delivers_the_sources_put_through_the_same_changes(
    prepared, dataset, sample_landmarks, tmp_path, split
):
    net = data_net(prepared, split, tmp_path)
    shape_mask = ShapeMask.load(prepared / "shape_mask.npz")
    names = set()
    for _, stem, name in records(prepared, split):
        names.add(name)
        blobs = net.forward()
        photo = read_photo(next((dataset / "images").glob(f"{stem}.*")))
        matte = read_matte(dataset / "mattes" / f"{stem}.png")
        if stem == FACELESS:
            mask = np.full(matte.shape, 128, np.uint8)
        else:
            warped = shape_mask.warp_to(sample_landmarks[stem], matte.shape)
            mask = np.rint(255 * warped).astype(np.uint8)
        photo, mask, matte = (changed_by_hand(image, name) for image in (photo, mask, matte))
        options = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
        file = cv2.imencode(".jpg", brightened_by_hand(photo, name), options)[1]
        decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
        # To float32 before the mean leaves, as in Caffe.
        image = (decoded.astype(np.float32) - MEAN.astype(np.float32)).transpose(2, 0, 1)
        np.testing.assert_allclose(blobs["image"][0], image, atol=1e-4)
        np.testing.assert_array_equal(blobs["mask"][0, 0], mask - 128.0)
        np.testing.assert_allclose(blobs["matte"][0, 0], matte / 255, atol=1e-7)
    assert len(names) == (len(AUGMENTATIONS) if split == "train" else 1)


def test_jpeg_records_stay_close_to_the_photo(prepared, dataset, tmp_path):
    net = data_net(prepared, "test", tmp_path)
    ((_, stem, _),) = records(prepared, "test")
    delivered = net.forward()["image"][0].transpose(1, 2, 0) + MEAN
    photo = read_photo(dataset / "images" / f"{stem}.jpg")
    assert np.abs(delivered - photo).mean() < 1.5


def test_only_training_portraits_enter_mask_and_distribution(
    prepared, dataset, sample, sample_mattes, sample_landmarks
):
    stems = [p.stem for p in sample.train[:2]]
    mattes = [sample_mattes[stem] for stem in stems]
    expected = alpha_distribution(map(count_alphas, [*mattes, FACELESS_MATTE]))
    p = load_alpha_distribution(prepared / "p_alpha.txt")
    np.testing.assert_allclose(p, expected, rtol=1e-12)
    landmarks = [sample_landmarks[stem] for stem in stems]
    template, neck = fit_alignment(landmarks, list(map(center_of_gravity, mattes)), FRAME)
    mean = average_mattes(
        [
            sum_mattes(
                align_matte(matte, align_to_template(points, template, neck, FRAME), FRAME)
                for matte, points in zip(mattes, landmarks, strict=True)
            )
        ]
    )
    found = ShapeMask.load(prepared / "shape_mask.npz")
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.template, template)
    assert found.neck.tilt == neck.tilt


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
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"blank\.png: the photo is 512x512.*600x800"):
        prepare(folder, out, seed=0)
    assert [path.name for path in out.iterdir()] == ["survey.txt"]  # of the good ones


def smaller_dataset(dataset, folder):
    """One portrait to train on, and one to test on, without the others."""
    shutil.copytree(dataset, folder)
    first = (folder / "train.txt").read_text().split()[0]
    (folder / "train.txt").write_text(first)
    return folder, first, (folder / "test.txt").read_text()


def test_the_same_photo_stored_in_two_ways_is_refused(dataset, tmp_path):
    folder, first, test = smaller_dataset(dataset, tmp_path / "dataset")
    write_image(folder / "images" / "copy.png", read_photo(folder / "images" / f"{first}.jpg"))
    shutil.copy(folder / "mattes" / f"{first}.png", folder / "mattes" / "copy.png")
    (folder / "test.txt").write_text(f"{test}\ncopy\n")
    same = rf"images/copy\.png: it is the same photo as {first}\.jpg"
    with pytest.raises(InputError, match=same):
        prepare(folder, tmp_path / "out", seed=0)


def test_matte_that_the_face_shows_to_be_inverted_is_refused(dataset, tmp_path):
    folder, first, _ = smaller_dataset(dataset, tmp_path / "dataset")
    path = folder / "mattes" / f"{first}.png"
    write_image(path, 255 - read_matte(path))
    with pytest.raises(InputError, match=rf"mattes/{first}\.png: it seems to be inverted: the"):
        prepare(folder, tmp_path / "out", seed=0)


def test_hard_masks_and_what_is_passed_over_are_told(dataset, tmp_path, capsys):
    folder, first, test = smaller_dataset(dataset, tmp_path / "a dataset")
    for path in (folder / "mattes").iterdir():
        write_image(path, np.where(read_matte(path) > 127, 255, 0).astype(np.uint8))
    for name in ("train", "test"):
        (folder / f"{name}.txt").unlink()
    for path in [*(folder / "images").iterdir(), *(folder / "mattes").iterdir()]:
        if path.stem not in (first, test):
            path.rename(path.with_suffix(".bak"))
    out = tmp_path / "its databases"
    arguments = ["--dataset", str(folder), "--out", str(out), "--augment", "none"]
    assert run_program(lambda: main([*arguments, "--workers", "1"]), notes=True) == 0
    printed = capsys.readouterr().out
    assert "All training mattes are hard masks" in printed and "degenerate" in printed
    assert f"images/{FACELESS}.bak ('.bak' is no image format that is read here)" in printed


def test_out_that_is_a_file(dataset):
    with pytest.raises(InputError, match="train.txt is a file"):
        prepare(dataset, dataset / "train.txt", seed=0)


def stored(database):
    with lmdb.open(str(database), readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            return list(transaction.cursor())


def everything(out):
    """All products: records in the order of their keys, and the bytes of the files."""
    found = {path.parent.name: stored(path.parent) for path in out.rglob("data.mdb")}
    found |= {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    del found["survey.txt"]  # a cache: its order tells who was surveyed when
    assert set(found) == {
        *(f"{split}_{part}" for split in ("train", "test") for part in ("image", "mask", "matte")),
        *("train_records.txt", "test_records.txt", "p_alpha.txt", "p_alpha.png"),
        *("shape_mask.npz", "shape_mask.png", "manifest.json"),
    }
    return found


def test_workers_change_nothing(prepared, dataset, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert prepare(dataset, tmp_path, seed=0, workers=2)
    assert (
        f"No face in 1 of 4 portraits, their shape mask is neutral: {FACELESS}" in caplog.messages
    )
    assert everything(tmp_path) == everything(prepared)


def test_dask_changes_nothing(prepared, dataset, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        prepare(dataset, tmp_path, seed=0, scheduler=cluster.scheduler_address)
    assert everything(tmp_path) == everything(prepared)


def test_databases_say_what_they_were_built_from(prepared):
    sources = json.loads((prepared / "manifest.json").read_text())["sources"]
    for database in [path for split in SPLITS for path in database_paths(prepared, split)]:
        manifest = json.loads((database / "manifest.json").read_text())
        assert manifest["built_from"]["sources"] == sources
        assert manifest["records"] == len(stored(database))


def test_versions_are_a_choice(dataset, tmp_path, capsys):
    arguments = ["--dataset", str(dataset), "--out", str(tmp_path), "--workers", "1"]
    assert main([*arguments, "--augment", "gamma1.5,rotate-22"]) == 0
    assert "x 3 versions" in capsys.readouterr().out
    names = [name for _, _, name in records(tmp_path, "train")]
    assert sorted(names) == sorted(["original", "rotate-22", "gamma1.5"] * 3)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    chosen = [each["name"] for each in manifest["sources"]["augmentations"]]
    assert chosen == ["original", "rotate-22", "gamma1.5"]
    assert manifest["records"] == {"train": 9, "test": 1}

    assert main([*arguments, "--augment", "none"]) == 0  # another choice: made anew
    assert {name for _, _, name in records(tmp_path, "train")} == {"original"}
    assert len(stored(tmp_path / "train_matte")) == 3


def test_unknown_version(dataset, tmp_path):
    with pytest.raises(InputError, match="--augment rotate90 is unknown.*rotate-45"):
        main(["--dataset", str(dataset), "--out", str(tmp_path), "--augment", "rotate90"])


def test_disk_that_is_too_small(tmp_path):
    check_space(tmp_path, 1)
    with pytest.raises(InputError, match=r"takes 1000000000\.00 GB more and has .* free"):
        check_space(tmp_path, 10**18)


def test_estimate_is_logged_and_about_right(dataset, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        prepare(dataset, tmp_path, seed=0)
    estimate = float(re.search(r"39 train \+ 1 test records, about ([\d.]+) GB", caplog.text)[1])
    size = sum(path.stat().st_size for path in tmp_path.rglob("data.mdb")) / 1e9
    assert estimate == pytest.approx(size, abs=0.005 + 0.2 * size)


def test_two_runs_in_one_folder(dataset, tmp_path):
    with locked(tmp_path):
        with pytest.raises(InputError, match="Another run is at work"):
            prepare(dataset, tmp_path, seed=0)
    with locked(tmp_path):
        pass


KILLS = 10
KILL_PROGRAM = f"""
import os, pathlib, random, shutil, signal, sys, time
import cv2, numpy as np
from data_prep.caffe_data.products import prepare
# Loaded before the forks: faster.
import caffe.proto.caffe_pb2, matplotlib.backends.backend_agg, matplotlib.figure
from data_prep.common.landmarks import detect_landmarks
cv2.setNumThreads(1)
detect_landmarks(np.zeros((90, 90, 3), np.uint8))
dataset, reference, out = map(pathlib.Path, sys.argv[1:])
chance = random.Random(0)

def start(folder):
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        prepare(dataset, folder, seed=0)
        os._exit(0)
    return process

begun = time.monotonic()
assert os.waitpid(start(reference), 0)[1] == 0
undisturbed = time.monotonic() - begun

def records_of(folder):
    path = folder / ".train_matte.building" / "data.mdb"
    return path.stat().st_size if path.exists() else 0

kills = 0
while kills < {KILLS}:
    process = start(out)
    if kills == 3:  # one kill is sure to come between two commits
        while records_of(out) < 200_000 and os.waitpid(process, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
    else:
        time.sleep(chance.uniform(0, undisturbed))
    try:
        os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
    except (ProcessLookupError, ChildProcessError):
        status = 0
    if status == signal.SIGKILL:
        kills += 1
        print("killed", records_of(out), flush=True)
    else:  # it was faster: begin anew
        assert status == 0
        shutil.rmtree(out)
"""


def test_killed_at_ten_moments_and_run_again_it_ends_with_the_same(dataset, tmp_path):
    out, reference = tmp_path / "out", tmp_path / "undisturbed"
    # One thread: a process that forks must not have others.
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    ended = subprocess.run(
        [sys.executable, "-c", KILL_PROGRAM, str(dataset), str(reference), str(out)],
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(variables, "1")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("killed") == KILLS
    prepare(dataset, out, seed=0)
    assert everything(out) == everything(reference)
    assert not list(out.rglob(".*"))


@pytest.fixture
def commented(tmp_path) -> Path:
    """A copy of the code with one more comment in every module."""
    code = tmp_path / "code"
    for folder in ("caffe_layers", "data_prep", "prototxt", "tools"):
        shutil.copytree(ROOT / folder, code / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for module in code.rglob("*.py"):
        module.write_text(f"{module.read_text()}\n# An edited comment.\n")
    return code


def test_records_of_a_killed_run_are_not_made_again(dataset, tmp_path, commented):
    """Not even by code whose comments have been edited since."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from data_prep.caffe_data.caffe_lmdb import RECORDS_PER_COMMIT, AlignedWriter\n"
        "from data_prep.caffe_data import databases, products\n"
        "class Killed(AlignedWriter):\n"
        "    def put(self, encoded):\n"
        "        super().put(encoded)\n"
        "        if self.rank > RECORDS_PER_COMMIT:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "databases.AlignedWriter = Killed\n"
        "products.prepare(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), seed=0)\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", program, str(dataset), str(out)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert killed.returncode == -9
    committed = dict(stored(out / ".train_matte.building"))
    assert len(committed) == RECORDS_PER_COMMIT
    # Marked, so that it shows who wrote them.
    with lmdb.open(str(out / ".train_matte.building"), map_size=1 << 30) as environment:
        with environment.begin(write=True) as transaction:
            for key in committed:
                transaction.put(key, b"marked")
    again = [sys.executable, "-m", "data_prep.prepare", "--workers", "1"]
    again += ["--dataset", str(dataset), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(commented)}
    for _ in range(2):
        run = subprocess.run(
            again, cwd=commented, env=environment, capture_output=True, text=True, check=True
        )
        whole = RECORDS_PER_COMMIT - RECORDS_PER_COMMIT % len(AUGMENTATIONS)  # portraits
        assert sum(value == b"marked" for _, value in stored(out / "train_matte")) == whole
    assert f"{out} is up to date with {dataset}." in run.stdout
