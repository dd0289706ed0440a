"""The multiclass segmenter on photos of any shape, and what is made of its scores."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from checkout import ROOT

from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from prototxt.catalog import MULTICLASS, PERSON_CLASSES, ConvertedNet
from tools.matting import multiclass
from tools.matting.multiclass import (
    CERTAIN_OF_WHOLE,
    FACE,
    FADED_EDGE,
    HAIR,
    MIRRORED_SIDE,
    SIDE,
    MulticlassSegmenter,
    faded_edges,
    hair_probability,
    heads,
    near_boundary,
    person_logit,
)
from tools.matting.people import Box


@pytest.fixture(scope="module")
def segmenter() -> MulticlassSegmenter:
    return MulticlassSegmenter()


def test_a_persons_logit_is_that_of_the_sum_of_their_classes():
    random = np.random.default_rng(0)
    scores = random.normal(0, 8, (1 + len(PERSON_CLASSES), 7, 9)).astype(np.float32)
    odds = np.exp(scores.astype(float))
    share = odds[1:].sum(axis=0) / odds.sum(axis=0)
    wanted = np.log(share) - np.log(odds[0] / odds.sum(axis=0))
    np.testing.assert_allclose(person_logit(scores), wanted, atol=1e-4)
    np.testing.assert_allclose(hair_probability(scores), odds[1] / odds.sum(axis=0), atol=1e-6)


def test_large_scores_do_not_overflow():
    scores = np.full((1 + len(PERSON_CLASSES), 2, 2), 1e4, np.float32)
    scores[0, 0, 0] = -1e4
    logit = person_logit(scores)
    assert np.isfinite(logit).all() and logit[0, 0] == pytest.approx(2e4, abs=5)
    assert np.isfinite(hair_probability(scores)).all()


@pytest.mark.parametrize("number", [0, 5, 10])
def test_its_people_are_those_of_the_true_mattes(segmenter, number):
    portrait = Dataset.open(ROOT / "data/sample").test[number]
    photo, truth = read_photo(portrait.photo), read_matte(portrait.matte) > 127
    person = person_logit(segmenter.scores(photo)) > 0
    assert person.shape == truth.shape
    assert (person & truth).sum() > 0.95 * (person | truth).sum()


@pytest.mark.parametrize("bars", [(0, 260), (260, 0), (31, 0)])
def test_a_person_stays_where_they_are_in_a_photo_of_another_shape(segmenter, bars):
    """More scene beside a person moves nothing by more than the net's own pixels."""
    photo = read_photo(fetch("astronaut"))
    below, right = bars
    wider = cv2.copyMakeBorder(photo, 0, below, 0, right, cv2.BORDER_REPLICATE)
    alone = person_logit(segmenter.scores(photo)) > 0
    found = person_logit(segmenter.scores(wider))[: photo.shape[0], : photo.shape[1]] > 0
    moments = [cv2.moments(plane.astype(np.uint8), True) for plane in (alone[:400], found[:400])]
    for axis in ("m10", "m01"):
        first, second = (each[axis] / each["m00"] for each in moments)
        assert abs(first - second) < 6


@pytest.mark.parametrize("side", [SIDE, MIRRORED_SIDE])
def test_a_mirror_image_is_the_mirrored_photos(segmenter, side):
    photo = read_photo(fetch("astronaut"))  # as many columns as rows
    seen = segmenter._seen(cv2.flip(photo, 1), side)
    mirrored = segmenter._seen(photo, side, mirrored=True)
    np.testing.assert_allclose(seen, mirrored[:, :, ::-1], atol=1e-3)


def test_the_mirror_image_moves_boundaries_and_nothing_that_is_certain(segmenter):
    photo = read_photo(fetch("astronaut"))
    seen, scores = segmenter._seen(photo, SIDE), segmenter._with_mirror_image(photo)
    is_certain = np.abs(person_logit(seen)) >= 2 * CERTAIN_OF_WHOLE
    changed = (scores != seen).any(axis=0)
    assert changed.sum() > 1000 and not changed[is_certain].any()


def test_boundaries_are_more_exact_with_the_larger_mirror_image(segmenter):
    """Of six portraits: fewer pixels on the wrong side."""
    wrong = np.zeros(2, int)
    for portrait in Dataset.open(ROOT / "data/sample").test[:12:2]:
        photo, truth = read_photo(portrait.photo), read_matte(portrait.matte) > 127
        views = segmenter._seen(photo, SIDE), segmenter._with_mirror_image(photo)
        wrong += [((person_logit(scores) > 0) != truth).sum() for scores in views]
    assert 0 < wrong[1] < 0.97 * wrong[0], wrong


def test_hair_is_on_the_head(segmenter):
    photo = read_photo(fetch("astronaut"))
    hair = hair_probability(segmenter.scores(photo)) > 0.5
    rows, columns = np.nonzero(hair)
    assert hair.mean() > 0.01
    assert np.median(rows) < 150 and 120 < np.median(columns) < 300


