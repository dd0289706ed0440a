"""The mathematics of strands, on strands small enough to reason about."""

import numpy as np
import pytest

from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.hair.strands import (
    Strands,
    astray,
    braid,
    clumped,
    curled,
    grow,
    interpolated,
    lengths_of,
    locks_of,
    rope,
    ruffled,
    sample_roots,
    share_above,
    trimmed,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def sphere():
    """Distances to a ball of radius 0.1 m about the origin."""
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(6000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return SignedDistance.around([(0.1 * normals, normals)], [-0.2] * 3, [0.2] * 3, 0.008)


def straight(count, points=9, length=0.1):
    """`count` hairs that hang straight down, side by side along x."""
    hairs = np.zeros((count, points, 3), dtype=np.float32)
    hairs[:, :, 0] = 0.01 * np.arange(count)[:, None]
    hairs[:, :, 2] = -length * np.linspace(0, 1, points)
    return hairs


def test_roots_lie_on_triangles_evenly_by_area_and_density(rng):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [5, 0, 0], [3, 1, 0]], float)
    up = np.tile([0.0, 0.0, 1.0], (6, 1))
    skin = PolygonMesh(
        vertices, np.array([[0, 1, 2], [3, 4, 5]]), {"rest": 2 * vertices, "normals": up}
    )
    roots = sample_roots(rng, skin, np.array([1, 1, 1, 0.5, 0.5, 0.5]), 8000)
    # The second triangle has twice the area and half the density.
    assert abs((roots.points[:, 0] > 2).mean() - 0.5) < 0.03
    np.testing.assert_allclose(roots.rest, 2 * roots.points)
    first = roots.points[roots.points[:, 0] < 2]
    assert (first.sum(axis=1) <= 1 + 1e-9).all()
    np.testing.assert_allclose(first.mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.02)


def test_nothing_grows_where_the_density_is_zero(rng):
    vertices = np.eye(3)
    skin = PolygonMesh(vertices, np.array([[0, 1, 2]]), {"rest": vertices, "normals": vertices})
    assert len(sample_roots(rng, skin, np.zeros(3), 5)) == 0


def test_a_strand_without_pull_is_straight_and_as_long_as_asked():
    grown = grow(np.zeros((2, 3)), np.array([[2.0, 0, 0], [0, 0, 1]]), np.array([0.1, 0.3]), 7)
    np.testing.assert_allclose(grown[:, -1], [[0.1, 0, 0], [0, 0, 0.3]], atol=1e-12)
    np.testing.assert_allclose(lengths_of(grown), [0.1, 0.3])


def test_gravity_bends_strands_down_without_stretching_them():
    grown = grow(
        np.zeros((1, 3)),
        np.array([[1.0, 0, 0]]),
        np.array([0.3]),
        40,
        pull=lambda points, done: np.array([[0, 0, -0.3]]),
    )
    heading = np.diff(grown[0], axis=0)
    assert heading[-1, 2] / np.linalg.norm(heading[-1]) < -0.99
    np.testing.assert_allclose(lengths_of(grown), 0.3)


def test_strands_slide_over_what_they_may_not_enter(sphere):
    start = np.array([[0.0, 0.0, 0.101]])
    grown = grow(
        start,
        np.array([[1.0, 0, 0.2]]),
        np.array([0.25]),
        50,
        pull=lambda points, done: np.array([[0, 0, -0.6]]),
        field=sphere,
        clearance=0.004,
    )
    radii = np.linalg.norm(grown[0], axis=1)
    assert radii.min() > 0.099
    assert radii[10:30].max() < 0.125  # it follows the ball ...
    assert grown[0, -1, 2] < 0  # ... and falls past its equator


def test_hairs_between_guides_take_their_mean_shape(rng):
    guides = straight(3)
    guides[1:, :, 1] = np.linspace(0, 0.05, 9)  # two of three lean back
    start = np.array([[0.005, 0, 0], [0.0199, 0, 0]])
    hairs = interpolated(guides, guides[:, 0], start, start)
    np.testing.assert_allclose(hairs[:, 0], start, atol=1e-7)
    assert 0.02 < hairs[0, -1, 1] < 0.03  # halfway between an upright and a leaning guide
    assert hairs[1, -1, 1] > 0.049  # nearly on a leaning one


def test_guides_kept_apart_do_not_mix():
    guides = straight(2)
    guides[0, :, 0] -= np.linspace(0, 0.05, 9)
    guides[1, :, 0] += np.linspace(0, 0.05, 9)
    side = np.array([-1.0, 1.0])
    features = np.column_stack([guides[:, 0], side])
    start = np.array([[0.0049, 0, 0], [0.0051, 0, 0]])
    hairs = interpolated(guides, features, start, np.column_stack([start, side]))
    assert hairs[0, -1, 0] < -0.03 and hairs[1, -1, 0] > 0.04


