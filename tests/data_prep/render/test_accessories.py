"""Glasses, hats, scarves and earrings: who wears them, and that they fit."""

from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.geometry import border_loops, quad_samples, vertex_normals
from data_prep.render.base.randomness import generator
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import transform, unit
from data_prep.render.clothes import glasses, hats, jewelry, scarves
from data_prep.render.clothes.accessories import choose_accessories
from data_prep.render.people.expression import build_subject, choose_pose
from data_prep.render.people.head_shape import HeadShape
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="module", params=[3, 11])
def subject(request, mesh):
    rng = np.random.default_rng(request.param)
    return build_subject(mesh, choose_person(rng), choose_pose(rng))


@pytest.fixture(scope="module")
def head(subject):
    return HeadShape(subject)


@pytest.fixture(scope="module")
def skin(subject, head):
    """Distance to the head, ears included, in the axes of rest coordinates."""
    mesh = subject.mesh
    quads = mesh.faces[mesh.faces_of("body")]
    quads = quads[subject.rest[quads][:, :, 2].min(axis=1) > 0.6]
    samples = quad_samples(head.own, quads, 0.003)
    normals = unit(samples @ vertex_normals(head.own, quads))
    return SignedDistance.around(
        [(samples @ head.own, normals)], (-0.13, -0.19, 0.62), (0.13, 0.09, 0.88), 0.004
    )


@pytest.fixture(scope="module")
def drawn():
    """People with their accessories."""
    result = []
    for number in range(1500):
        person = choose_person(generator(4, number, "person"))
        rng = generator(4, number, "accessories")
        result.append((person, choose_accessories(rng, person, "bob", "t-shirt")))
    return result


def test_the_same_stream_gives_the_same_accessories(drawn):
    person, choice = drawn[5]
    assert choose_accessories(generator(4, 5, "accessories"), person, "bob", "t-shirt") == choice


def test_accessories_survive_json(drawn):
    for _, choice in drawn[:50]:
        assert_survives_json(choice)


def test_older_people_wear_glasses_more_often(drawn):
    old = [choice.glasses is not None for person, choice in drawn if person.years > 50]
    young = [choice.glasses is not None for person, choice in drawn if person.years < 35]
    assert np.mean(old) == pytest.approx(0.40, abs=0.09)
    assert np.mean(young) == pytest.approx(0.17, abs=0.05)


@pytest.mark.parametrize("sex", ["female", "male"])
def test_shares_are_those_of_the_tables(drawn, sex):
    choices = [choice for person, choice in drawn if person.sex == sex]
    for kind, shares in (
        ("hat", hats.WEARERS),
        ("scarf", scarves.WEARERS),
        ("earrings", jewelry.WEARERS),
    ):
        worn = np.mean([getattr(choice, kind) is not None for choice in choices])
        spread = np.sqrt(shares[sex] * (1 - shares[sex]) / len(choices))
        assert abs(worn - shares[sex]) < 4 * spread


@pytest.mark.parametrize("style", hats.HATLESS)
def test_no_hat_on_hair_worn_high(style):
    person = choose_person(generator(4, 0, "person"))
    for number in range(100):
        rng = generator(4, number, "accessories")
        assert choose_accessories(rng, person, style, "t-shirt").hat is None


@pytest.mark.parametrize("outfit", scarves.SCARFLESS)
def test_no_scarf_over_a_high_collar(outfit):
    person = choose_person(generator(4, 0, "person"))
    for number in range(100):
        rng = generator(4, number, "accessories")
        assert choose_accessories(rng, person, "bob", outfit).scarf is None


def some_glasses(frame, material="plastic"):
    return glasses.GlassesChoice(frame, material, "0e0e10", "", 1.0, 0.0016, 0.001)


@pytest.mark.parametrize("frame", glasses.FRAMES)
def test_lenses_are_before_the_eyes_and_off_the_face(head, skin, frame):
    pair = glasses.fit_glasses(some_glasses(frame), head)
    lenses = pair.lenses.vertices
    for eye in head.eyes:
        own = lenses[lenses[:, 0] * eye[0] > 0]
        assert own[:, 0].min() < eye[0] < own[:, 0].max()
        assert own[:, 2].min() < eye[2] < own[:, 2].max()
        gap = eye[1] - head.eye_radius - own[:, 1].max()
        assert gap > 0.004
    assert skin(lenses).min() > 0.001
    assert skin(lenses).min() < 0.02


@pytest.mark.parametrize("material", glasses.MATERIALS)
def test_frames_do_not_cut_through_the_face(head, skin, material):
    pair = glasses.fit_glasses(some_glasses("rectangle", material), head)
    # Behind the ear the temples disappear between ear and skull.
    before_ears = pair.frame.vertices[pair.frame.vertices[:, 1] < -0.06]
    assert skin(before_ears).min() > -0.0015


