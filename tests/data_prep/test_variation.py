"""Random variation of training portraits: registered, bounded, the same every time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.caffe_data.augmentation import ORIGINAL, Record
from data_prep.caffe_data.records import RecordEncoder
from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.caffe_data.variation import Variation, variation_of
from data_prep.datasets.dataset import FRAME, Portrait

LEVELS = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
SAME_EVERYWHERE = Record(np.repeat(LEVELS[:, :, None], 3, axis=2), LEVELS, LEVELS)


@pytest.mark.parametrize(
    "moved", [dict(mirrored=True), dict(shift=(0.2, -0.1)), dict(mirrored=True, shift=(-0.1, 0.3))]
)
def test_photo_mask_and_matte_stay_registered(moved):
    photo, mask, matte = Variation(**moved).apply(SAME_EVERYWHERE)
    assert photo.shape == (40, 30, 3) and not np.array_equal(mask, LEVELS)
    assert np.array_equal(mask, matte)
    assert all(np.array_equal(photo[:, :, channel], mask) for channel in range(3))


def test_a_shift_moves_by_whole_pixels_and_repeats_the_border():
    mask = Variation(shift=(0.1, -0.05)).apply(SAME_EVERYWHERE).mask
    assert np.array_equal(mask[:-2, 3:], LEVELS[2:, :-3])
    assert np.array_equal(mask[:-2, :3], np.repeat(LEVELS[2:, :1], 3, axis=1))
    assert np.array_equal(mask[-2:, 3:], np.repeat(LEVELS[-1:, :-3], 2, axis=0))


@pytest.mark.parametrize(
    "change",
    [
        dict(gains=(1.1, 1.0, 0.9)),
        dict(contrast=1.2),
        dict(saturation=0.5),
        dict(blur=1.0),
        dict(noise=5.0),
        dict(jpeg_quality=40),
    ],
)
def test_what_a_camera_does_leaves_mask_and_matte_alone(change):
    colored = SAME_EVERYWHERE._replace(
        photo=np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    )
    photo, mask, matte = Variation(**change).apply(colored)
    assert photo.dtype == np.uint8 and not np.array_equal(photo, colored.photo)
    assert np.array_equal(mask, LEVELS) and np.array_equal(matte, LEVELS)


def test_nothing_changes_nothing():
    for before, after in zip(SAME_EVERYWHERE, Variation().apply(SAME_EVERYWHERE)):
        assert np.array_equal(before, after)


def test_the_draw_depends_on_portrait_and_version_only():
    assert variation_of("p1", "original") == variation_of("p1", "original")
    others = {variation_of(stem, version) for stem in "abc" for version in ("x", "y")}
    assert len(others) == 6


def test_draws_mirror_half_and_leave_some_alone():
    draws = [variation_of(str(i), "original") for i in range(400)]
    assert 0.4 < np.mean([draw.mirrored for draw in draws]) < 0.6
    for unchanged in (
        lambda d: d.blur == 0,
        lambda d: d.noise == 0,
        lambda d: d.jpeg_quality == 100,
        lambda d: d.shift == (0, 0),
    ):
        assert 0.1 < np.mean([unchanged(draw) for draw in draws]) < 0.8


def test_records_are_varied_only_when_asked(tmp_path):
    photo, matte = tmp_path / "a.png", tmp_path / "a_matte.png"
    rng = np.random.default_rng(2)
    cv2.imwrite(str(photo), rng.integers(0, 256, (*FRAME, 3), np.uint8))
    cv2.imwrite(str(matte), rng.integers(0, 256, FRAME, np.uint8))
    face = Portrait("a", photo, matte), None
    mask = ShapeMask(np.zeros(FRAME, np.float32), np.zeros((68, 2)))
    plain, varied = (RecordEncoder(mask, (ORIGINAL,), vary)(face)[0] for vary in (False, True))
    decoded = cv2.imdecode(np.frombuffer(plain[2], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded, cv2.imread(str(matte), cv2.IMREAD_UNCHANGED))
    assert plain != varied
