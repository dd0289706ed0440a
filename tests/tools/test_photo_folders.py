"""Any folder of photos with truths: what is recognized, and that its figures are those of files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.common.errors import InputError
from tools import test_net
from tools.evaluation.masks import MaskErrors
from tools.evaluation.metrics import evaluate
from tools.evaluation.photo_folders import PhotoFolder
from tools.evaluation.truths import MASKS, MATTES, measured_as
from tools.matting.photo_view import resized

ROWS, COLUMNS = 60, 80


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def photo() -> np.ndarray:
    """Noise, always the same."""
    return np.random.default_rng(2).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)


def soft(shift: int = 0) -> np.ndarray:
    """A soft disk."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    radius = np.hypot(y - 30, x - 35 - shift)
    return np.uint8(255 * np.clip((22 - radius) / 8, 0, 1))


def hard(shift: int = 0) -> np.ndarray:
    return np.where(soft(shift) > 127, 255, 0).astype(np.uint8)


def names(folder: Path) -> list[tuple[str, str, str]]:
    """Photo, truth and ignore picture of every pair, relative to the folder."""
    return [
        (
            str(each.pair.photo.relative_to(folder)),
            str(each.pair.matte.relative_to(folder)),
            str(each.ignore.relative_to(folder)) if each.ignore else "",
        )
        for each in PhotoFolder.of(folder).truths
    ]


# --- layouts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "photos, truths",
    [
        ("images", "masks"),
        ("image", "matte"),  # PPM-100
        ("Training_Images", "Ground_Truth"),
        ("train/blurred_image", "train/mask"),  # P3M-10k
        ("validation/P3M-500-NP/original_image", "validation/P3M-500-NP/mask"),
        ("val/fg", "val/alpha"),  # PPM-100 by PaddleSeg
    ],
)
def test_a_folder_of_photos_beside_one_of_truths(tmp_path, photos, truths):
    for name in ("b", "a"):
        save(tmp_path / photos / f"{name}.jpg", photo())
        save(tmp_path / truths / f"{name}.png", soft())
    assert names(tmp_path) == [(f"{photos}/{n}.jpg", f"{truths}/{n}.png", "") for n in "ab"]


def test_aisegment_has_its_mattes_in_cut_outs(tmp_path):
    save(tmp_path / "clip_img/1/clip_00000000/a.jpg", photo())
    cutout = np.dstack([photo(), soft()])
    save(tmp_path / "matting/1/matting_00000000/a.png", cutout)
    (found,) = PhotoFolder.of(tmp_path).truths
    np.testing.assert_array_equal(found.read_truth(), soft() / 255)


def test_truths_beside_their_photos_and_what_is_to_be_ignored(tmp_path):
    for name, ending in (("a", "_alpha"), ("b", "_mask"), ("c", "_gt")):
        save(tmp_path / f"{name}.jpg", photo())
        save(tmp_path / f"{name}{ending}.png", soft())
    save(tmp_path / "b_ignore.png", hard())
    save(tmp_path / "alone.png", photo())
    assert names(tmp_path) == [
        ("a.jpg", "a_alpha.png", ""),
        ("b.jpg", "b_mask.png", "b_ignore.png"),
        ("c.jpg", "c_gt.png", ""),
    ]
    assert PhotoFolder.of(tmp_path).remark.endswith("alone.png.")


def test_a_third_folder_says_what_is_to_be_ignored(tmp_path):
    for name in "ab":
        save(tmp_path / f"images/{name}.png", photo())
        save(tmp_path / f"masks/{name}.png", hard())
    save(tmp_path / "ignore/b.png", hard(5))
    assert [each[2] for each in names(tmp_path)] == ["", "ignore/b.png"]


def test_a_folder_without_pairs_is_refused_with_what_it_should_hold(tmp_path):
    save(tmp_path / "a.png", photo())
    with pytest.raises(InputError, match=r"holds no photos with mattes; give images/ and mattes/"):
        PhotoFolder.of(tmp_path)


