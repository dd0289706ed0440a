"""The distribution of people."""

from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.randomness import generator
from data_prep.render.people.person import (
    EYE_COLORS,
    LARGEST_WEIGHT,
    choose_person,
    person_shape,
)


@pytest.fixture(scope="module")
def people():
    return [choose_person(generator(5, number, "person")) for number in range(400)]


def test_the_same_stream_gives_the_same_person(people):
    assert choose_person(generator(5, 17, "person")) == people[17]
    assert people[17] != people[18]


def test_a_person_survives_json(people):
    assert_survives_json(people[0])


def test_sexes_ages_and_ancestries_all_occur(people):
    assert 0.4 < np.mean([p.sex == "male" for p in people]) < 0.6
    years = np.array([p.years for p in people])
    assert years.min() >= 15 and years.max() <= 80
    assert (years < 20).any() and (years > 65).any()
    most = np.array([p.ancestry for p in people]).argmax(axis=1)
    assert np.bincount(most, minlength=3).min() > 0.15 * len(people)


def test_parameters_stay_in_their_ranges(people):
    for person in people:
        assert sum(person.ancestry) == pytest.approx(1)
        assert person.eye_color in EYE_COLORS
        for value in (person.skin_tone, person.hair_melanin, person.gray, person.freckles):
            assert 0 <= value <= 1
        assert 0.18 < person.age < 1
        assert max(person.targets.values()) <= 1.13 * LARGEST_WEIGHT


def test_skin_follows_ancestry(people):
    african = [p.skin_tone for p in people if p.ancestry[0] > 0.8]
    caucasian = [p.skin_tone for p in people if p.ancestry[2] > 0.8]
    assert np.mean(african) > np.mean(caucasian) + 0.5


def test_the_scale_of_ages_is_makehumans(people):
    for years, age in ((10, 0.1875), (25, 0.5), (90, 1.0)):
        assert replace(people[0], years=years).age == pytest.approx(age)


def test_every_target_of_every_face_exists(mesh, people):
    assert {name for p in people for name in p.targets} <= set(mesh.target_paths)


def test_faces_differ_by_millimeters_and_not_by_centimeters(mesh, people):
    base = replace(people[0], targets={})
    plain = person_shape(mesh, base)
    face = (plain[:, 2] > 0.62) & (plain[:, 1] < -0.06)
    offsets = [
        person_shape(mesh, replace(base, targets=p.targets))[face] - plain[face]
        for p in people[:20]
    ]
    typical = np.median(np.linalg.norm(offsets, axis=2))
    largest = np.linalg.norm(offsets, axis=2).max()
    assert 0.001 < typical < 0.010
    assert largest < 0.04


def test_men_have_broader_jaws_than_women(mesh, people):
    base = replace(people[0], targets={}, ancestry=(0.2, 0.3, 0.5), years=30.0)

    def jaw(masculinity):
        shape = person_shape(mesh, replace(base, masculinity=masculinity))
        eyes = mesh.joint(shape, "helper-l-eye") - mesh.joint(shape, "helper-r-eye")
        low = np.abs(shape[:, 2] - (mesh.joint(shape, "joint-mouth")[2] - 0.03)) < 0.01
        body = np.zeros(len(shape), bool)
        body[np.unique(mesh.faces[mesh.faces_of("body")])] = True
        front = low & body & (shape[:, 1] < -0.03) & (np.abs(shape[:, 0]) < 0.12)
        return np.ptp(shape[front, 0]) / np.linalg.norm(eyes)

    assert jaw(0.9) > 1.03 * jaw(0.05)
