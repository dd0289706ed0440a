"""The test program: its numbers, its files, its pictures and its complaints."""

import csv
import dataclasses
import json
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.dataset import Dataset
from tools import convert_selfie, test_net
from tools.evaluation import contact_sheet
from tools.evaluation import portraits as portrait_errors
from tools.evaluation.estimates import Estimate
from tools.evaluation.metrics import MatteErrors, evaluate
from tools.matting.session import Matte
from tools.outputs import sheets

PROGRAM = Path(test_net.__file__)
ROOT = PROGRAM.parents[1]
SAMPLE = ROOT / "data" / "sample"


def oval(photo: np.ndarray) -> Matte:
    """A soft oval, whatever the photo shows: a real matte with real errors."""
    height, width = photo.shape[:2]
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x / width - 0.5) * 2.2, (y / height - 0.75) * 1.8)
    alpha = np.clip((1.1 - radius) * 4, 0, 1)
    probabilities = np.stack([alpha == 1, alpha == 0, (alpha > 0) & (alpha < 1)])
    return Matte(photo, alpha, probabilities.astype(float), faces=(), person_found=True)


def shrunken(folder: Path, size: tuple[int, int], train: list[str], test: list[str]) -> Path:
    """A dataset of sample portraits, resized to (width, height)."""
    for part in ("images", "mattes"):
        (folder / part).mkdir(parents=True)
        for stem in train + test:
            (source,) = (SAMPLE / part).glob(f"{stem}.*")
            image = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / part / f"{stem}.png"), small)
    (folder / "train.txt").write_text("\n".join(train) + "\n")
    (folder / "test.txt").write_text("\n".join(test) + "\n")
    return folder


@pytest.fixture
def small_dataset(tmp_path) -> Path:
    """Four tiny portraits, two of them in the test list."""
    stems = (SAMPLE / "train.txt").read_text().split()
    return shrunken(tmp_path / "small", (100, 133), stems[:2], stems[2:4])


@pytest.fixture(scope="module")
def half_size(tmp_path_factory) -> Path:
    """The sample's test portraits at half size, where faces are still found."""
    train, test = ((SAMPLE / f"{name}.txt").read_text().split() for name in ("train", "test"))
    return shrunken(tmp_path_factory.mktemp("half") / "half", (300, 400), train[:1], test)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """The segmenter's weights, converted from its original."""
    path = tmp_path_factory.mktemp("models") / "selfie.caffemodel"
    convert_selfie.main(["-o", str(path)])
    return path


def program(*arguments: object) -> list[str]:
    return [sys.executable, "-u", str(PROGRAM), *map(str, arguments)]


def results_of(folder: Path) -> list[portrait_errors.PortraitResult]:
    portraits = Dataset.open(folder).test
    return list(portrait_errors.evaluate_portraits(oval, portraits))


def test_errors_are_those_of_the_files(small_dataset):
    for result in results_of(small_dataset):
        matte = cv2.imread(str(small_dataset / "mattes" / f"{result.stem}.png"), 0)
        truth = matte / 255.0
        alpha = oval(matte[..., None]).alpha
        assert result.errors.sad == pytest.approx(np.abs(alpha - truth).sum() / 1000)
        assert result.errors.mse == pytest.approx(np.mean((alpha - truth) ** 2))
        assert result.reference.sad == pytest.approx(np.abs(0.5 - truth).sum() / 1000)
        assert result.errors == evaluate(alpha, truth)


def test_unknown_region_counts_less(small_dataset):
    portrait = Dataset.open(small_dataset).test[0]
    (everywhere,) = portrait_errors.evaluate_portraits(oval, [portrait])
    (unknown,) = portrait_errors.evaluate_portraits(oval, [portrait], unknown_only=True)
    assert 0 < unknown.errors.sad < everywhere.errors.sad