def test_hard_masks_are_measured_as_masks_and_one_soft_one_makes_mattes(tmp_path):
    for name in "ab":
        save(tmp_path / f"images/{name}.png", photo())
        save(tmp_path / f"masks/{name}.png", hard())
    truths = PhotoFolder.of(tmp_path).truths
    assert measured_as(truths) == MASKS
    save(tmp_path / "masks/b.png", soft())
    assert measured_as(truths) == MATTES


def test_all_truths_that_cannot_be_read_are_named_at_once(tmp_path):
    for name in "abc":
        save(tmp_path / f"images/{name}.png", photo())
        save(tmp_path / f"masks/{name}.png", hard())
    (tmp_path / "masks/a.png").write_bytes(b"nothing")
    save(tmp_path / "masks/c.png", photo())
    with pytest.raises(InputError) as caught:
        measured_as(PhotoFolder.of(tmp_path).truths)
    assert len(str(caught.value).splitlines()) == 2
    assert "a.png" in str(caught.value) and "c.png has colors" in str(caught.value)


# --- the program on anybody's mattes ------------------------------------------------------


@pytest.fixture
def mattes(tmp_path) -> Path:
    """Photos with soft truths, one partly ignored, and mattes of another program."""
    for number, name in enumerate("abc"):
        save(tmp_path / f"set/{name}.png", photo())
        save(tmp_path / f"set/{name}_alpha.png", soft())
        save(tmp_path / f"theirs/{name}.png", soft(number + 1))
    save(tmp_path / "set/b_ignore.png", hard(8))
    return tmp_path


def report(folder: Path, *options: str) -> dict:
    arguments = ["--folder", str(folder / "set"), "--mattes", str(folder / "theirs")]
    arguments += ["--workers", "1"]  # a process of its own takes longer than to measure three
    assert test_net.main([*arguments, "--out", str(folder / "out"), *options]) == 0
    return json.loads((folder / "out/errors.json").read_text())


def test_errors_of_soft_truths_are_those_of_the_files(mattes):
    found = report(mattes)
    assert found["measured"] == MATTES and found["images"] == 3
    for number, name in enumerate("abc"):
        region = hard(8) < 128 if name == "b" else None
        wanted = evaluate(soft(number + 1) / 255, soft() / 255, region)
        errors = found["errors"][name]
        for measure in ("sad", "mse", "dapm_gradient", "dapm_connectivity"):
            assert errors[measure] == getattr(wanted, measure)
        assert errors["sad_600x800"] == pytest.approx(wanted.sad * 480000 / (ROWS * COLUMNS))
    for measure, mean in found["mean"].items():
        assert mean == pytest.approx(np.mean([found["errors"][n][measure] for n in "abc"]))
    with open(mattes / "out/errors.csv") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["image"] for line in lines] == ["a", "b", "c"]
    assert float(lines[1]["mse"]) == found["errors"]["b"]["mse"]


def test_printed_figures_are_in_the_units_of_the_table(mattes, capsys):
    found = report(mattes)["mean"]
    printed = capsys.readouterr().out.splitlines()
    (head,) = (line for line in printed if line.startswith("image"))
    mean = next(line for line in printed if line.startswith("  mean"))  # of all pixels
    assert "all pixels, 3 images of 3 people" in printed
    assert head.split()[1:5] == ["grad", "e-3", "conn", "e-4"]
    assert "SAD e3 " in head and head.split()[-3:] == ["SAD", "600x800", "e3"]
    wanted = [1e3 * found["dapm_gradient"], 1e4 * found["dapm_connectivity"]]
    assert mean.split()[1:3] == [f"{value:.2f}" for value in wanted]
    assert mean.split()[-1] == f"{found['sad_600x800']:.2f}"


