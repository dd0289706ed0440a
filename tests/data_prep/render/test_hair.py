"""Heads of hair: what is drawn, and what grows of it on a posed head."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.vectors import transform
from data_prep.render.hair.growth import grow_hair
from data_prep.render.hair.strands import lengths_of
from data_prep.render.hair.styles import (
    DYES,
    FAMILIES,
    STYLES,
    HairColor,
    choose_hair,
    hair_in_style,
    style_shares,
)
from data_prep.render.people.person import choose_person

FEW = 1500  # hairs, so that tests are quick


def drawn(style, posed, seed=5, **changes):
    """A head of few hairs in a style."""
    choice = hair_in_style(np.random.default_rng(seed), posed.subject.person, style)
    return replace(choice, strands=min(choice.strands, FEW), **changes)


def grown(choice, posed, seed=1, hair_cap=None):
    return grow_hair(
        np.random.default_rng(seed), choice, posed.subject.head, posed.skin, posed.field, hair_cap
    )


def in_head(strands, posed):
    """Control points in the head's frame."""
    return transform(np.linalg.inv(posed.subject.head), strands.points.astype(float))


# --- what is drawn ---------------------------------------------------------------


def test_choices_survive_json_and_repeat():
    person = choose_person(np.random.default_rng(0))
    first, second = (choose_hair(np.random.default_rng(4), person) for _ in range(2))
    assert first == second
    assert_survives_json(first)


@pytest.fixture(scope="module")
def many():
    """People and their hair: 300 people with five heads of hair each."""
    rng = np.random.default_rng(2)
    people = [choose_person(rng) for _ in range(300)]
    return [(person, choose_hair(rng, person)) for person in people for _ in range(5)]


def test_all_styles_are_drawn_and_follow_sex_and_age(many):
    people, styles = zip(*((person, hair.style) for person, hair in many))
    counts = Counter(styles)
    assert set(counts) == set(STYLES)
    assert counts.most_common(1)[0][1] < 0.15 * len(styles)
    by_sex = Counter(zip(styles, (person.sex for person in people)))
    assert by_sex["side braid", "female"] > 5 * by_sex["side braid", "male"]
    assert by_sex["balding", "female"] == 0
    ages = [p.years for p, style in zip(people, styles) if style == "balding"]
    assert np.mean(ages) > np.mean([p.years for p in people]) + 5


def test_shares_favor_coils_where_hair_is_coiled():
    person = choose_person(np.random.default_rng(0))
    african = style_shares(replace(person, ancestry=(0.9, 0.05, 0.05)))
    asian = style_shares(replace(person, ancestry=(0.05, 0.9, 0.05)))
    for style in ("afro", "locs", "box braids"):
        assert african[style] / sum(african.values()) > 5 * asian[style] / sum(asian.values())


def test_gray_is_for_the_old_and_dye_for_few(many):
    hairs = [(person, hair.color) for person, hair in many]
    old = [color.gray for person, color in hairs if person.years > 60]
    young = [color.gray for person, color in hairs if person.years < 30]
    assert np.mean(old) > 0.15 and np.mean(young) < 0.02
    dyed = np.mean([bool(color.dye) for _, color in hairs])
    assert 0.01 < dyed < 0.08
    assert all(color.dye in DYES or not color.dye for _, color in hairs)


def test_shades_darken_with_pigment_and_lighten_with_gray():
    shades = [HairColor(melanin, 0.1).shade().mean() for melanin in (0.2, 0.5, 0.9)]
    assert shades == sorted(shades, reverse=True)
    assert HairColor(0.9, 0.1, gray=0.8).shade().mean() > 0.2
    blue = HairColor(0.06, 0.1, dye="blue").shade()
    assert blue[2] == blue.max()


# --- what grows -------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_every_style_grows_clean_hair_outside_of_the_skin(style, posed):
    parts = grown(drawn(style, posed), posed)
    assert bool(parts) == (STYLES[style][0] != "none") and STYLES[style][0] in FAMILIES
    for strands in parts:
        assert np.isfinite(strands.points).all()
        assert strands.points.shape[1] <= 96
        assert ((strands.melanin >= 0) & (strands.melanin <= 1)).all()
        assert (strands.radius > 2e-5).all() and (strands.radius < 1.2e-4).all()
        if not style.endswith("bun"):  # a knot reaches into the head, unseen
            depth = -posed.field(strands.points)
            assert (depth > 0.006).mean() < 0.01  # the grid is coarse at the ears
        reach = np.linalg.norm(in_head(strands, posed) - [0, -0.04, 0.75], axis=2)
        assert reach.max() < 0.75


@pytest.mark.parametrize("style", ["crop", "long straight", "big curls", "top bun"])
def test_the_same_stream_grows_the_same_hair(style, posed):
    choice = drawn(style, posed)
    for a, b in zip(grown(choice, posed), grown(choice, posed)):
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.melanin, b.melanin)
    assert (grown(choice, posed, seed=2)[0].points != grown(choice, posed)[0].points).any()


