"""The default model's two segmenters as one."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from prototxt.catalog import CERTAIN_LOGIT, PERSON_CLASSES
from tools.matting.ensemble import (
    BOUNDARY_REACH,
    DOUBT_REACH,
    HAIR_REACH,
    SEGMENTER_WEIGHT,
    SEGMENTER_WEIGHT_AT_BOUNDARY,
    SHARPNESS,
    SHARPNESS_AT_HAIR,
    ensemble_logit,
    near_hair,
    settled,
    without_holes,
    without_things,
)
from tools.matting.models import DEFAULT_MODEL
from tools.matting.people import Box
from tools.matting.person_masks import PersonMask
from tools.matting.session import MattingSession

HAIR, CLOTHES = 1 + PERSON_CLASSES.index("hair"), 1 + PERSON_CLASSES.index("clothes")


def scores_of(logit: np.ndarray, kind: int) -> np.ndarray:
    """Scores by which a class has a logit against the background, and no other is possible."""
    scores = np.full((1 + len(PERSON_CLASSES), *logit.shape), -1e3, np.float32)
    scores[0], scores[kind] = 0, logit
    return scores


def both(segmenter: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The logit of both nets."""
    return ensemble_logit(segmenter, scores, near_hair(scores))


def test_near_is_as_far_as_hair_reaches():
    logit = np.full((200, 300), -100, np.float32)
    logit[100, 150] = np.log(0.7 / 0.3)
    rows, columns = np.mgrid[:200, :300]
    distance = np.hypot(rows - 100, columns - 150)
    near = near_hair(scores_of(logit, HAIR))
    reach = HAIR_REACH * 300
    np.testing.assert_allclose(near[distance <= reach - 1], 0.7, rtol=1e-5)
    assert (near[distance > reach + 1] < 1e-6).all()


def test_clothes_are_sharper_than_hair():
    logit = np.linspace(-8, 8, 60, dtype=np.float32).reshape(6, 10)
    segmenter = np.full((6, 10), -2, np.float32)
    clothes = both(segmenter, scores_of(logit, CLOTHES))
    np.testing.assert_allclose(clothes, SEGMENTER_WEIGHT * -2 + SHARPNESS * logit, atol=1e-4)
    hair = both(segmenter, scores_of(logit, HAIR))
    sure = np.s_[5, 5:]  # where hair is nearly certain
    wanted = SEGMENTER_WEIGHT * -2 + SHARPNESS_AT_HAIR * logit
    np.testing.assert_allclose(hair[sure], wanted[sure], rtol=0.01)
    assert (hair[sure] < clothes[sure]).all()


