"""Whether anybody is there: pictures of things, and people without a visible face."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest

from data_prep.common.images import read_photo
from tools.benchmarks.robustness import (
    SCIKIT_IMAGE,
    WITH_PERSON,
    main,
    pictures_without_people,
)
from tools.matting.models import ROOT
from tools.matting.presence import CERTAIN_PERSON, mean_certainty, person_certainty
from tools.matting.session import MattingSession


@functools.cache
def session(model: str) -> MattingSession:
    return MattingSession(model)


def test_certainty_is_that_of_the_people_alone():
    logit = np.full((10, 10), -12, np.float32)
    assert person_certainty(logit) == mean_certainty(logit) == 0
    logit[2:4, 2:7] = 12
    logit[8, 8:] = 6
    assert person_certainty(logit) == 12
    assert mean_certainty(logit) == pytest.approx(11)


def test_doubt_around_a_certain_person_does_not_count():
    logit = np.full((20, 20), 12, np.float32)
    logit[:, :4] = 1
    assert person_certainty(logit) > CERTAIN_PERSON > person_certainty(logit / 2)


@pytest.mark.parametrize(
    "model, name", [("portrait", "chelsea"), ("portrait", "coffee"), ("selfie", "cell")]
)
def test_things_and_animals_are_nobody(model, name):
    (path,) = SCIKIT_IMAGE.glob(f"{name}.*")
    estimate = session(model).estimate_trimap(read_photo(path))
    assert not estimate.person_found
    assert not estimate.probabilities[0].any()


@pytest.mark.parametrize("model", ["portrait", "selfie"])
def test_people_whose_face_is_hidden_are_people(model):
    photo = read_photo(SCIKIT_IMAGE / "astronaut.png")
    (face,) = session(model).estimate_trimap(photo).faces
    left, top, right, bottom = face.box.astype(int).tolist()
    photo[top - 40 : bottom, left:right] = photo[top, right + 20]
    estimate = session(model).estimate_trimap(photo)
    assert estimate.person_found and not estimate.faces
    assert estimate.certainty > CERTAIN_PERSON


def test_scikit_image_has_24_pictures_without_people():
    pictures = pictures_without_people()
    assert len(pictures) == 24
    assert not {path.stem for path in pictures} & set(WITH_PERSON)


def test_the_measurement_tells_who_is_taken_for_whom(tmp_path, capsys):
    plain = np.full((90, 70, 3), 90, np.uint8)
    things, people = tmp_path / "things", tmp_path / "people"
    for folder in (things, people):
        folder.mkdir()
        cv2.imwrite(str(folder / "plain.png"), plain)
    command = ["presence", "--without", str(things), "--people"]
    assert main([*command, str(people)]) == 1
    assert "1 of 1 photos of people are taken for nobody" in capsys.readouterr().out
    (people / "plain.png").unlink()
    portrait = read_photo(ROOT / "data/sample/images/p0143.jpg")
    cv2.imwrite(str(people / "p0143.png"), portrait)
    assert main([*command, str(people)]) == 0
    assert "0 of 1 pictures without people" in capsys.readouterr().out
