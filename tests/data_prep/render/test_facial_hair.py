"""Brows, lashes and beards on a posed face."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.vectors import transform
from data_prep.render.hair.facial_hair import (
    BEARDS,
    beard_shade,
    bent,
    choose_facial_hair,
    grow_beard,
    grow_brows,
    grow_facial_hair,
    grow_lashes,
)
from data_prep.render.hair.strands import lengths_of
from data_prep.render.hair.styles import HairColor
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="module")
def choice(posed):
    rng = np.random.default_rng(6)
    drawn = choose_facial_hair(rng, posed.subject.person)
    color = HairColor(melanin=0.7, redness=0.1)
    return replace(
        drawn,
        beard="full beard",
        beard_length=0.03,
        beard_color=color,
        brow_color=color,
        brow_width=0.005,
    )


def in_head(strands, posed):
    return transform(np.linalg.inv(posed.subject.head), strands.points.astype(float))


def test_choices_survive_json_and_fit_the_person():
    rng = np.random.default_rng(0)
    beards, brows = Counter(), {"female": [], "male": []}
    people = [choose_person(rng) for _ in range(150)]
    for person in 3 * people:
        drawn = choose_facial_hair(rng, person)
        assert_survives_json(drawn)
        if person.sex == "female" or person.years < 18:
            assert drawn.beard == "none"
        beards[drawn.beard] += 1
        brows[person.sex].append(drawn.brow_width)
        low, high = BEARDS[drawn.beard][2]
        assert low <= drawn.beard_length <= high
    assert set(beards) == set(BEARDS)
    assert np.mean(brows["male"]) > np.mean(brows["female"])


def test_arcs_start_at_their_roots_and_bend_toward_the_given_side():
    root, up, side = np.zeros((1, 3)), np.array([[0, 0, 1.0]]), np.array([[1.0, 0, 0]])
    arc = bent(root, up, side, np.array([0.01]), 9)[0]
    np.testing.assert_array_equal(arc[0], 0)
    np.testing.assert_allclose(arc[-1], [0.005, 0, 0.01], atol=1e-7)
    assert (np.diff(arc[:, 0], n=2) > 0).all()


def test_brows_lie_above_the_eyes_on_both_sides(choice, posed):
    brows = grow_brows(np.random.default_rng(1), choice, posed.subject.head, posed.skin)
    assert len(brows) > 300
    eyes = transform(
        np.linalg.inv(posed.subject.head), np.array([eye.center for eye in posed.subject.eyes])
    )
    points = in_head(brows, posed)
    for eye in eyes:
        own = points[np.sign(points[:, 0, 0]) == np.sign(eye[0])]
        assert len(own) > 100
        above = own[:, 0, 2] - eye[2]
        assert (above > 0.003).all() and (above < 0.045).all()
        # Toward the temples, hair by hair.
        outward = (own[:, -1, 0] - own[:, 0, 0]) * np.sign(eye[0])
        assert (outward > 0).mean() > 0.9
    assert np.abs(posed.field(brows.points)).max() < 0.012


def test_denser_brows_have_more_hairs(choice, posed):
    thin, thick = (
        grow_brows(
            np.random.default_rng(1),
            replace(choice, brow_density=d),
            posed.subject.head,
            posed.skin,
        )
        for d in (0.4, 0.8)
    )
    assert 1.7 < len(thick) / len(thin) < 2.3


def test_lashes_stand_at_the_lids_away_from_the_eye(choice, posed):
    parts = grow_lashes(np.random.default_rng(1), choice, posed.subject)
    assert len(parts) == 4
    for eye, two in zip(posed.subject.eyes, (parts[:2], parts[2:])):
        for lashes in two:
            start = np.linalg.norm(lashes.points[:, 0] - eye.center, axis=1)
            end = np.linalg.norm(lashes.points[:, -1] - eye.center, axis=1)
            assert (end > start).mean() > 0.95
            assert (start < 2.2 * eye.radius).all()
            assert lengths_of(lashes.points).max() < 0.016


@pytest.mark.parametrize("beard", BEARDS)
def test_every_beard_grows_on_the_lower_face_only(beard, choice, posed):
    drawn = replace(choice, beard=beard, beard_length=float(np.mean(BEARDS[beard][2])))
    parts = grow_beard(np.random.default_rng(1), drawn, posed.subject.head, posed.skin, posed.field)
    assert bool(parts) == (beard != "none")
    for strands in parts:
        assert len(strands) == BEARDS[beard][3]
        assert np.isfinite(strands.points).all()
        roots = in_head(strands, posed)[:, 0]
        assert (roots[:, 2] < 0.75).all() and (roots[:, 2] > 0.57).all()
        lengths = lengths_of(strands.points) / posed.subject.head_scale
        assert lengths.max() < 1.4 * drawn.beard_length + 0.001
        assert (posed.field(strands.points) < -0.006).mean() < 0.02


def test_a_mustache_does_not_reach_into_the_mouth(choice, posed):
    drawn = replace(choice, beard="full beard", beard_length=0.05)
    strands = grow_beard(
        np.random.default_rng(1), drawn, posed.subject.head, posed.skin, posed.field
    )[0]
    points = in_head(strands, posed)
    mustache = (
        (points[:, 0, 2] > 0.672) & (np.abs(points[:, 0, 0]) < 0.02) & (points[:, 0, 1] < -0.12)
    )
    assert mustache.any()
    assert lengths_of(points[mustache]).max() < 0.011
    assert lengths_of(points[~mustache]).max() > 0.03


def test_all_of_it_repeats_with_its_stream(choice, posed):
    first, second = (
        grow_facial_hair(np.random.default_rng(9), choice, posed.subject, posed.skin, posed.field)
        for _ in range(2)
    )
    assert set(first) == {"brows", "lashes", "beard"} and first["brows"] and first["lashes"]
    for name, parts in first.items():
        for a, b in zip(parts, second[name], strict=True):
            np.testing.assert_array_equal(a.points, b.points)


def test_the_skin_below_a_beard_takes_its_color_and_more_below_a_long_one(choice, posed):
    rest = posed.subject.rest
    long, stubble, none = (
        beard_shade(replace(choice, beard=beard, beard_length=length), rest)
        for beard, length in (("full beard", 0.03), ("stubble", 0.002), ("none", 0.0))
    )
    assert long.max() <= 1 and (long >= stubble).all() and stubble.max() > 0
    assert not none.any() and not long[rest[:, 2] > 0.75].any()
