"""Masks of the people in a photo, and when a segmenter is corrected by them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from prototxt.catalog import PERSON_MASK, POSE_DETECTOR, ConvertedNet
from tools.matting import converted_net
from tools.matting.models import ROOT
from tools.matting.people import Box
from tools.matting.person_boxes import PersonBox
from tools.matting.person_masks import (
    MOST_OPINION,
    WEIGHT,
    PersonMask,
    PersonMasker,
    with_second_opinion,
)
from tools.matting.predictor import Predictor
from tools.matting.presence import CERTAIN_PERSON, person_certainty
from tools.matting.session import MattingSession

ROWS, COLUMNS = np.mgrid[:60, :80]


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """(60, 80) bool."""
    return (ROWS >= top) & (ROWS < bottom) & (COLUMNS >= left) & (COLUMNS < right)


def logit(person: np.ndarray, size: float = 3.0) -> np.ndarray:
    return np.where(person, size, -size).astype(np.float32)


PERSON = rectangle(10, 50, 20, 40)  # as the segmenter sees it
SQUARE = rectangle(0, 60, 5, 65)


def corrected(seen: np.ndarray, *people: np.ndarray, size: float = 100.0) -> np.ndarray:
    """Change of a segmenter's logit by masks in `SQUARE`, in units of the largest."""
    masks = [PersonMask(logit(person, size), SQUARE) for person in people]
    return (with_second_opinion(logit(seen), masks) - logit(seen)) / (WEIGHT * MOST_OPINION)


def test_nothing_changes_where_nobody_is_detected():
    np.testing.assert_array_equal(corrected(PERSON), 0)


def test_one_that_agrees_adds_an_arm_and_takes_a_fence():
    arm, fence = rectangle(20, 24, 40, 48), rectangle(10, 14, 14, 20)
    change = corrected(PERSON | fence, PERSON | arm)
    assert (change[PERSON | arm] == 1).all()
    assert (change[SQUARE & ~PERSON & ~arm] == -1).all()
    assert (change[~SQUARE] == 0).all()


def test_two_people_take_nothing_from_each_other():
    other = rectangle(10, 50, 45, 60)
    change = corrected(PERSON | other, PERSON, other)
    assert (change[PERSON | other] == 1).all() and (change[~PERSON & ~other] == 0).all()


def test_one_that_covers_half_of_the_people_adds_and_takes_nothing():
    other = rectangle(10, 50, 45, 60)
    change = corrected(PERSON | other, PERSON)
    assert (change[PERSON] == 1).all() and (change[~PERSON] == 0).all()


@pytest.mark.parametrize(
    "mask",
    [
        rectangle(10, 50, 30, 51),  # less than half of it is seen by the segmenter
        rectangle(10, 20, 20, 40),  # less than 0.3 of what the segmenter sees
        rectangle(0, 0, 0, 0),
        ~SQUARE,  # a person outside of what the net has seen
    ],
)
def test_a_mask_of_something_else_does_not_count(mask):
    np.testing.assert_array_equal(corrected(PERSON, mask), 0)


def test_an_uncertain_mask_counts_less():
    assert (corrected(PERSON, PERSON, size=1.0)[PERSON] == 1 / MOST_OPINION).all()


@pytest.fixture(scope="module")
def masker() -> PersonMasker:
    return PersonMasker()


@pytest.fixture(scope="module")
def portraits() -> list[tuple[np.ndarray, np.ndarray]]:
    """Photos and mattes of heads and shoulders that fill the photo."""
    found = Dataset.open(ROOT / "data/sample").portraits[::10]
    return [(read_photo(each.photo), read_matte(each.matte)) for each in found]


