"""Backgrounds: kinds, levels, focus, and the cases that are hard on purpose."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_prep.common.srgb import to_linear
from data_prep.render.base.colors import luminance
from data_prep.render.base.randomness import generator
from data_prep.render.shot import bystanders
from data_prep.render.shot.background import KINDS, choose_background, render_background
from data_prep.render.shot.light import choose_light

SHAPE = (200, 150)
HAIR = np.array([0.35, 0.22, 0.14])
PAINTED = sorted(set(KINDS) - {"place"})  # environment maps come with Blender


def drawn(number):
    light = choose_light(generator(0, number, "light"))
    return choose_background(generator(0, number, "background"), light)


@pytest.fixture(scope="module")
def choices():
    return [drawn(k) for k in range(400)]


@pytest.fixture
def plain(choices):
    """A sharp painted wall with nobody before it."""
    found = next(each for each in choices if each.kind == "wall")
    return replace(found, blur=0.0, resembles_hair=False, bystanders=0, level=0.4)


def sharpness(display):
    """How much of the picture's variation is between neighbors."""
    gray = luminance(display)
    return float(np.diff(gray, n=2, axis=1).std() / gray.std())


def test_every_kind_comes(choices):
    assert {each.kind for each in choices} == set(KINDS)


def test_hard_cases_come(choices):
    assert 0.08 < np.mean([each.resembles_hair for each in choices]) < 0.2
    assert 0.08 < np.mean([each.bystanders > 0 for each in choices]) < 0.2
    assert 0.1 < np.mean([each.blur == 0 for each in choices]) < 0.35


@pytest.mark.parametrize("kind", PAINTED)
def test_pictures_are_in_range_and_at_their_level(plain, kind):
    choice = replace(plain, kind=kind, detail="brick" if kind == "texture" else "")
    display = render_background(choice, SHAPE, HAIR)
    assert display.shape == (*SHAPE, 3)
    assert display.min() >= 0 and display.max() <= 1
    level = np.median(luminance(to_linear(display)))
    assert level == pytest.approx(to_linear(np.array(choice.level)), rel=0.15)


@pytest.mark.parametrize("kind", PAINTED)
def test_the_same_choice_is_the_same_picture(plain, kind):
    choice = replace(plain, kind=kind, detail="grass" if kind == "texture" else "")
    first, second = (render_background(choice, SHAPE, HAIR) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", ["wall", "texture", "foliage", "room"])
def test_out_of_focus_is_softer(plain, kind):
    choice = replace(plain, kind=kind, detail="brick" if kind == "texture" else "")
    sharp = render_background(choice, SHAPE, HAIR)
    soft = render_background(replace(choice, blur=0.03), SHAPE, HAIR)
    assert sharpness(soft) < 0.8 * sharpness(sharp)


@pytest.mark.parametrize("kind", ["paper", "foliage", "room"])
def test_a_background_can_resemble_the_hair(plain, kind):
    choice = replace(plain, kind=kind, resembles_hair=True)
    display = render_background(choice, SHAPE, HAIR)
    np.testing.assert_allclose(np.median(display, axis=(0, 1)), HAIR, atol=0.06)


def test_bystanders_stand_beside_the_subject(plain, mesh):
    choice = replace(plain, blur=0.01, bystanders=2)
    without = render_background(replace(choice, bystanders=0), SHAPE, HAIR)
    shown = render_background(choice, SHAPE, HAIR, mesh)
    changed = np.abs(shown - without).max(axis=2) > 0.05
    assert 0.02 < changed.mean() < 0.9


def test_the_size_changes_only_the_resolution(plain):
    choice = replace(plain, kind="room", blur=0.02)
    large = render_background(choice, (400, 300), HAIR)
    small = render_background(choice, SHAPE, HAIR)
    reduced = cv2.resize(large, SHAPE[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(reduced.ravel(), small.ravel())[0, 1] > 0.9


@pytest.mark.render
def test_places_are_photographed(plain):
    choice = replace(plain, kind="place", detail="city", blur=0.004)
    display = render_background(choice, SHAPE, HAIR)
    assert display.shape == (*SHAPE, 3) and display.std() > 0.03


def test_bystanders_wear_their_hair_in_different_ways(mesh):
    """Some have hair that hangs or is tied: quads beyond those of the body."""
    figures = [bystanders._figure(np.random.default_rng(k), mesh) for k in range(30)]
    for corners, colors, _ in figures:
        assert np.isfinite(corners).all() and len(colors) == len(corners)
    hanging = [bystanders._wear_hair(*_bare(mesh, k)) for k in range(30)]
    assert 5 < sum(len(quads) > 0 for quads in hanging) < 25


def _bare(mesh, seed):
    return np.random.default_rng(seed), bystanders._regions(mesh), mesh.vertices.copy()
