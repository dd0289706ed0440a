from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.crop import (
    TARGET,
    Crop,
    Rectangle,
    check_enlargement,
    choose_crop,
    crop_around_face,
    crop_around_matte,
    face_rectangle,
    is_in_foreground,
    measure_target,
    resize_to_frame,
)


def test_target_is_the_median_of_the_sample(sample, sample_landmarks, sample_mattes):
    stems = [p.stem for p in sample.train]
    measured = measure_target(
        [sample_landmarks[s] for s in stems], [sample_mattes[s] for s in stems]
    )
    heights = [np.ptp(sample_landmarks[s][:, 1]) for s in stems]
    assert measured.face_height == np.median(heights)
    assert measured == TARGET


def moved(photo, matte, scale, shift, shape):
    """A larger photo that holds the portrait smaller and off its place."""
    height, width = shape
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float64)
    return tuple(
        cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        for image in (photo, matte)
    )


def test_faces_are_of_similar_size_and_place_after_cropping(sample, sample_mattes):
    rng = np.random.default_rng(5)
    detector = LandmarkDetector()
    before, after = [], []
    for portrait in sample.train:
        scale = rng.uniform(0.6, 2.0)
        room = rng.integers(300, 600, 2)
        shape = (int(800 * scale + room[1]), int(600 * scale + room[0]))
        shift = rng.uniform(100, 250, 2)
        photo, matte = moved(
            read_photo(portrait.photo), sample_mattes[portrait.stem], scale, shift, shape
        )
        points = detector.detect(photo)
        crop, face = choose_crop(points, matte)
        assert face
        assert 0 <= crop.left and crop.left + crop.width <= shape[1]
        assert 0 <= crop.top and crop.top + crop.height <= shape[0]
        before.append(face_rectangle(points, shape))
        result = crop.apply(photo)
        assert result.shape == (800, 600, 3) and crop.apply(matte).shape == (800, 600)
        after.append(face_rectangle(detector.detect(result), (800, 600)))

    def spread(rectangles):
        low, median, high = np.percentile([r.height for r in rectangles], [25, 50, 75])
        return (high - low) / median

    assert spread(before) > 0.3
    assert spread(after) < 0.05
    heights = np.array([r.height for r in after])
    assert np.abs(heights / TARGET.face_height - 1).max() < 0.12
    centers = np.array([r.center for r in after])
    assert np.abs(centers - TARGET.face_center).max() < 25


def face_at(x, y, height, width=None):
    half = (width or height) / 2
    return Rectangle(x - half, y - height / 2, x + half, y + height / 2)


def test_crop_brings_the_face_to_the_target():
    crop = crop_around_face(face_at(2000, 1500, 375), (3000, 4000))
    assert (crop.width, crop.height) == (1200, 1600)
    assert crop.left == round(2000 - TARGET.face_center[0] * 2)
    assert crop.top == round(1500 - TARGET.face_center[1] * 2)


@pytest.mark.parametrize("shape", [(1200, 1000), (2000, 900), (1001, 1500)])
def test_small_photo_gives_the_largest_crop(shape):
    height, width = shape
    face = face_at(width * 0.45, height * 0.4, 400)
    crop = crop_around_face(face, shape)
    assert 3 * crop.height == 4 * crop.width
    unit = crop.width // 3 + 1
    assert 3 * unit > width or 4 * unit > height  # none is larger
    assert crop.left >= 0 and crop.left + crop.width <= width
    assert crop.top >= 0 and crop.top + crop.height <= height


def test_random_crops_contain_the_face_and_leave_no_photo():
    rng = np.random.default_rng(0)
    placed = 0
    for _ in range(300):
        whole_height, whole_width = shape = tuple(rng.integers(300, 2000, 2).tolist())
        height = rng.uniform(50, 600)
        width = height * rng.uniform(0.6, 1.4)
        center = rng.uniform(0, 1, 2) * np.subtract(shape[::-1], (width, height))
        face = Rectangle(*center, center[0] + width, center[1] + height)
        if height > whole_height or width > whole_width:
            continue
        try:
            crop = crop_around_face(face, shape)
        except InputError:
            continue
        placed += 1
        assert 0 <= crop.left and crop.left + crop.width <= whole_width
        assert 0 <= crop.top and crop.top + crop.height <= whole_height
        # Up to the half pixel of rounding.
        assert crop.left <= face.left + 0.5 and face.right <= crop.left + crop.width + 0.5
        assert crop.top <= face.top + 0.5 and face.bottom <= crop.top + crop.height + 0.5
        assert 3 * crop.height == 4 * crop.width
    assert placed > 100


