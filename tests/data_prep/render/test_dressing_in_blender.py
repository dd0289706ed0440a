"""Clothes and accessories as Blender objects."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.render.base.randomness import generator
from data_prep.render.clothes.accessories import AccessoriesChoice, build_accessories
from data_prep.render.clothes.clothing import (
    STYLES,
    ClothingChoice,
    build_clothing,
    choose_clothing,
)
from data_prep.render.clothes.glasses import GlassesChoice
from data_prep.render.clothes.hats import choose_hat
from data_prep.render.clothes.jewelry import EarringChoice
from data_prep.render.clothes.scarves import choose_scarf
from data_prep.render.people.expression import build_subject, choose_pose
from data_prep.render.people.person import choose_person

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def subject(mesh):
    return build_subject(
        mesh, choose_person(generator(4, 1, "person")), choose_pose(generator(4, 1, "pose"))
    )


@pytest.fixture(autouse=True)
def scene():
    from data_prep.render.base.blender import fresh_scene

    return fresh_scene()


def outfit(kind):
    for number in range(3000):
        person = choose_person(generator(9, number, "person"))
        choice = choose_clothing(generator(9, number, "clothing"), person)
        if choice.layers[-1].kind == kind:
            return choice
    raise AssertionError(f"nobody wears a {kind}")


def first(draws):
    return next(choice for choice in draws if choice)


@pytest.mark.parametrize("kind", STYLES)
def test_every_garment_is_built_and_hides_its_part_of_the_body(subject, kind):
    clothing = build_clothing(outfit(kind), subject, generator(4, 1, "build clothing"))
    assert clothing.covered.sum() > 2000
    assert np.isfinite(clothing.points).all()
    for thing in clothing.objects:
        if thing.name.endswith("shell"):
            # Subdividing a garment costs a minute of scene building.
            assert len(thing.modifiers) == 0
            assert len(thing.data.polygons) < 60_000
            assert thing.data.uv_layers


def test_fur_and_fuzz_are_strands(subject):
    coat = outfit("coat")
    layers = tuple(replace(layer, fuzz=0.005) for layer in coat.layers)
    layers = (*layers[:-1], replace(layers[-1], trim="fur"))
    clothing = build_clothing(ClothingChoice("furs", layers), subject, generator(4, 1, "fur"))
    assert sum(thing.type == "CURVES" for thing in clothing.objects) == 3


def test_everything_can_be_worn_at_once(subject):
    shirt = build_clothing(outfit("t-shirt"), subject, generator(4, 1, "build clothing"))
    person = replace(subject.person, sex="female")
    choice = AccessoriesChoice(
        glasses=GlassesChoice("round", "metal", "b08d4f", "", 1.0, 0.0008, 0.001),
        hat=first(choose_hat(generator(4, n, "hat"), person, "bob") for n in range(500)),
        scarf=first(choose_scarf(generator(4, n, "scarf"), person, "t-shirt") for n in range(500)),
        earrings=EarringChoice("hoop", "d4a94e", "7a1226", 0.012, 0.03, (1, -1)),
    )
    worn = build_accessories(choice, subject, shirt, generator(4, 1, "build accessories"))
    names = {thing.name.split(".")[0].split(" ")[0] for thing in worn.objects}
    assert {"glasses", "hat", "scarf", "earring"} <= names
    # The matte sees through clear lenses, and only through those.
    assert [thing.name for thing in worn.objects if thing.get("clear")] == ["glasses lenses"]
    assert worn.hair_cap is not None and len(worn.points) == len(worn.normals) > 1000


def test_dark_lenses_are_opaque(subject):
    shirt = build_clothing(outfit("t-shirt"), subject, generator(4, 1, "build clothing"))
    dark = GlassesChoice("aviator", "metal", "b08d4f", "0a0a0b", 1.0, 0.0008, 0.001)
    choice = AccessoriesChoice(dark, None, None, None)
    worn = build_accessories(choice, subject, shirt, generator(4, 1, "build accessories"))
    assert worn.objects and not any(thing.get("clear") for thing in worn.objects)
