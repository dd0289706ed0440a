"""Skin, eyes and teeth as Blender objects."""

import numpy as np
import pytest

from data_prep.render.base.randomness import generator
from data_prep.render.people.expression import build_subject, choose_pose
from data_prep.render.people.person import choose_person
from data_prep.render.people.skin import choose_skin

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def subject(mesh):
    return build_subject(
        mesh, choose_person(generator(4, 1, "person")), choose_pose(generator(4, 1, "pose"))
    )


@pytest.fixture
def choice(subject):
    return choose_skin(generator(4, 1, "skin"), subject.person, generator(4, 1, "pattern"))


@pytest.fixture(autouse=True)
def scene():
    from data_prep.render.base.blender import fresh_scene

    return fresh_scene()


def test_the_skin_carries_its_masks_and_lies_on_the_subject(subject, choice):
    from data_prep.render.base.blender import surface_arrays
    from data_prep.render.people.skin import build_skin

    scalp = (subject.rest[:, 2] > 0.8).astype(float)
    skin = surface_arrays(build_skin(choice, subject, scalp=scalp))
    assert {"rest", "scalp", "flush", "beard", "lips", "lids"} <= set(skin)
    crown = skin["rest"][skin["scalp"] > 0.5]
    assert crown[:, 2].min() > 0.78
    head = subject.vertices[subject.rest[:, 2] > 0.7]
    shown = skin["vertices"][skin["rest"][:, 2] > 0.7]
    np.testing.assert_allclose(shown.mean(axis=0), head.mean(axis=0), atol=0.03)


def test_quads_under_clothes_are_left_out(subject, choice):
    from data_prep.render.base.blender import surface_arrays
    from data_prep.render.people.skin import build_skin

    covered = subject.rest[:, 2] < 0.5
    skin = surface_arrays(build_skin(choice, subject, covered=covered))
    assert skin["rest"][:, 2].min() > 0.42


def test_both_eyes_look_where_the_subject_looks(subject):
    from data_prep.render.base.blender import surface_arrays
    from data_prep.render.people.eyes import build_eyes

    for thing, eye in zip(build_eyes(subject), subject.eyes):
        ball = surface_arrays(thing)
        pupil = ball["vertices"][ball["angle"].argmin()] - eye.center
        assert pupil @ eye.gaze / np.linalg.norm(pupil) > 0.999


def test_teeth_are_behind_the_lips(subject):
    from data_prep.render.base.blender import surface_arrays
    from data_prep.render.people.mouth import build_mouth
    from data_prep.render.people.skin import painted_regions

    teeth, _ = build_mouth(subject)
    to_head = np.linalg.inv(subject.head)
    lips = subject.vertices[painted_regions(subject.mesh)["lips"] > 0.5]

    def foremost(points):
        return (points @ to_head[:3, :3].T + to_head[:3, 3])[:, 1].min()

    assert foremost(lips) < foremost(surface_arrays(teeth)["vertices"])
