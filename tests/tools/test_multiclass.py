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
from prototxt.catalog import MULTICLASS, PERSON_CLASSES, OpenCvNet
from tools.matting import multiclass
from tools.matting.multiclass import MulticlassSegmenter, hair_probability, person_logit


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


def test_the_mirror_image_counts_as_much(segmenter):
    photo = read_photo(fetch("astronaut"))  # as many columns as rows
    mirrored = segmenter.scores(cv2.flip(photo, 1))[:, :, ::-1]
    np.testing.assert_allclose(segmenter.scores(photo), mirrored, atol=1e-3)


def test_hair_is_on_the_head(segmenter):
    photo = read_photo(fetch("astronaut"))
    hair = hair_probability(segmenter.scores(photo)) > 0.5
    rows, columns = np.nonzero(hair)
    assert hair.mean() > 0.01
    assert np.median(rows) < 150 and 120 < np.median(columns) < 300


def test_a_net_without_weights_is_named(monkeypatch, tmp_path):
    net = OpenCvNet(MULTICLASS.deploy, tmp_path / "none.caffemodel", MULTICLASS.remedy)
    monkeypatch.setattr(multiclass, "MULTICLASS", net)
    with pytest.raises(InputError, match="none.caffemodel is missing; make it with `make`"):
        MulticlassSegmenter()
