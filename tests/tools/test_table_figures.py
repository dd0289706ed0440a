"""Figures like the paper's: which photos are chosen, and that every tile shows what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.errors import collected_warnings
from data_prep.common.images import read_photo, write_image
from data_prep.datasets.dataset import Dataset
from tools.evaluation.metrics import evaluate
from tools.evaluation.truths import truths_of_portraits
from tools.matting.models import MODELS, ROOT
from tools.outputs.sheets import CAPTION_HEIGHT, GAP, TRIMAP_GRAYS, paragraph
from tools.table.figure_files import kept_pictures, write_figures
from tools.table.figures import (
    CROP_SIDE,
    FIGURES,
    Choice,
    FigureColumn,
    PaperFigure,
    ShownPhoto,
    choose_photos,
    densest_square,
    draw_figure,
    rule_of,
)

# Photos a to k with errors 0 to 10, each of another person.
ERRORS = {name: float(i) for i, name in enumerate("abcdefghijk")}
ALONE = {name: name for name in ERRORS}


def test_photos_are_the_quantiles_and_the_largest_gain_and_loss():
    reference = ERRORS | {"b": 5.0, "c": 4.0, "i": 1.0}
    found = choose_photos(ERRORS, reference, ALONE)
    assert found == [
        Choice("f", "median"),
        Choice("j", "90th percentile"),
        Choice("b", "largest gain"),
        Choice("i", "largest loss"),
    ]


def test_a_person_is_shown_once_and_the_next_photo_takes_the_place():
    reference = ERRORS | {"f": 9.0, "b": 7.5, "i": 1.0}
    people = ALONE | {"f": "same", "b": "same", "g": "same", "j": "i"}
    found = choose_photos(ERRORS, reference, people)
    assert [each.name for each in found] == ["e", "k", "b", "i"]


def test_without_gain_or_loss_there_is_no_such_photo():
    assert choose_photos(ERRORS, ERRORS, ALONE, ()) == []
    worse = {name: value - 1 for name, value in ERRORS.items()}
    assert choose_photos(ERRORS, worse, ALONE, ()) == [Choice("a", "largest loss")]


def test_photos_that_one_method_lacks_are_not_chosen():
    reference = {"c": 9.0, "d": 3.0}
    assert [each.name for each in choose_photos(ERRORS, reference, ALONE)] == ["d", "c"]


def test_the_rule_says_everything_that_the_choice_depends_on():
    rule = rule_of(FIGURES["fig4"], "SAD", 300, {"fcn": "FCN"})
    assert rule == (
        "Chosen from 300 photos by SAD: median of ours_nomask, 90th percentile of ours_nomask, "
        "largest gain and, if there is any, loss of ours_nomask over FCN; one photo a person, gain "
        f"and loss first. Shown is the square of {CROP_SIDE} pixels with the most fractional true "
        "pixels."
    )


def test_the_densest_square_is_where_the_most_pixels_are_fractional():
    truth = np.zeros((50, 40))
    truth[20:30, 12:22], truth[40:44, 2:6] = 0.5, 0.5
    truth[:10, :] = 1
    assert densest_square(truth, 10) == (slice(20, 30), slice(12, 22))
    # A square as wide as the matte, with all fractional pixels in it.
    assert densest_square(truth, 100) == (slice(4, 44), slice(0, 40))


@pytest.fixture
def photo() -> ShownPhoto:
    """A picture of noise, one method's matte and another one's trimap."""
    rng = np.random.default_rng(0)
    truth = np.clip(np.linspace(-1, 2, 40)[:, None] * np.ones(30), 0, 1)
    return ShownPhoto(
        "name, reason",
        rng.integers(0, 256, (40, 30, 3), dtype=np.uint8),
        truth,
        {"a": rng.random((40, 30))},
        {"b": TRIMAP_GRAYS[rng.integers(0, 3, (40, 30))]},
        np.full((40, 30), 0.25),
    )


COLUMNS = (
    FigureColumn("photo", "photo"),
    FigureColumn("matte of a", "matte", "a"),
    FigureColumn("trimap of b", "trimap", "b"),
    FigureColumn("matte of b", "matte", "b"),
    FigureColumn("true trimap", "true trimap"),
    FigureColumn("shape mask", "shape mask"),
    FigureColumn("true matte", "true matte"),
)


def tiles_of(picture: np.ndarray, count: int, shape: tuple[int, int], top: int) -> list[np.ndarray]:
    """The tiles of a strip that begins at a row of a figure."""
    top += GAP + CAPTION_HEIGHT
    lefts = [GAP + i * (shape[1] + GAP) for i in range(count)]
    return [picture[top : top + shape[0], left : left + shape[1]] for left in lefts]


def test_every_tile_shows_its_picture_and_columns_without_one_are_left_out(photo):
    figure = PaperFigure(COLUMNS, "a", "b", height=40)
    picture = draw_figure(figure, [photo], "the rule")
    below_caption = len(paragraph(photo.caption, 6 * (30 + GAP) + GAP))
    found = tiles_of(picture, 6, (40, 30), below_caption)
    transition = (photo.truth > 0) & (photo.truth < 1)
    expected = [
        photo.photo,
        np.rint(255 * photo.mattes["a"]),
        photo.trimaps["b"],
        np.where(transition, 128, 255 * photo.truth),
        np.full((40, 30), 64),
        np.rint(255 * photo.truth),
    ]
    for tile, wanted in zip(found, expected, strict=True):
        wanted = wanted if wanted.ndim == 3 else np.repeat(wanted[:, :, None], 3, axis=2)
        np.testing.assert_array_equal(tile, wanted)


def test_a_method_that_lacks_one_photo_leaves_its_tile_white(photo):
    other = ShownPhoto("other", photo.photo, photo.truth)
    figure = PaperFigure(COLUMNS[:2], "a", "b", height=40)
    picture = draw_figure(figure, [other, photo], "the rule")
    tiles = tiles_of(picture, 2, (40, 30), len(paragraph("other", 2 * (30 + GAP) + GAP)))
    np.testing.assert_array_equal(tiles[0], photo.photo)
    assert (tiles[1] == 255).all()


def test_large_photos_are_reduced_and_hair_is_not():
    shapes = []
    truth = np.zeros((800, 600))
    truth[100:140, 300:360] = 0.5
    large = ShownPhoto("c", np.full((800, 600, 3), (200, 0, 0), np.uint8), truth)
    for at_hair in (False, True):
        figure = PaperFigure(COLUMNS[:1], "a", "b", height=CROP_SIDE, at_hair=at_hair)
        picture = draw_figure(figure, [large], "r")
        blue = (picture == (200, 0, 0)).all(axis=2)
        shapes.append((blue.any(axis=1).sum(), blue.any(axis=0).sum()))
    assert shapes == [(240, 180), (240, 240)]


def test_a_paragraph_is_broken_where_it_is_wide_and_loses_no_word():
    one, several = (paragraph("some words that go on and on", width) for width in (600, 120))
    assert one.shape == (CAPTION_HEIGHT + GAP, 600, 3)
    assert several.shape[1] == 120 and len(several) >= 2 * CAPTION_HEIGHT + GAP
    dark = [int((each < 128).all(axis=2).sum()) for each in (one, several)]
    assert dark[1] == pytest.approx(dark[0], rel=0.1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Kept mattes and trimaps of two methods on photos of the sample: blurred truths."""
    folder = tmp_path_factory.mktemp("rows")
    sample = ROOT / "data/sample"
    truths = truths_of_portraits(sample, Dataset.open(sample).test[::3])
    errors = {"ours": {}, "ours_nomask": {}, "fcn": {}}
    for number, truth in enumerate(truths):
        matte = truth.read_truth()
        for row, sigma in (("ours", 1 + 2 * number), ("ours_nomask", 4), ("fcn", 5)):
            alpha = cv2.GaussianBlur(matte, (0, 0), sigma)
            errors[row][truth.name] = evaluate(alpha, matte)
            for kind in ("mattes", "trimaps"):
                path = folder / row / kind / f"{truth.name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, np.rint(255 * alpha).astype(np.uint8))
    return folder, truths, errors


