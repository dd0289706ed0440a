"""Distances on a grid, against a ball whose distances are known."""

import numpy as np
import pytest

from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import rotation, transform

CENTER, RADIUS = np.array([0.02, -0.01, 0.03]), 0.08


@pytest.fixture(scope="module")
def ball():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(5000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return SignedDistance.around(
        [(CENTER + RADIUS * normals, normals)], [-0.2] * 3, [0.2] * 3, 0.008
    )


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(1).uniform(-0.15, 0.15, (2000, 3))


def test_distances_are_those_to_the_surface_with_their_sign(ball, points):
    exact = np.linalg.norm(points - CENTER, axis=1) - RADIUS
    found = ball(points)
    near = np.abs(exact) < 0.02
    assert np.abs(found - exact)[near].max() < 0.002
    assert np.abs(found - exact).max() < 0.012
    assert (np.sign(found) == np.sign(exact))[np.abs(exact) > 0.003].all()


def test_outward_points_away_from_the_surface(ball, points):
    exact = (points - CENTER) / np.linalg.norm(points - CENTER, axis=1, keepdims=True)
    near = np.abs(np.linalg.norm(points - CENTER, axis=1) - RADIUS) < 0.02
    assert ((ball.outward(points) * exact).sum(axis=1)[near] > 0.98).all()


def test_pushed_out_keeps_a_clearance_and_leaves_the_rest(ball, points):
    pushed = ball.pushed_out(points, 0.004)
    outside = ball(points) > 0.004
    np.testing.assert_array_equal(pushed[outside], points[outside])
    just_inside = (ball(points) < 0.004) & (ball(points) > -0.012)
    assert ball(pushed[just_inside]).min() > 0.001


def test_another_frame_has_the_same_surfaces(ball, points):
    matrix = np.eye(4)
    matrix[:3, :3] = 1.3 * rotation((1, 2, 3), 40)
    matrix[:3, 3] = [0.5, -0.2, 0.1]
    np.testing.assert_allclose(
        ball.moved(matrix)(transform(matrix, points)), 1.3 * ball(points), atol=1e-9
    )


def test_surfaces_out_of_the_box_are_refused():
    far = np.array([[5.0, 5.0, 5.0]])
    with pytest.raises(ValueError, match="within the box"):
        SignedDistance.around([(far, far)], [0, 0, 0], [1, 1, 1], 0.1)