def test_impossible_crops_are_refused_in_a_sentence():
    with pytest.raises(InputError, match="face does not fit into a 3:4 crop"):
        crop_around_face(face_at(500, 150, 280, width=500), (600, 1000))
    with pytest.raises(InputError, match="too few for 600x800"):
        crop_around_face(face_at(500, 500, 40), (1000, 1000))
    with pytest.raises(InputError, match="too few for 600x800"):
        crop_around_matte(np.full((399, 299), 255, np.uint8))
    check_enlargement((400, 300))


def test_without_a_face_the_crop_follows_the_matte():
    matte = np.zeros((1600, 3000), np.uint8)
    matte[400:, 1700:2100] = 255
    crop, face = choose_crop(None, matte)
    assert not face
    assert crop == Crop(1900 - 600, 0, 1200, 1600)
    tall = np.zeros((3000, 600), np.uint8)
    tall[1000:, 200:300] = 255
    crop = crop_around_matte(tall)
    assert crop == Crop(0, round(1000 - TARGET.matte_top), 600, 800)


def test_face_in_the_background_is_not_the_portraits():
    matte = np.zeros((1000, 1000), np.uint8)
    matte[300:, 600:] = 255
    assert is_in_foreground(face_at(800, 500, 100), matte)
    assert not is_in_foreground(face_at(200, 500, 100), matte)
    points = np.array([[150.0, 450.0], [250.0, 550.0]])
    assert choose_crop(points, matte) == (crop_around_matte(matte), False)


@pytest.mark.parametrize(
    "crop", [Crop(17, 33, 900, 1200), Crop(5, 9, 450, 600), Crop(0, 0, 603, 804)]
)
def test_photo_and_matte_stay_registered(crop):
    """Cropping the composite is compositing the crops."""
    rng = np.random.default_rng(1)
    size = (1300, 1000)
    matte = cv2.GaussianBlur((rng.random(size) > 0.5).astype(np.float32), (0, 0), 6)
    matte = np.clip((matte - 0.5) * 8 + 0.5, 0, 1)
    person, ground = np.array([200.0, 60, 90]), np.array([20.0, 180, 240])
    alpha = np.rint(255 * matte).astype(np.uint8)
    share = alpha[:, :, None] / 255
    photo = np.rint(share * person + (1 - share) * ground).astype(np.uint8)
    share = crop.apply(alpha)[:, :, None] / 255
    assert np.abs(share * person + (1 - share) * ground - crop.apply(photo)).max() <= 2.5


@pytest.mark.parametrize("crop", [Crop(100, 40, 900, 1200), Crop(100, 40, 450, 600)])
def test_crop_takes_every_pixel_to_its_place(crop):
    """A linear ramp shows where each new pixel comes from.

    Area averages of its steps are right to an eighth of a pixel.
    """
    rows, columns = np.mgrid[0:1300, 0:1100].astype(np.float32)
    x, y = np.arange(600) + 0.5, np.arange(800) + 0.5
    inner = slice(2, -2)  # bilinear enlarging repeats the border
    np.testing.assert_allclose(
        crop.apply(columns)[400, inner],
        (crop.left + x * crop.width / 600 - 0.5)[inner],
        atol=0.126,
    )
    np.testing.assert_allclose(
        crop.apply(rows)[inner, 300],
        (crop.top + y * crop.height / 800 - 0.5)[inner],
        atol=0.126,
    )


def test_reducing_averages_and_does_not_alias():
    stripes = np.zeros((3200, 2400), np.uint8)
    stripes[:, ::2] = 255
    reduced = resize_to_frame(stripes)
    assert reduced.min() >= 127 and reduced.max() <= 128