def test_written_files_agree_with_each_other(small_dataset, tmp_path):
    results = results_of(small_dataset)
    out = tmp_path / "out"
    test_net.write_results(out, results, {"model": "oval"}, "ovals")
    report = json.loads((out / "errors.json").read_text())
    assert report["model"] == "oval" and report["images"] == 2
    with open(out / "errors.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [each.stem for each in results]
    for name in MatteErrors.names():
        column = [float(row[name]) for row in rows]
        assert column == [report["errors"][row["image"]][name] for row in rows]
        assert report["mean"][name] == pytest.approx(statistics.mean(column))
        expected = statistics.stdev(column) / len(column) ** 0.5
        assert report["standard_error"][name] == pytest.approx(expected)
    assert {path.name for path in out.iterdir()} == {
        "errors.csv",
        "errors.json",
        "contact_sheet.png",
    }


def test_one_image_has_no_standard_error(small_dataset, tmp_path):
    results = results_of(small_dataset)[:1]
    found = test_net.net_estimates(results)
    assert found["sad"] == Estimate(results[0].errors.sad, None, None)
    test_net.write_results(tmp_path / "out", results, {}, "one")
    report = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert report["standard_error"]["sad"] is None


def test_printed_units_are_those_of_table_1():
    values = dict.fromkeys(MatteErrors.names(), 0.0)
    values |= {"dapm_gradient": 3.03e-3, "dapm_connectivity": 6.90e-4, "sad": 12.3}
    assert test_net.table_line("ours", values).split() == [
        "ours",
        "3.03",
        "6.90",
        "0.00",
        "0.00",
        "12.30",
        "0.00",
    ]


def test_list_may_name_any_portrait_of_the_dataset(small_dataset, tmp_path):
    dataset = Dataset.open(small_dataset)
    assert portrait_errors.listed_portraits(dataset, None) == dataset.test
    assert portrait_errors.listed_portraits(dataset, Path("train.txt")) == dataset.train
    mine = tmp_path / "mine.txt"
    mine.write_text(f"{dataset.train[1].stem}\n\n{dataset.test[0].stem}\n")
    assert portrait_errors.listed_portraits(dataset, mine) == [dataset.train[1], dataset.test[0]]
    held_out = dataset.train[1].stem
    (small_dataset / "train.txt").write_text(f"{dataset.train[0].stem}\n")
    (small_dataset / "validation.txt").write_text(f"{held_out}\n")
    dataset = Dataset.open(small_dataset)
    assert portrait_errors.listed_portraits(dataset, Path("validation.txt")) == dataset.validation


def test_bad_lists_and_mattes_are_one_sentence(small_dataset, tmp_path):
    dataset = Dataset.open(small_dataset)
    with pytest.raises(InputError, match="absent.txt does not exist"):
        portrait_errors.listed_portraits(dataset, Path("absent.txt"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="empty.txt: the list is empty"):
        portrait_errors.listed_portraits(dataset, tmp_path / "empty.txt")
    (tmp_path / "other.txt").write_text(f"{dataset.test[0].stem}\nnobody\n")
    with pytest.raises(InputError, match="other.txt: line 2, 'nobody', is not the name of"):
        portrait_errors.listed_portraits(dataset, tmp_path / "other.txt")
    (tmp_path / "twice.txt").write_text(f"{dataset.test[0].stem}\n{dataset.test[0].photo.name}\n")
    with pytest.raises(InputError, match="twice.txt: line 2 names .* already in twice.txt, line 1"):
        portrait_errors.listed_portraits(dataset, tmp_path / "twice.txt")
    portrait = dataset.test[0]
    cv2.imwrite(str(portrait.matte), np.eye(133, 100, dtype=np.uint8) * 255)
    with pytest.raises(InputError, match="no fractional pixel"):
        list(portrait_errors.evaluate_portraits(oval, [portrait], unknown_only=True))
    cv2.imwrite(str(portrait.matte), np.zeros((133, 99), np.uint8))
    with pytest.raises(InputError, match="is 99x133 pixels, its photo 100x133"):
        list(portrait_errors.evaluate_portraits(oval, [portrait]))
    cv2.imwrite(str(portrait.matte), np.eye(133, 100, dtype=np.uint8))
    with pytest.raises(InputError, match="largest value is 1 of 255"):
        list(portrait_errors.evaluate_portraits(oval, [portrait]))


def test_a_truth_that_the_face_shows_to_be_inverted_is_refused(small_dataset):
    portrait = Dataset.open(small_dataset).test[0]
    face = LandmarkDetector().detect(read_photo(SAMPLE / "images" / f"{portrait.stem}.jpg")) / 6
    wide = np.zeros((133, 100), np.uint8)  # not to be told by the middle and the rim alone
    wide[40:, :12] = wide[90:] = 255
    cv2.circle(wide, np.rint(face.mean(axis=0)).astype(int).tolist(), 30, 255, -1)
    cv2.imwrite(str(portrait.matte), 255 - wide)

    def with_face(photo: np.ndarray) -> Matte:
        return dataclasses.replace(oval(photo), faces=(face,))

    with pytest.raises(InputError, match="seems to be inverted: the face is background"):
        list(portrait_errors.evaluate_portraits(with_face, [portrait]))


def test_program_on_the_real_segmenter(weights, half_size, tmp_path):
    stems = (half_size / "test.txt").read_text().split()[:2]
    chosen = tmp_path / "two.txt"
    chosen.write_text("\n".join(stems))
    out = tmp_path / "out"
    options = ("--model", "selfie", "--weights", weights, "--dataset", half_size, "--list", chosen)
    command = program(*options, "--out", out)
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    printed = [line.split()[0] for line in run.stdout.splitlines()]
    assert [word for word in printed if word in stems] == stems
    report = json.loads((out / "errors.json").read_text())
    assert report["weights_sha256"] == sha256_of(weights)
    assert report["mean"]["sad"] < 0.25 * report["reference"]["mean"]["sad"]
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet.shape[0] > 2 * contact_sheet.TILE_HEIGHT


def test_interrupt_keeps_what_was_computed(weights, half_size, tmp_path):
    out = tmp_path / "out"
    command = program(
        "--model", "selfie", "--weights", weights, "--dataset", half_size, "--out", out
    )
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # A suite started in the background may have handed SIG_IGN down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    stems = (half_size / "test.txt").read_text().split()
    first = stems[0]
    while not (line := run.stdout.readline()).startswith(first):
        assert line, run.stderr.read()
    run.send_signal(signal.SIGINT)
    rest, errors = run.communicate()
    assert run.returncode == 130 and "Traceback" not in errors
    with open(out / "errors.csv", newline="") as stream:
        images = [row["image"] for row in csv.DictReader(stream)]
    assert images[0] == first and 1 <= len(images) < len(stems)
    assert f"{len(images)} of {len(stems)} images tested" in rest


def test_failure_in_the_middle_keeps_what_was_computed(weights, small_dataset, tmp_path):
    first, second = Dataset.open(small_dataset).test
    matte = cv2.imread(str(second.matte), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(second.matte), np.where(matte > 127, 255, 0).astype(np.uint8))
    out = tmp_path / "out"
    options = ("--model", "selfie", "--weights", weights, "--dataset", small_dataset)
    command = program(*options, "--region", "unknown", "--out", out)
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert f"{second.matte.name} has no fractional pixel" in run.stderr.splitlines()[-1]
    report = json.loads((out / "errors.json").read_text())
    assert list(report["errors"]) == [first.stem] and report["listed_images"] == 2
    assert report["list"] == str(small_dataset / "test.txt")


def test_all_bad_files_are_named_before_anything_is_computed(weights, small_dataset, tmp_path):
    first, second = Dataset.open(small_dataset).test
    second.photo.write_bytes(second.photo.read_bytes()[:200])
    cv2.imwrite(str(first.matte), np.zeros((133, 100), np.uint8))
    out = tmp_path / "out"
    options = ("--model", "selfie", "--weights", weights, "--dataset", small_dataset)
    command = program(*options, "--out", out)
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert f"{first.matte}: it has no foreground: its largest value is 0" in run.stderr
    assert f"{second.photo}: it is not a readable image" in run.stderr
    assert not out.exists()


def test_drawn_split_is_recorded_as_such(weights, small_dataset, tmp_path):
    for name in ("train", "test"):
        (small_dataset / f"{name}.txt").unlink()
    out = tmp_path / "out"
    arguments = [
        "--model",
        "selfie",
        "--weights",
        weights,
        "--dataset",
        small_dataset,
        "--out",
        out,
    ]
    assert test_net.main(list(map(str, arguments))) == 0
    report = json.loads((out / "errors.json").read_text())
    assert report["list"] == f"drawn from {small_dataset} with seed 0"


def test_training_net_is_refused_with_the_name_of_the_right_one(small_dataset):
    for name in ("train_val", "trimap_train_val"):
        with pytest.raises(InputError, match="for training.* give its .*portrait/trimap_deploy"):
            test_net.main(
                [
                    "--dataset",
                    str(small_dataset),
                    "--deploy",
                    str(ROOT / f"prototxt/portrait/{name}.prototxt"),
                ]
            )


def test_missing_dataset_and_weights(tmp_path):
    for arguments in (["--dataset", tmp_path / "none"], ["--weights", tmp_path / "none"]):
        run = subprocess.run(program(*arguments), capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 1 and "Traceback" not in run.stderr
        assert f"{tmp_path / 'none'}" in run.stderr.splitlines()[-1]


def test_trimap_shows_the_most_probable_channel():
    probabilities = np.array([[[0.5, 0.1, 0.2]], [[0.3, 0.8, 0.2]], [[0.2, 0.1, 0.6]]])
    assert sheets.render_trimap(probabilities).tolist() == [[255, 0, 128]]


def test_sheet_shows_the_pictures_side_by_side(tmp_path):
    """Flat tiles: the sheet holds their colors in their columns, left to right."""
    photo = np.zeros((300, 200, 3), np.uint8)
    photo[:] = (10, 20, 200)  # BGR: mostly red
    probabilities = np.zeros((3, 300, 200))
    probabilities[2] = 1
    matte, truth = np.full((300, 200), 0.8), np.full((300, 200), 0.2)
    row = contact_sheet.sheet_row("flat", 1.0, photo, probabilities, matte, truth)
    contact_sheet.write_contact_sheet(tmp_path / "sheet.png", [row, row], "title")
    sheet = cv2.imread(str(tmp_path / "sheet.png")).astype(int)
    height, width = sheet.shape[:2]
    assert height > 600 and 1000 < width < 1100
    middles = [sheet[height // 4, (2 * k + 1) * width // 10] for k in range(5)]
    expected = [(10, 20, 200), (128,) * 3, (204,) * 3, (51,) * 3]
    np.testing.assert_allclose(middles[:4], expected, atol=3)
    # An error of 0.6 is above the scale: inferno's brightest color, a pale yellow.
    assert middles[4][1] > 240 and middles[4][2] > 240 and middles[4][0] < 180


def test_error_of_fine_hair_is_not_averaged_away():
    """Stripes one pixel wide, shifted by one: the shrunk mattes are equal."""
    truth = np.tile([0.0, 1.0], (1200, 400))
    row = contact_sheet.sheet_row(
        "stripes",
        0.0,
        np.zeros((1200, 800, 3), np.uint8),
        np.zeros((3, 1200, 800)),
        1 - truth,
        truth,
    )
    np.testing.assert_allclose(row.matte, row.truth, atol=1e-6)
    np.testing.assert_allclose(row.error, 1.0, atol=1e-6)


def test_long_lists_show_best_to_worst():
    tile = np.zeros((4, 4))
    rows = [
        contact_sheet.SheetRow(str(k), float(k), tile, tile, tile, tile, tile)
        for k in np.random.default_rng(0).permutation(101)
    ]
    chosen = contact_sheet.representative(rows, 5)
    assert [row.badness for row in chosen] == [0, 25, 50, 75, 100]
    assert len(contact_sheet.representative(rows[:3], 5)) == 3
