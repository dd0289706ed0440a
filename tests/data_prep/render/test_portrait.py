"""Choices of whole photos: reproducible, by person, and all different."""

import pytest
from json_choices import assert_survives_json

from data_prep.render.shot.portrait import choose_portrait, person_of


@pytest.fixture(scope="module")
def hundred():
    return [choose_portrait(0, k, 4) for k in range(100)]


def test_no_two_of_a_hundred_share_all_kinds(hundred):
    assert len({choice.kinds for choice in hundred}) == len(hundred)


def test_a_photo_is_the_same_alone(hundred):
    assert choose_portrait(0, 57, 4) == hundred[57]


def test_photos_of_one_person_are_of_one_person(hundred):
    for choice in hundred:
        first = hundred[4 * person_of(choice.number, 4)]
        assert choice.person == first.person
        assert choice.skin.offset == first.skin.offset  # freckles stay where they are
    assert len({choice.person.years for choice in hundred}) == 25


def test_everything_else_differs(hundred):
    first, second = hundred[0], hundred[1]
    for concern in ("pose", "clothing", "camera", "light", "background", "development"):
        assert getattr(first, concern) != getattr(second, concern)


def test_seeds_give_other_people(hundred):
    assert choose_portrait(1, 0, 4).person != hundred[0].person


def test_choices_survive_json(hundred):
    for choice in hundred[:10]:
        assert_survives_json(choice)


def test_breadth(hundred):
    assert len({choice.hair.style for choice in hundred}) >= 14
    assert len({choice.clothing.outfit for choice in hundred}) >= 8
    assert {choice.person.sex for choice in hundred} == {"female", "male"}
    years = [choice.person.years for choice in hundred]
    assert min(years) < 25 and max(years) > 60
    tones = [choice.person.skin_tone for choice in hundred]
    assert min(tones) < 0.2 and max(tones) > 0.7
