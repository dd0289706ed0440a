"""Patterns, regions and choices of skin, teeth and eyes; no Blender."""

from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.randomness import generator
from data_prep.render.base.vectors import unit
from data_prep.render.people.body import rest_coordinates
from data_prep.render.people.expression import Eye
from data_prep.render.people.eyes import CORNEA_HEIGHT, eyeball
from data_prep.render.people.mouth import gum_share, tooth_number
from data_prep.render.people.person import choose_person
from data_prep.render.people.skin import choose_skin, painted_regions, skin_color, skin_regions
from data_prep.render.people.skin_patterns import (
    SPREAD,
    TILE,
    band_noise,
    broad_tile,
    fine_tile,
    scattered_dots,
)


@pytest.fixture(scope="module")
def person():
    return choose_person(generator(0, 0, "person"))


def largest_step(tile):
    """Largest difference of neighbors inside, and across the seam."""
    inside = max(np.abs(np.diff(tile, axis=axis)).max() for axis in (0, 1))
    across = max(np.abs(tile[0] - tile[-1]).max(), np.abs(tile[:, 0] - tile[:, -1]).max())
    return inside, across


def test_noise_has_the_spread_asked_for_and_no_seam():
    noise = band_noise(np.random.default_rng(0), 8, 60)
    assert noise.shape == (TILE, TILE)
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.std() == pytest.approx(SPREAD, rel=0.05)
    inside, across = largest_step(noise)
    assert across <= inside


def test_noise_keeps_to_its_wavelengths():
    noise = band_noise(np.random.default_rng(1), 8, 32) - 0.5
    power = np.abs(np.fft.rfft2(noise)) ** 2
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :])
    wanted = (frequency > 1 / 64) & (frequency < 1 / 5)
    assert power[wanted].sum() > 0.9 * power.sum()


def test_dots_wrap_around_the_border():
    dots = scattered_dots(np.random.default_rng(2), 300, (3, 9), 1.0)
    inside, across = largest_step(dots)
    assert across <= inside
    assert dots.min() >= 0 and 0.3 < dots.max() <= 1


@pytest.mark.parametrize("tile", [fine_tile, broad_tile])
def test_tiles_are_always_the_same(tile):
    first = tile().copy()
    tile.cache_clear()
    np.testing.assert_array_equal(first, tile())
    assert first.shape == (TILE, TILE, 3)
    assert first.min() >= 0 and first.max() <= 1


def test_skin_choices_repeat_and_survive_json(person):
    choices = [
        choose_skin(generator(0, k, "skin"), person, generator(0, 0, "skin pattern"))
        for k in (4, 4, 5)
    ]
    assert choices[0] == choices[1] != choices[2]
    assert choices[0].offset == choices[2].offset  # the person's own freckles
    assert_survives_json(choices[0])


def test_only_women_wear_makeup_and_only_men_have_stubble(person):
    for sex, absent in (("male", "lipstick"), ("female", "stubble")):
        someone = replace(person, sex=sex)
        drawn = [
            getattr(choose_skin(generator(0, k, "skin"), someone, generator(0, 0, "p")), absent)
            for k in range(40)
        ]
        assert set(drawn) <= {"none", 0.0}


def test_darker_tones_are_darker(person):
    brightness = [skin_color(replace(person, skin_tone=t)).mean() for t in (0, 0.25, 0.5, 0.75, 1)]
    assert (np.diff(brightness) < 0).all()
    assert 0 < brightness[-1] < brightness[0] < 1


def test_regions_are_where_they_are_called(mesh):
    rest = rest_coordinates(mesh)
    regions = skin_regions(rest)
    for name, share in regions.items():
        assert share.shape == (len(rest),)
        assert share.min() >= 0 and share.max() <= 1
        assert share.max() > 0.5, name
    eyes = mesh.joint(rest, "helper-l-eye")[2]
    inside = {name: rest[share > 0.5] for name, share in regions.items()}
    assert (inside["forehead_lines"][:, 2] > eyes).all()
    assert (inside["under_eye"][:, 2] < eyes + 0.02).all()
    assert (inside["beard"][:, 2] < eyes).all()


def test_painted_regions_are_where_they_are_called(mesh):
    rest, regions = rest_coordinates(mesh), painted_regions(mesh)
    skin = np.unique(mesh.faces[mesh.faces_of("body")])
    eyes, mouth = mesh.joint(rest, "helper-l-eye"), mesh.joint(rest, "helper-tongue")

    def place(name):
        return rest[skin[regions[name][skin] > 0.5]]

    assert len(place("lips")) > 50
    assert np.abs(place("lips")[:, 2] - mouth[2]).max() < 0.03
    assert np.linalg.norm(np.abs(place("lids")) - np.abs(eyes), axis=1).max() < 0.03
    assert np.abs(place("nails")[:, 0]).min() > 0.3  # at the ends of the arms
    assert place("inner_mouth")[:, 1].min() > place("lips")[:, 1].min()


def test_an_eyeball_is_a_sphere_with_a_bulge_toward_the_gaze():
    eye = Eye(np.array([0.03, -0.12, 0.74]), 0.015, unit(np.array([0.2, -1.0, 0.1])))
    vertices, faces, angle, place = eyeball(eye)
    reach = np.linalg.norm(vertices - eye.center, axis=1)
    assert reach[angle > 1].max() == pytest.approx(eye.radius, rel=1e-3)
    assert reach.max() == pytest.approx(eye.radius * (1 + CORNEA_HEIGHT), rel=1e-6)
    np.testing.assert_allclose(unit(vertices[reach.argmax()] - eye.center), eye.gaze, atol=1e-9)
    np.testing.assert_allclose(np.cos(angle), place[:, 2], atol=1e-12)
    assert faces.max() < len(vertices)


def test_eyeball_faces_look_outward():
    eye = Eye(np.zeros(3), 0.015, np.array([0.0, -1.0, 0.0]))
    vertices, faces, _, _ = eyeball(eye)
    a, b, c, d = (vertices[faces[:, k]] for k in range(4))
    normals = np.cross(c - a, d - b)
    facing = (normals * (a + b + c + d)).sum(axis=1)
    assert (facing[np.linalg.norm(normals, axis=1) > 1e-9] > 0).all()


def test_teeth_are_counted_from_the_middle(mesh):
    rest = rest_coordinates(mesh)
    teeth = rest[mesh.vertex_groups["helper-upper-teeth"]]
    numbers = tooth_number(teeth)
    assert numbers[np.abs(teeth[:, 0]) < 1e-4].max() == 0
    assert 7.5 < numbers.max() <= 8
    edge = teeth[:, 2] < teeth[:, 2].min() + 0.002
    gums = gum_share(teeth, np.ones(len(teeth), bool))
    assert gums[edge].max() == 0 and gums.max() == 1