TITLES = {"ours": "ours", "ours_nomask": "ours without shape mask", "fcn": "FCN"}


def test_figures_are_written_with_the_rule_of_their_choice(measured, tmp_path):
    folder, truths, errors = measured
    mask = ShapeMask.load(MODELS["portrait"].shape_mask)
    rules = write_figures(folder, truths, errors, TITLES, mask, tmp_path)
    assert [path.name for path in rules] == [f"table1_{name}.jpg" for name in FIGURES]
    for path, rule in rules.items():
        assert rule.startswith(f"Chosen from {len(truths)} photos by SAD: ")
        assert min(read_photo(path).shape[:2]) > 300
    # 5 columns: those of the rows that are not measured are left out.
    assert read_photo(tmp_path / "table1_fig6.jpg").shape[1] == 5 * (186 + GAP) + GAP


def test_a_figure_whose_methods_are_not_measured_is_left_out_and_said(measured, tmp_path):
    folder, truths, errors = measured
    mask = ShapeMask.load(MODELS["portrait"].shape_mask)
    few = {row: errors[row] for row in ("ours", "ours_nomask")}
    with collected_warnings() as warnings:
        written = write_figures(folder, truths, few, TITLES, mask, tmp_path)
    assert [path.name for path in written] == ["table1_fig7.jpg"]
    assert warnings == [f"Without {name}: row fcn is not measured." for name in ("fig4", "fig6")]


def test_kept_pictures_of_rows_that_have_none_are_left_out(measured):
    folder, truths, _ = measured
    found = kept_pictures(Path(folder), "mattes", ["ours", "crfrnn"], truths[0].name)
    assert list(found) == ["ours"]