def test_long_hair_hangs_from_the_head_past_the_chin(posed):
    hair = grown(drawn("long straight", posed), posed)[0]
    tips = in_head(hair, posed)[:, -1]
    assert np.median(tips[:, 2]) < 0.62  # the chin is at 0.627
    # It leaves the face free.
    face = in_head(hair, posed).reshape(-1, 3)
    before = (
        (face[:, 1] < -0.13)
        & (np.abs(face[:, 0]) < 0.04)
        & (face[:, 2] < 0.77)
        & (face[:, 2] > 0.64)
    )
    assert before.mean() < 0.002


def test_hair_falls_down_whichever_way_the_head_leans(posed):
    hair = grown(drawn("long straight", posed, fringe=0.0), posed)[0]
    course = hair.points[:, -1] - hair.points[:, len(hair.points[0]) // 2]
    down = -course[:, 2] / np.linalg.norm(course, axis=1)
    assert np.median(down) > 0.85


def test_a_bob_ends_at_its_hem_and_a_fringe_over_the_brows(posed):
    choice = drawn("bob with fringe", posed, flyaways=0.0, frizz=0.0, wave=(0.0, 1.0))
    points = in_head(grown(choice, posed)[0], posed)
    roots, tips = points[:, 0], points[:, -1]
    fringe = (roots[:, 1] < -0.10) & (np.abs(roots[:, 0]) < 0.03)
    assert tips[~fringe, 2].min() > choice.hem - 0.025
    assert 0.73 < np.median(tips[fringe, 2]) < 0.785
    assert np.median(tips[fringe, 1]) < -0.13


def test_buzzed_hair_is_as_short_as_said(posed):
    choice = drawn("buzz", posed, length=0.008, side_length=0.004)
    lengths = lengths_of(grown(choice, posed)[0].points) / posed.subject.head_scale
    assert 0.003 < np.median(lengths) < 0.010 and lengths.max() < 0.014


def test_an_afro_stands_off_the_head_on_all_sides(posed):
    choice = drawn("afro", posed, length=0.08)
    points = grown(choice, posed)[0].points
    assert np.median(posed.field(points[:, -1])) > 0.02


def test_tied_hair_meets_at_its_tie(posed):
    """All but the hairs that have left the others and are broken."""
    gathered = in_head(grown(drawn("high ponytail", posed), posed)[0], posed)[:, -1]
    distances = np.linalg.norm(gathered - np.median(gathered, axis=0), axis=1)
    assert (distances < 0.03).mean() > 0.75
    tips = in_head(grown(drawn("pigtails", posed), posed)[0], posed)[:, -1]
    assert (np.abs(tips[:, 0]) > 0.04).mean() > 0.75 and 0.3 < (tips[:, 0] > 0).mean() < 0.7


def test_gray_hair_is_a_mixture_of_white_and_pigmented_hairs(posed):
    choice = drawn("crop", posed, color=HairColor(0.8, 0.1, gray=0.5))
    melanin = grown(choice, posed)[0].melanin
    white = melanin < 0.1
    assert 0.35 < white.mean() < 0.7
    assert melanin[~white].min() > 0.4


def test_a_hat_hides_short_hair_and_presses_long_hair_flat(posed):
    to_head = np.linalg.inv(posed.subject.head)

    def cap(points):
        return transform(to_head, points)[:, 2] > 0.79

    short = drawn("crop", posed)
    bare, covered = (grown(short, posed, hair_cap=c)[0] for c in (None, cap))
    assert len(covered) < 0.85 * len(bare)
    long = grown(drawn("big curls", posed), posed, hair_cap=cap)[0].points
    under = cap(long.reshape(-1, 3)).reshape(long.shape[:2])
    assert under.any() and posed.field(long[under]).max() < 0.010
    assert len(long) > 0.5 * FEW


@pytest.mark.render
def test_hair_becomes_curves_with_pigment_and_a_material(posed):
    import bpy

    from data_prep.render.base.blender import fresh_scene
    from data_prep.render.hair.hair import build_hair

    fresh_scene()
    choice = drawn("bob", posed, color=HairColor(0.4, 0.2, tips=0.5, dye="rose"))
    things = build_hair(choice, posed.subject, posed.skin, posed.field, np.random.default_rng(1))
    strands = grown(choice, posed)
    assert len(things) == len(strands)
    for thing, part in zip(things, strands):
        curves = thing.data
        assert len(curves.curves) == len(part)
        pigment = np.empty(len(part), dtype=np.float32)
        curves.attributes["melanin"].data.foreach_get("value", pigment)
        np.testing.assert_allclose(pigment, part.melanin, rtol=1e-6)
        nodes = curves.materials[0].node_tree.nodes
        assert any(node.bl_idname == "ShaderNodeBsdfHairPrincipled" for node in nodes)
    assert bpy.context.scene.objects