def test_the_segmenter_counts_less_at_a_boundary():
    rows, columns = np.mgrid[:300, :300]
    distance = 120 - np.hypot(rows - 150, columns - 150)  # to the boundary, positive inside
    person = np.where(distance > 0, 1, -1).astype(np.float32)
    segmenter = np.full(person.shape, -2, np.float32)
    weight = (both(segmenter, scores_of(person, CLOTHES)) - SHARPNESS * person) / -2
    reach = BOUNDARY_REACH * np.sqrt(np.pi) * 120
    at, away = np.abs(distance) < reach - 2, np.abs(distance) > 2 * reach + 2
    np.testing.assert_allclose(weight[at], SEGMENTER_WEIGHT_AT_BOUNDARY, atol=1e-5)
    np.testing.assert_allclose(weight[away], SEGMENTER_WEIGHT, atol=1e-5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_sure_net_outvotes_an_unsure_segmenter(sign):
    segmenter = np.full((20, 20), -sign * 3, np.float32)
    scores = scores_of(np.full((20, 20), sign * 3, np.float32), CLOTHES)
    assert (sign * both(segmenter, scores) > 0).all()


def test_doubt_is_settled_where_no_boundary_is_near():
    rows, columns = np.mgrid[:300, :300]
    distance = 120 - np.hypot(rows - 150, columns - 150)  # to the boundary, positive inside
    logit = np.where(distance > 0, 0.5, -0.5).astype(np.float32)
    found = settled(logit)
    reach = DOUBT_REACH * np.sqrt(np.pi) * 120
    np.testing.assert_array_equal(np.sign(found), np.sign(logit))
    near, far = np.abs(distance) < reach - 2, np.abs(distance) > 2 * reach + 2
    np.testing.assert_array_equal(found[near], logit[near])
    assert (np.abs(found[far]) > CERTAIN_LOGIT).all() and far.any() and near.any()


def test_what_is_nowhere_certain_is_nobody_beside_somebody():
    logit = np.full((100, 200), -9, np.float32)
    logit[20:80, 20:80], logit[40:50, 40:50] = 2, CERTAIN_LOGIT + 1
    logit[30:50, 150:170] = 3
    found = settled(logit)
    np.testing.assert_array_equal(found[:, :100] > 0, logit[:, :100] > 0)
    assert (found[:, 100:] < 0).all()
    logit[40:50, 40:50] = 2  # nobody is certain: both stay
    np.testing.assert_array_equal(settled(logit) > 0, logit > 0)


MAN, COAT, BAG = (np.s_[20:90, 10:50], np.s_[40:90, 80:120], np.s_[60:90, 150:180])


def person_with_a_hole() -> tuple[np.ndarray, np.ndarray]:
    """Logit of both nets with a doubtful hole at the lower edge, and the segmenter's without."""
    logit, segmenter = np.full((2, 60, 80), -9, np.float32)
    logit[10:, 20:60], segmenter[10:, 20:60] = 9, 2 * CERTAIN_LOGIT
    logit[30:, 30:50] = -1
    return logit, segmenter


def test_a_hole_that_the_segmenter_does_not_see_is_closed():
    logit, segmenter = person_with_a_hole()
    found = without_holes(logit, segmenter)
    assert (found[30:, 30:50] > 0).all()
    found[30:, 30:50] = -1
    np.testing.assert_array_equal(found, logit)


def test_a_hole_stays_that_either_net_is_certain_of():
    logit, segmenter = person_with_a_hole()
    logit[30:, 30:50] = -2 * CERTAIN_LOGIT
    assert (without_holes(logit, segmenter)[30:, 30:50] < 0).all()
    logit, segmenter = person_with_a_hole()
    segmenter[40:44, 32:48] = 0
    np.testing.assert_array_equal(without_holes(logit, segmenter), logit)


def test_what_is_open_to_a_side_is_no_hole():
    logit, segmenter = person_with_a_hole()
    logit[40, 50:] = -1  # the hole reaches the background
    segmenter[:] = 2 * CERTAIN_LOGIT
    np.testing.assert_array_equal(without_holes(logit, segmenter), logit)
    np.testing.assert_array_equal(without_holes(logit[30:, 30:50], segmenter[30:, 30:50]), -1)


def man_coat_and_bag() -> tuple[np.ndarray, np.ndarray]:
    """What the multiclass net takes for people, and a segmenter that sees the man alone."""
    logit, segmenter = (np.full((100, 200), -9, np.float32) for _ in range(2))
    for part in (MAN, COAT, BAG):
        logit[part] = 9
    segmenter[MAN] = 9
    return logit, segmenter


def test_what_one_net_alone_takes_for_a_person_is_none():
    logit, segmenter = man_coat_and_bag()
    asked: list[Box] = []

    def shows_person(part: Box) -> bool:
        """Somebody wears the coat."""
        asked.append(part)
        return part.left <= 100 < part.right

    logit[2:6, 60:64] = 9  # a speck, which nobody looks at
    found = without_things(logit, segmenter, [], shows_person)
    assert (found[BAG] < -CERTAIN_LOGIT).all()
    found[BAG] = logit[BAG]
    np.testing.assert_array_equal(found, logit)
    assert len(asked) == 2 and asked[1].left < 150 < 180 < asked[1].right


def test_a_mask_or_the_segmenters_doubt_keeps_a_person():
    logit, segmenter = man_coat_and_bag()
    coat = np.full(logit.shape, -9, np.float32)
    coat[COAT] = 9
    masks = [PersonMask(coat, np.ones(logit.shape, bool))]
    segmenter[BAG][:, :10] = -CERTAIN_LOGIT / 2
    found = without_things(logit, segmenter, masks, lambda part: False)
    np.testing.assert_array_equal(found, logit)
    outside = [PersonMask(coat, np.zeros(logit.shape, bool))]  # it means nothing there
    found = without_things(logit, segmenter, outside, lambda part: False)
    assert (found[COAT] < 0).all() and (found[BAG] > 0).all()


def test_somebody_is_left():
    logit, _ = man_coat_and_bag()
    nobody = np.full(logit.shape, -9, np.float32)
    np.testing.assert_array_equal(without_things(logit, nobody, [], lambda part: False), logit)
    logit[COAT] = logit[BAG] = -9  # one alone is not even asked for
    np.testing.assert_array_equal(without_things(logit, nobody, [], lambda part: 1 / 0), logit)


@pytest.mark.parametrize("sign", [-1, 1])
def test_without_a_boundary_doubt_stays(sign):
    logit = np.full((30, 40), sign * 0.5, np.float32)
    np.testing.assert_array_equal(settled(logit), logit)


def test_the_default_asks_both_segmenters():
    photo = read_photo(fetch("astronaut"))
    default, small = (
        MattingSession(name).estimate_trimap(photo).probabilities
        for name in (DEFAULT_MODEL, "selfie")
    )
    assert not np.array_equal(default, small)
    # Both know the person: certain pixels contradict each other hardly anywhere.
    opposed = (default[0] > 0.9) & (small[1] > 0.9) | (default[1] > 0.9) & (small[0] > 0.9)
    assert opposed.mean() < 0.1