@pytest.mark.parametrize("kind", ["16 bits", "cut-out"])
def test_mattes_of_any_depth_and_cut_outs_are_measured_alike(mattes, kind):
    before = report(mattes)
    for path in (mattes / "theirs").iterdir():
        alpha = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cutout = np.dstack([photo(), alpha])
        save(path, alpha * np.uint16(257) if kind == "16 bits" else cutout)
    assert report(mattes)["errors"] == before["errors"]


def test_hard_truths_give_iou_and_boundary_iou(mattes):
    for name in "abc":
        save(mattes / f"set/{name}_alpha.png", hard())
    found = report(mattes)
    assert found["measured"] == MASKS
    for number, name in enumerate("abc"):
        region = hard(8) < 128 if name == "b" else None
        wanted = MaskErrors.of(soft(number + 1) / 255, hard() / 255, region)
        assert found["errors"][name] == {"iou": wanted.iou, "boundary_iou": wanted.boundary_iou}
    assert set(report(mattes, "--measure", "mattes")["mean"]) >= {"sad", "mse"}


def test_a_mask_of_reduced_size_is_the_measure_and_the_matte_is_reduced_to_it(mattes):
    small = hard()[::2, ::2]
    for name in "abc":
        save(mattes / f"set/{name}_alpha.png", hard())
    save(mattes / "set/a_alpha.png", small)
    found = report(mattes)["errors"]["a"]
    wanted = MaskErrors.of(resized(soft(1) / 255, small.shape), small / 255)
    assert found == {"iou": wanted.iou, "boundary_iou": wanted.boundary_iou}
    save(mattes / "theirs/a.png", small)
    assert report(mattes)["errors"]["a"] == {"iou": 1, "boundary_iou": 1}


def test_every_second_photo(mattes):
    assert list(report(mattes, "--every", "2")["errors"]) == ["a", "c"]


def test_missing_mattes_and_those_of_other_sizes_are_named_before_anything_is_measured(mattes):
    (mattes / "theirs/a.png").unlink()
    save(mattes / "theirs/c.png", soft()[:-1])
    with pytest.raises(InputError) as caught:
        report(mattes)
    first, second = str(caught.value).splitlines()
    assert "holds no matte for a;" in first and "a.png" in first
    assert second.endswith("c.png is 80x59 in place of 80x60; scale them.")
    assert not (mattes / "out").exists()


def test_a_soft_truth_of_another_size_than_its_photo_is_refused(mattes):
    save(mattes / "set/a_alpha.png", soft()[::2, ::2])
    with pytest.raises(InputError, match="a_alpha.png has another size than .*a.png"):
        report(mattes)


def test_a_model_is_measured_by_its_mattes(tmp_path):
    """They are those of a photo without people: its matte is empty."""
    save(tmp_path / "set/images/a.png", np.full((ROWS, COLUMNS, 3), 128, np.uint8))
    save(tmp_path / "set/masks/a.png", hard())
    arguments = ["--folder", str(tmp_path / "set"), "--model", "selfie", "--measure", "mattes"]
    assert test_net.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out/errors.json").read_text())
    assert found["mean"]["mse"] == pytest.approx(np.mean(hard() == 255))
    assert (tmp_path / "out/contact_sheet.png").is_file()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--mattes", "m", "--segmenter", "s.onnx"], "one of --mattes"),
        (["--mattes", "m", "--model", "selfie"], "--model is of the model that --mattes replaces"),
        (["--segmenter", "s", "--shape-mask", "m"], "--shape-mask is of the model that --segm"),
        (["--mattes", "m", "--nonlocal", "1e-3"], "of the solve, which --mattes leaves out"),
        (["--segmenter-settings", "{}"], "needs --segmenter"),
        (["--folder", "f", "--list", "l.txt"], "not both of --folder and --list"),
        (["--folder", "f", "--dataset", "d"], "not both of --folder and --dataset"),
    ],
)
def test_options_that_contradict_each_other(options, words, capsys):
    with pytest.raises(SystemExit):
        test_net.main(options)
    assert words in capsys.readouterr().err