def test_a_narrower_person_has_the_same_glasses_closer(head):
    wide = glasses.fit_glasses(some_glasses("round"), head).frame.vertices
    assert np.ptp(wide[:, 0]) == pytest.approx(0.135, abs=0.025)
    # Symmetric within the asymmetry of the face.
    assert wide[:, 0].max() == pytest.approx(-wide[:, 0].min(), abs=0.006)


def some_hat(kind):
    choices = (
        hats.choose_hat(generator(4, number, "hat"), replace_sex(number), "bob")
        for number in range(6000)
    )
    return next(choice for choice in choices if choice and choice.kind == kind)


def replace_sex(number):
    person = choose_person(generator(4, 0, "person"))
    return replace(person, sex=("female", "male")[number % 2])


@pytest.mark.parametrize("kind", hats.EDGES)
def test_hats_enclose_the_skull_and_no_ears(head, skin, kind):
    hat = hats.fit_hat(np.random.default_rng(0), some_hat(kind), head)
    crown = hat.parts["crown"].vertices[2 * hats.COLUMNS :]
    assert np.quantile(skin(crown), 0.02) > 0.0005
    top = head.points[head.rest[:, 2] > 0.815]
    if kind != "headband":
        assert hats.covers(hat, top).mean() > 0.99
    ears = head.points[(np.abs(head.rest[:, 0]) > 0.073) & (head.rest[:, 2] < 0.73)]
    face = head.points[(head.rest[:, 2] < 0.73) & (head.rest[:, 1] < -0.1)]
    assert not hats.covers(hat, ears).any()
    assert not hats.covers(hat, face).any()


@pytest.mark.parametrize("kind", ["beanie", "cap", "fedora"])
def test_hair_outside_a_hat_is_not_covered(head, kind):
    hat = hats.fit_hat(np.random.default_rng(0), some_hat(kind), head)
    crown = transform(np.linalg.inv(hat.turn), hat.parts["crown"].vertices)
    high = crown[crown[:, 2] > 0.05]
    outside = transform(hat.turn, high * 1.15)
    assert not hats.covers(hat, outside).any()
    assert hats.covers(hat, transform(hat.turn, high * 0.9)).mean() > 0.99


def test_a_hat_moves_with_the_head(subject, head):
    hat = hats.fit_hat(np.random.default_rng(0), some_hat("beanie"), head)
    cap = hats.hair_cap(hat, subject)
    top = head.points[head.rest[:, 2] > 0.82]
    assert cap(transform(subject.head, top)).all()
    assert not cap(transform(subject.head, top) + [0, 0, 0.3]).any()


@pytest.mark.parametrize("turns", [1, 2])
def test_a_scarf_is_closed_and_lies_on_skin(subject, turns):
    rng = np.random.default_rng(1)
    fabric = scarves.choose_fabric(rng, {"wool": 1}, {"plain": 1})
    choice = scarves.ScarfChoice(fabric, 0.05, 0.016, turns, 0.3, 1, 0.0)
    below = scarves.around_neck(subject, np.empty((0, 3)), np.empty((0, 3)))
    scarf = scarves.wind_scarf(rng, choice, subject, below)
    assert len(border_loops(scarf.faces)) == 2  # both ends of what hangs down
    gaps = below(scarf.vertices)
    assert np.quantile(gaps, 0.02) > 0.001
    neck = subject.joint("joint-neck")
    ring = scarf.vertices[: turns * scarves.ALONG * scarves.ACROSS]
    assert np.abs(ring - neck).max() < 0.2
    # It goes all the way around.
    angle = np.arctan2(ring[:, 0] - neck[0], ring[:, 1] - neck[1] + 0.03)
    assert np.diff(np.sort(angle)).max() < 0.2


@pytest.mark.parametrize("kind", jewelry.KINDS)
def test_earrings_hang_at_the_lobes(kind):
    radius, lobe = np.mean(jewelry.RADII[kind]), np.array([0.075, -0.04, 0.69])
    choice = jewelry.EarringChoice(kind, "d4a94e", "7a1226", radius, 0.03, (1, -1))
    parts = jewelry.hang_earring(choice, lobe, np.array([1.0, 0, 0]))
    points = np.concatenate([part.vertices for part in parts.values()])
    assert np.linalg.norm(points - lobe, axis=1).min() < 0.008
    assert points[:, 2].max() < lobe[2] + 0.012
    for part in parts.values():
        assert border_loops(part.faces) == []


def test_ears_are_found_on_both_sides(head):
    for side in (1, -1):
        root, lobe = head.ear_points(side)
        assert side * root[0] > 0.055 and side * lobe[0] > 0.055
        assert lobe[2] < root[2] - 0.03
