from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from data_prep.caffe_data.augmentation import (
    AUGMENTATIONS,
    ORIGINAL,
    Augmentation,
    Record,
    apply_gamma,
    parse_augmentations,
)
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo

GEOMETRIC = [a for a in AUGMENTATIONS if (a.angle, a.scale) != (0, 1)]
TONAL = [a for a in AUGMENTATIONS if a.gamma != 1]


def centroid(image):
    rows, columns = np.indices(image.shape)
    weight = image.astype(float)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def disc(height=160, width=120, center=(50.0, 90.0), radius=14):
    rows, columns = np.indices((height, width))
    distance = np.hypot(columns - center[0], rows - center[1])
    return np.rint(255 * np.clip(radius - distance + 0.5, 0, 1)).astype(np.uint8)


def names(augmentations):
    return [a.name for a in augmentations]


def test_the_papers_thirteen_versions():
    assert AUGMENTATIONS[0] == ORIGINAL
    assert {a.angle for a in AUGMENTATIONS} == {0, -45, -22, 22, 45}
    assert {a.scale for a in AUGMENTATIONS} == {1, 0.6, 0.8, 1.2, 1.5}
    assert {a.gamma for a in AUGMENTATIONS} == {1, 0.5, 0.8, 1.2, 1.5}
    assert len(set(names(AUGMENTATIONS))) == len(AUGMENTATIONS) == 13
    for each in AUGMENTATIONS[1:]:
        assert (each.angle != 0) + (each.scale != 1) + (each.gamma != 1) == 1


def test_original_is_untouched():
    rng = np.random.default_rng(0)
    record = Record(
        rng.integers(0, 256, (20, 15, 3), dtype=np.uint8),
        rng.integers(0, 256, (20, 15), dtype=np.uint8),
        rng.integers(0, 256, (20, 15), dtype=np.uint8),
    )
    for before, after in zip(record, ORIGINAL.apply(record), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("augmentation", GEOMETRIC, ids=names(GEOMETRIC))
def test_photo_mask_and_matte_move_together_about_the_center(augmentation):
    image = disc()
    changed = augmentation.apply(Record(np.dstack([image] * 3), image, image))
    # Written out by hand: y points down, angles turn counter-clockwise.
    center = np.array([(120 - 1) / 2, (160 - 1) / 2])
    x, y = np.array([50.0, 90.0]) - center
    angle = np.radians(augmentation.angle)
    moved = [x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)]
    expected = center + augmentation.scale * np.array(moved)
    for part in (changed.photo[:, :, 0], changed.mask, changed.matte):
        np.testing.assert_allclose(centroid(part), expected, atol=0.15)
        assert part.sum() == pytest.approx(image.sum() * augmentation.scale**2, rel=0.02)


@pytest.mark.parametrize("augmentation", GEOMETRIC, ids=names(GEOMETRIC))
def test_compositing_and_augmenting_commute(augmentation):
    """Holds over the whole frame, streaks beyond the old border included."""
    rng = np.random.default_rng(1)
    alpha = disc(center=(60.0, 150.0), radius=40)  # leaves the frame at the bottom

    def texture():
        smooth = np.dstack([gaussian_filter(rng.normal(size=alpha.shape), 6) for _ in "bgr"])
        return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)

    def composite(front, back, matte):
        share = matte[:, :, None] / 255
        return np.rint(front * share + back * (1 - share)).astype(np.uint8)

    front, back = texture(), texture()
    together = augmentation.apply(Record(composite(front, back, alpha), alpha, alpha))
    apart = [augmentation.apply(Record(each, alpha, alpha)) for each in (front, back)]
    expected = composite(apart[0].photo, apart[1].photo, apart[0].matte)
    difference = np.abs(together.photo.astype(int) - expected)
    assert difference.mean() < 0.6 and difference.max() < 12


@pytest.mark.parametrize("augmentation", GEOMETRIC, ids=names(GEOMETRIC))
def test_compositing_and_augmenting_commute_on_portraits(augmentation, sample, sample_mattes):
    """Real hair and real backgrounds; resampling a product is no product of resamplings.

    The error is that of one interpolation where alpha and colors change within
    a pixel: small on average, next to nothing away from the matte's edge.
    """
    front, back = (read_photo(portrait.photo) for portrait in sample.test[:2])
    alpha = sample_mattes[sample.test[0].stem]

    def composite(front, back, matte):
        share = matte[:, :, None] / 255
        return np.rint(front * share + back * (1 - share)).astype(np.uint8)

    together = augmentation.apply(Record(composite(front, back, alpha), alpha, alpha))
    apart = [augmentation.apply(Record(each, alpha, alpha)) for each in (front, back)]
    matte = apart[0].matte
    expected = composite(apart[0].photo, apart[1].photo, matte)
    difference = np.abs(together.photo.astype(int) - expected).max(axis=2)
    solid = minimum_filter(matte, 9) == 255
    empty = maximum_filter(matte, 9) == 0
    assert solid.mean() > 0.1 and empty.mean() > 0.1
    assert difference[solid | empty].max() <= 1
    # A matte two pixels off its photo shows: five times this difference and more.
    assert difference.mean() < 0.5
    moved = composite(apart[0].photo, apart[1].photo, np.roll(matte, 2, axis=1))
    assert np.abs(together.photo.astype(int) - moved).max(axis=2).mean() > 2 * difference.mean()


def test_no_black_edges_and_constants_stay():
    record = Record(
        np.full((40, 30, 3), 200, np.uint8),
        np.full((40, 30), 128, np.uint8),
        np.full((40, 30), 255, np.uint8),
    )
    for augmentation in GEOMETRIC:
        for before, after in zip(record, augmentation.apply(record), strict=True):
            np.testing.assert_array_equal(before, after)


def test_reducing_averages_fine_stripes_instead_of_aliasing():
    stripes = np.tile(np.array([0, 255], np.uint8), (90, 60))
    record = Record(np.dstack([stripes] * 3), stripes, stripes)
    reduced = Augmentation("half", scale=0.6).apply(record).matte
    inner = reduced[30:60, 40:80].astype(float)
    # Nyquist stripes cannot survive at 0.6: mere interpolation leaves a spread of 70.
    assert inner.mean() == pytest.approx(127.5, abs=2)
    assert inner.std() < 25


@pytest.mark.parametrize("augmentation", TONAL, ids=names(TONAL))
def test_gamma_touches_the_photo_only(augmentation):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    record = Record(np.dstack([ramp, ramp[::-1], ramp.T]), ramp, ramp.T.copy())
    changed = augmentation.apply(record)
    expected = 255 * (record.photo / 255) ** augmentation.gamma
    np.testing.assert_array_equal(changed.photo, np.rint(expected))
    np.testing.assert_array_equal(changed.mask, record.mask)
    np.testing.assert_array_equal(changed.matte, record.matte)


def test_gamma_below_one_brightens():
    gray = np.full((3, 3, 3), 100, np.uint8)
    assert apply_gamma(gray, 0.5).mean() > 100 > apply_gamma(gray, 1.5).mean()


def test_choosing_versions():
    assert parse_augmentations("all") == AUGMENTATIONS
    assert parse_augmentations("none") == (ORIGINAL,)
    chosen = parse_augmentations("gamma0.5, rotate+45,gamma0.5,original")
    assert names(chosen) == ["original", "rotate+45", "gamma0.5"]


@pytest.mark.parametrize("text", ["rotate45", "", "all,none", "gamma0.5,,"])
def test_unknown_versions_are_named(text):
    with pytest.raises(InputError, match="is unknown; give all, none or some of original"):
        parse_augmentations(text)
