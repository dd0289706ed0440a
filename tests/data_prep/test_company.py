"""Guests beside the person of a portrait."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_prep.augmentation import Record
from data_prep.company import Company, Guest, Place, foreground_files, joined, read_foreground
from data_prep.errors import InputError
from data_prep.shape_mask import NEUTRAL_MASK

SIZE = (40, 30)
# Moves nothing: the guest lies where it lay.
PLACE = Place(0, False, False, 1.0, (0.0, 0.0), 0.0, False, False)


@pytest.fixture
def scene(tmp_path):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (3, *SIZE, 3)) / 255
    alpha, beta = rng.integers(0, 256, (2, *SIZE, 1)) / 255
    files = [tmp_path / "subject.png", tmp_path / "guest.png"]
    for file, color, cover in zip(files, colors, (alpha, beta)):
        cv2.imwrite(str(file), np.rint(255 * np.dstack([color, cover])).astype(np.uint8))
    photo = alpha * colors[0] + (1 - alpha) * colors[2]
    masks = np.uint8(rng.integers(0, 256, (2, *SIZE)))
    record = Record(*(np.uint8(np.rint(i)) for i in (255 * photo, masks[0], 255 * alpha[:, :, 0])))
    return record, files[0], Guest(files[1], masks[1], (True, True)), colors, alpha, beta


def test_a_guest_behind_lies_between_person_and_background(scene):
    record, subject, guest, (own, other, background), alpha, beta = scene
    result = joined(record, read_foreground(subject), guest, PLACE)
    wanted = alpha * own + (1 - alpha) * (beta * other + (1 - beta) * background)
    assert np.abs(result.photo - 255 * wanted).max() <= 1.01  # the photo was rounded before
    assert np.array_equal(result.mask, record.mask) and np.array_equal(result.matte, record.matte)


def test_a_guest_in_front_covers_the_person(scene):
    record, subject, guest, (own, other, background), alpha, beta = scene
    result = joined(record, read_foreground(subject), guest, replace(PLACE, in_front=True))
    behind = alpha * own + (1 - alpha) * background
    assert np.abs(result.photo - 255 * (beta * other + (1 - beta) * behind)).max() <= 1.01
    assert np.abs(result.matte - 255 * (alpha * (1 - beta))[:, :, 0]).max() <= 0.51


@pytest.mark.parametrize("in_front", (False, True))
def test_who_is_wanted_is_in_mask_and_matte(scene, in_front):
    record, subject, guest, _, alpha, beta = scene
    place = replace(PLACE, in_front=in_front, wanted=True)
    result = joined(record, read_foreground(subject), guest, place)
    assert np.array_equal(result.mask, np.maximum(record.mask, guest.mask))
    assert np.abs(result.matte - 255 * (1 - (1 - alpha) * (1 - beta))[:, :, 0]).max() <= 0.51


def test_draws_are_the_same_again_and_leave_some_alone(scene):
    record, subject, guest, *_ = scene
    company = Company([guest], {"a": subject})
    results = [company.join(record, "a", str(i)) for i in range(200)]
    for i in (0, 1, 2):
        again = company.join(record, "a", str(i))
        assert all(map(np.array_equal, again, results[i]))
    alone = np.mean([np.array_equal(r.photo, record.photo) for r in results])
    neutral = np.mean([(r.mask == NEUTRAL_MASK).all() for r in results])
    assert 0.4 < alone < 0.6 and 0.08 < neutral < 0.22


def test_nobody_is_the_guest_of_themselves(scene):
    record, subject, guest, *_ = scene
    company = Company([replace(guest, foreground=subject)], {"a": subject})
    results = [company.join(record, "a", str(i)) for i in range(20)]
    assert all(np.array_equal(r.photo, record.photo) for r in results)


def test_missing_foregrounds_are_named(tmp_path):
    (tmp_path / "foregrounds").mkdir()
    (tmp_path / "foregrounds/p.png").touch()
    assert foreground_files(tmp_path, ["p", "p_b3"])["p_b3"].name == "p.png"
    with pytest.raises(InputError, match="q.png does not exist.*--company"):
        foreground_files(tmp_path, ["q_b1"])