def scores_with_heads(*places: tuple[slice, slice]) -> np.ndarray:
    """Scores of a photo of 200 x 300: upper halves of places are hair, lower ones faces."""
    scores = np.zeros((1 + len(PERSON_CLASSES), 200, 300), np.float32)
    scores[0] = 1
    for rows, columns in places:
        middle = (rows.start + rows.stop) // 2
        scores[HAIR, rows.start : middle, columns] = 2
        scores[FACE, middle : rows.stop, columns] = 2
    return scores


def test_close_ups_show_the_largest_heads_and_what_is_around_them():
    large, small = np.s_[50:150, 20:100], np.s_[100:160, 210:270]
    first, second = heads(scores_with_heads(small, large))
    cut_off = Box(35, 165, 0, 125, (200, 300))  # 1.3 sides, and the photo ends at its left
    assert first == (cut_off, cut_off)
    # No nearer than 2.5 times: 120 pixels are shown.
    assert second == (Box(91, 169, 201, 279, (200, 300)), Box(70, 190, 180, 300, (200, 300)))
    ((head, _),) = heads(scores_with_heads(np.s_[0:200, 100:200], np.s_[80:120, 220:250]))
    assert head == Box(0, 200, 20, 280, (200, 300))  # the other is much smaller
    assert not heads(scores_with_heads())
    assert not heads(scores_with_heads(np.s_[50:58, 50:60]))  # too small to be a head
    assert not heads(scores_with_heads(np.s_[0:200, 50:260]))  # and this is all there is


def test_close_ups_fade_at_their_edges_but_not_at_those_of_the_photo():
    faded = faded_edges(Box(0, 100, 50, 150, (200, 300)))
    reach = round(FADED_EDGE * 100)
    assert faded.shape == (100, 100)
    assert (faded[0, reach:-reach] == 1).all() and (faded[-1] == 0).all()
    assert (faded[:, 0] == 0).all() and (faded[:, -1] == 0).all()
    np.testing.assert_allclose(np.diff(faded[0, : reach + 1]), 1 / reach, rtol=1e-5)
    assert (faded_edges(Box(0, 200, 0, 300, (200, 300))) == 1).all()


def test_another_view_counts_where_the_photo_is_in_doubt_near_its_own_boundary():
    person = np.full((200, 300), 1, np.float32)
    person[:, 150:] = -1
    person[:50] *= 3 * CERTAIN_OF_WHOLE  # certain above
    reach = 0.06
    weights = near_boundary(person, reach)
    near = round(reach * np.sqrt(200 * 150))
    assert (weights[50:, 150 - near + 1 : 150 + near] == 1).all()
    assert not weights[:50].any()
    assert not weights[:, : 150 - 2 * near - 1].any() and not weights[:, 150 + 2 * near + 1 :].any()
    assert not near_boundary(np.ones((4, 5), np.float32), reach).any()  # no boundary at all


def test_a_close_up_changes_nothing_that_is_certain_and_nothing_elsewhere(segmenter):
    photo = cv2.resize(read_photo(fetch("astronaut")), (320, 320), interpolation=cv2.INTER_AREA)
    whole, scores = segmenter._with_mirror_image(photo), segmenter.scores(photo)
    is_near = np.zeros(photo.shape[:2], bool)
    for box, _ in heads(whole):
        is_near[box.rows, box.columns] = True
    is_certain = np.abs(person_logit(whole)) >= 2 * CERTAIN_OF_WHOLE
    changed = (scores != whole).any(axis=0)
    assert is_near.any() and not is_near.all()
    assert changed.sum() > 100 and not changed[~is_near | is_certain].any()


def test_heads_are_more_exact_with_a_close_up(segmenter):
    """Of six portraits, where it looks: fewer pixels on the wrong side of the person's boundary."""
    wrong = np.zeros(2, int)
    for portrait in Dataset.open(ROOT / "data/sample").test[:12:2]:
        photo, truth = read_photo(portrait.photo), read_matte(portrait.matte) > 127
        whole = segmenter._with_mirror_image(photo)
        for box, _ in heads(whole):
            place = box.rows, box.columns
            for index, scores in enumerate((whole, segmenter.scores(photo))):
                wrong[index] += ((person_logit(scores) > 0) != truth)[place].sum()
    assert 0 < wrong[1] < 0.97 * wrong[0], wrong


def test_nets_whose_memory_was_given_back_are_read_again(segmenter):
    photo = read_photo(fetch("astronaut"))
    before = segmenter.scores(photo)
    segmenter.release()
    assert not segmenter._net.cache_info().currsize
    np.testing.assert_array_equal(segmenter.scores(photo), before)


def test_a_net_without_weights_is_named(monkeypatch, tmp_path):
    net = MULTICLASS[SIDE]
    net = ConvertedNet(net.deploy, tmp_path / "none.caffemodel", net.remedy)
    monkeypatch.setattr(multiclass, "MULTICLASS", {SIDE: net})
    with pytest.raises(InputError, match="none.caffemodel is missing; make it with `make`"):
        MulticlassSegmenter()