def in_frame(portrait, width: int, around: tuple[int, int, int, int]):
    """A portrait reduced to a width, with pixels above, below, left and right; its person."""
    size_wh = (width, width * 4 // 3)
    photo, matte = (cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA) for image in portrait)
    photo = cv2.copyMakeBorder(photo, *around, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    return photo, cv2.copyMakeBorder(matte, *around, cv2.BORDER_CONSTANT, value=0) > 127


def iou(mask: PersonMask, person: np.ndarray) -> float:
    found = (mask.logit > 0) & mask.inside
    return np.count_nonzero(found & person) / np.count_nonzero(found | person)


def test_a_mask_is_the_persons(masker, portraits):
    shares = []
    for portrait in portraits:
        photo, person = in_frame(portrait, 210, (430, 0, 150, 180))
        (mask,) = masker.masks(photo)
        shares.append(iou(mask, person))
    assert np.median(shares) > 0.9


def test_nobody_is_looked_at_who_reaches_far_beyond_the_photo(masker, portraits):
    for photo, _ in portraits:
        assert masker.people(photo) and not masker.masks(photo)


def test_a_small_person_is_seen_from_near_at_the_same_place(masker, portraits):
    photo, person = in_frame(portraits[0], 60, (300, 120, 420, 120))
    box = Box(300 - 24, 380 + 24, 420 - 18, 480 + 18, person.shape)
    assert box.needs_close_up
    masks = masker.masks(photo, [box])
    assert len(masks) > len(masker.masks(photo))
    assert max(iou(mask, person) for mask in masks) > 0.8


def test_a_gray_photo_shows_nobody(masker):
    for shape in ((400, 300), (3, 3), (3, 800)):
        photo = np.full((*shape, 3), 90, np.uint8)
        assert masker.masks(photo) == [] and masker.sure_logit(photo) is None


def test_missing_weights_say_how_to_make_them(tmp_path):
    net = ConvertedNet(PERSON_MASK.deploy, tmp_path / "none.caffemodel", PERSON_MASK.remedy)
    with pytest.raises(InputError, match="none.caffemodel is missing; make it with `make`"):
        converted_net.read_opencv_net(net)
    converted_net.check_files(POSE_DETECTOR)


def in_front_of_stripes(portrait, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The person of a portrait, small in a photo of (600, 800); where that person is."""
    stripes = np.arange(800, dtype=np.uint8) // 20 % 2 * 80 + 80
    photo = np.broadcast_to(stripes[None, :, None], (600, 800, 3)).copy()
    size_wh = (height * 3 // 4, height)
    image, matte = (cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA) for part in portrait)
    place = slice(440 - height, 440), slice(300, 300 + size_wh[0])
    shares = matte[..., None] / 255
    photo[place] = np.rint(shares * image + (1 - shares) * photo[place])
    person = np.zeros(photo.shape[:2], bool)
    person[place] = matte > 127
    return photo, person


def test_a_part_around_a_small_person_is_found(masker, portraits):
    for portrait in portraits:
        photo, person = in_front_of_stripes(portrait, 150)
        (part,) = masker.small_people(photo)
        inside = np.zeros(person.shape, bool)
        inside[part.rows, part.columns] = True
        assert (person & inside).sum() > 0.95 * person.sum() and inside.mean() < 0.5


def test_nobody_is_small_in_stripes_or_in_a_portrait(masker, portraits):
    photo, _ = in_front_of_stripes(portraits[0], 150)
    assert not masker.small_people(np.ascontiguousarray(photo[:280]))
    assert not any(masker.small_people(portrait) for portrait, _ in portraits)


def test_a_part_stays_within_the_photo():
    points = np.array([[5.0, 8], [5, -12], [0, 0], [0, 0]])
    part = PersonBox(np.zeros(4), points, 0.9).part_of((40, 60))
    assert part == Box(0, 33, 0, 30, (40, 60))


def test_small_people_are_matted_of_whom_the_segmenter_is_not_certain(portraits):
    photo, person = in_front_of_stripes(portraits[1], 110)
    whole = Predictor("selfie").mean_logit(photo)
    assert person_certainty(whole) < CERTAIN_PERSON
    found = MattingSession("selfie").matte(photo).alpha > 0.5
    assert np.count_nonzero(found & person) > 0.9 * np.count_nonzero(found | person)


def test_masks_alone_are_the_person_of_whom_the_detector_is_sure(masker, portraits):
    shares = []
    for portrait in portraits:
        photo, person = in_frame(portrait, 210, (430, 0, 150, 180))
        found = masker.sure_logit(photo) > 0
        shares.append(np.count_nonzero(found & person) / np.count_nonzero(found | person))
    assert np.median(shares) > 0.9
    stripes, _ = in_front_of_stripes(portraits[0], 150)
    assert masker.sure_logit(np.ascontiguousarray(stripes[:280])) is None


def test_masks_alone_are_all_people_too_small_for_one_look_at_the_photo(masker, portraits):
    shares = []
    for first, second in zip(portraits, portraits[1:] + portraits[:1]):
        left, right = (in_frame(each, 50, (533, 0, 175, 175)) for each in (first, second))
        photo = np.hstack([left[0], right[0]])
        person = np.hstack([left[1], right[1]])
        assert not masker.people(photo)
        found = masker.sure_logit(photo) > 0
        shares.append(np.count_nonzero(found & person) / np.count_nonzero(found | person))
    assert np.median(shares) > 0.9