def test_clumping_draws_tips_together_and_leaves_roots(rng):
    hairs = straight(20)
    lock, centers = locks_of(rng, hairs[:, 0], 2)
    clumps = clumped(hairs, lock, centers, 1.0, 1.0)
    np.testing.assert_array_equal(clumps[:, 0], hairs[:, 0])
    for number in range(2):
        members = lock == number
        before, after = (np.ptp(h[members, -1, 0]) for h in (hairs, clumps))
        np.testing.assert_allclose(after, 0.2 * before, rtol=1e-5)
    np.testing.assert_array_equal(clumped(hairs, lock, centers, 0.0, 1.0), hairs)


def test_curls_keep_their_radius_and_make_as_many_turns_as_fit(rng):
    hairs = straight(40, points=200, length=0.2)
    lock = np.zeros(40, dtype=int)
    curls = curled(
        rng, hairs, np.full(40, 0.2), lock, radius=0.005, pitch=0.02, begin=0.05, looseness=0.0
    )
    off = (curls - hairs)[:, 20:, :2]
    radii = np.linalg.norm(off, axis=2)
    assert np.ptp(radii) < 1e-4 and 0.001 < radii.mean() < 0.010
    angles = np.unwrap(np.arctan2(off[..., 1], off[..., 0]), axis=1)
    turns = np.abs(angles[:, -1] - angles[:, 0]) / (2 * np.pi) / (179 / 199)
    assert np.ptp(turns) < 1e-2  # alike within a lock
    assert 6 < turns[0] < 14  # 10 on average


def test_ruffling_grows_from_the_root(rng):
    hairs = straight(50, points=30)
    moved = np.linalg.norm(ruffled(rng, hairs, np.full(50, 0.1), 0.002) - hairs, axis=2)
    assert moved[:, 0].max() == 0
    assert 0.0005 < moved[:, 10:].mean() < 0.003


def test_flyaways_stand_off_and_tied_ones_come_back(rng):
    hairs = straight(200, points=21)
    reach = np.where(np.arange(200) < 100, 0.012, 0.0)
    outward = np.tile([0.0, -1.0, 0.0], (200, 1))
    lengths = np.full(200, 0.1)
    free = astray(rng, hairs, lengths, outward, reach) - hairs
    tied = astray(rng, hairs, lengths, outward, reach, tied=True) - hairs
    assert not free[100:].any() and not tied[100:].any()
    assert 0.008 < np.linalg.norm(free[:100, -1], axis=1).mean() < 0.016
    assert free[:100, -1, 1].mean() < -0.004
    assert np.linalg.norm(free, axis=2).max() <= 0.035 + 1e-6  # a third of the hair
    assert np.abs(tied[:, -1]).max() < 1e-6 and np.abs(tied[:100, 10]).max() > 0.004


def test_trimmed_hairs_end_where_they_were_cut():
    hairs = straight(3)
    cut = trimmed(hairs, np.array([0.25, 0.6, 1.0]))
    np.testing.assert_allclose(lengths_of(cut), [0.025, 0.06, 0.1], rtol=1e-5)
    np.testing.assert_allclose(cut[2], hairs[2])


def test_a_hem_cuts_at_a_height():
    hairs = straight(3)
    share = share_above(hairs, np.array([-0.03, -0.055, -1.0]))
    np.testing.assert_allclose(trimmed(hairs, share)[:, -1, 2], [-0.03, -0.055, -0.1], atol=1e-6)


def test_a_rope_stays_within_its_radius(rng):
    radius = np.full(40, 0.004)
    hairs = rope(rng, straight(2, points=40), 200, radius, pitch=0.03)
    assert hairs.shape == (400, 40, 3)
    off = hairs[:200, :, :2] - straight(2, points=40)[0, :, :2]
    assert 0.0035 < np.linalg.norm(off, axis=2).max() <= 0.004 + 1e-6


def test_plaits_of_a_braid_change_sides_and_depth(rng):
    middle = straight(1, points=120, length=0.3)
    hairs = braid(rng, middle, 50, np.full(120, 0.015), pitch=0.1)
    plaits = hairs.reshape(3, 50, 120, 3).mean(axis=1) - middle
    across = plaits[:, :, :2] / 0.015
    # Every plait visits both sides, and where two meet one is before the other.
    spread = np.abs(across).max(axis=1)
    assert (spread.max(axis=1) > 0.5).all()
    for a, b in ((0, 1), (1, 2), (2, 0)):
        assert np.linalg.norm(across[a] - across[b], axis=1).min() > 0.3


def test_hair_tapers_and_moves_with_the_head():
    strands = Strands(straight(2), np.full(2, 6e-5), np.full(2, 0.5), tip=0.25)
    radii = strands.radii()
    np.testing.assert_allclose(radii[:, [0, -1]], [[6e-5, 1.5e-5]] * 2)
    assert (np.diff(radii, axis=1) < 0).all()
    matrix = np.eye(4)
    matrix[:3, 3] = [1, 2, 3]
    moved = strands.moved(matrix)
    np.testing.assert_allclose(moved.points, straight(2) + np.float32([1, 2, 3]), atol=1e-6)
