from __future__ import annotations

import numpy as np
import pytest

from data_prep.caffe_data.survey import Survey, SurveyCache, survey_portrait, survey_portraits
from data_prep.common.images import write_image
from data_prep.datasets.dataset import Portrait


@pytest.fixture
def blank(tmp_path):
    portrait = Portrait("blank", tmp_path / "blank.png", tmp_path / "matte.png")
    write_image(portrait.photo, np.full((800, 600, 3), 70, np.uint8))
    matte = np.zeros((800, 600), np.uint8)
    matte[100:201, 300:401] = 255
    matte[0, 0] = 9
    write_image(portrait.matte, matte)
    return portrait


def test_a_face_and_none(sample, sample_landmarks, sample_mattes, blank):
    portrait = sample.train[0]
    found = survey_portrait(portrait)
    matte = sample_mattes[portrait.stem]
    np.testing.assert_array_equal(found.landmarks, sample_landmarks[portrait.stem])
    assert [found.alpha_counts[k] for k in (0, 99, 255)] == [
        (matte == k).sum() for k in (0, 99, 255)
    ]
    rows, columns = np.indices(matte.shape)
    expected = [(each * (matte / 255)).sum() / (matte / 255).sum() for each in (columns, rows)]
    np.testing.assert_allclose(found.center, expected)

    none = survey_portrait(blank)
    assert none.landmarks is None
    np.testing.assert_allclose(none.center, (350, 150), atol=0.01)


def test_bad_files_are_problems_and_the_rest_is_surveyed(blank, tmp_path):
    missing = Portrait("missing", tmp_path / "missing.jpg", blank.matte)
    small = Portrait("small", tmp_path / "small.png", blank.matte)
    write_image(small.photo, np.zeros((10, 12, 3), np.uint8))
    cache = SurveyCache(tmp_path / "survey.txt")
    surveys, problems = survey_portraits([missing, blank, small], ["m", "b", "s"], cache, map)
    assert len(surveys) == 1 and surveys[0].alpha_counts.sum() == 480_000
    reasons = [str(problem) for problem in problems]
    assert "does not exist" in reasons[0]
    assert any("12x10 pixels; crop it" in reason for reason in reasons)


def surveys_equal(one: Survey, other: Survey) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_cache_remembers_whole_lines(tmp_path):
    path = tmp_path / "survey.txt"
    cache = SurveyCache(path)
    rng = np.random.default_rng(0)
    face = Survey(rng.normal(size=(68, 2)), rng.integers(0, 99, 256), rng.normal(size=2))
    faceless = Survey(None, rng.integers(0, 99, 256), rng.normal(size=2))
    cache.add("one", face)
    cache.add("two", faceless)
    cache.add("three", face)
    text = path.read_text()
    path.write_text(text[:-40])  # killed in the middle of a write

    again = SurveyCache(path)
    assert surveys_equal(again.get("one"), face)
    assert again.get("two").landmarks is None and surveys_equal(again.get("two")[1:], faceless[1:])
    assert again.get("three") is None
    again.add("three", face)
    assert surveys_equal(SurveyCache(path).get("three"), face)
    assert path.read_text() == text


def test_cache_of_other_code_does_not_count(tmp_path, blank):
    path = tmp_path / "survey.txt"
    SurveyCache(path).add("one", survey_portrait(blank))
    origin, *surveys = path.read_text().splitlines()
    path.write_text("\n".join(["0" + origin[1:], *surveys]))
    assert SurveyCache(path).get("one") is None


def test_known_portraits_are_not_read_again(tmp_path, blank):
    cache = SurveyCache(tmp_path / "survey.txt")
    first, _ = survey_portraits([blank], ["key"], cache, map)
    blank.photo.unlink()
    second, problems = survey_portraits([blank], ["key"], cache, map)
    assert not problems and second == first
