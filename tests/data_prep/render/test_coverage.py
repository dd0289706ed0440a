"""Coverage against what is known of simple shapes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from data_prep.render.base.geometry import Geometry
from data_prep.render.shot.camera import View
from data_prep.render.shot.coverage import Lens, coverage

SHAPE = (30, 40)  # (H, W)
# At depth 1 a pixel is 1/30; the camera looks along -z from the origin.
VIEW = View(np.eye(4), 2 * math.atan(0.5))
PINHOLE = Lens(0.0, 1.0)
NOTHING = Geometry(
    np.empty((0, 3)), np.empty((0, 3), int), np.empty((0, 3)), np.empty(0), np.empty(0, int)
)


def at(pixels, depth=1.0):
    """Points of the scene that pixels (x right, y down, corner 0) show at a depth."""
    pixels = np.asarray(pixels, dtype=float)
    x, y = (pixels[:, 0] - SHAPE[1] / 2) / 30, (SHAPE[0] / 2 - pixels[:, 1]) / 30
    return np.column_stack([x, y, np.full(len(pixels), -1.0)]) * depth


def fan(pixels, depth=1.0):
    """A convex polygon."""
    k = np.arange(1, len(pixels) - 1)
    return replace(
        NOTHING,
        vertices=at(pixels, depth),
        triangles=np.column_stack([np.zeros_like(k), k, k + 1]),
    )


def line(pixels, width):
    """A strand so many pixels wide."""
    radii = np.full(len(pixels), width / 2 / 30)
    return replace(NOTHING, points=at(pixels), radii=radii, sizes=np.array([len(pixels)]))


def test_upright_edge():
    alpha = coverage(fan([(-5, -5), (12.3, -5), (12.3, 40), (-5, 40)]), VIEW, PINHOLE, SHAPE, 64)
    exact = np.clip(12.3 - np.arange(SHAPE[1]), 0, 1)
    np.testing.assert_allclose(alpha, np.tile(exact, (SHAPE[0], 1)), atol=0.01)


def test_disk():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    disk = fan(np.column_stack([20.2 + 9.7 * np.cos(angle), 14.6 + 9.7 * np.sin(angle)]))
    alpha = coverage(disk, VIEW, PINHOLE, SHAPE, 64)
    y, x = (np.mgrid[: 30 * 50, : 40 * 50] + 0.5) / 50
    inside = np.hypot(x - 20.2, y - 14.6) < 9.7
    exact = inside.reshape(30, 50, 40, 50).mean(axis=(1, 3))
    assert np.abs(alpha - exact).max() < 0.02
    assert alpha.sum() == pytest.approx(np.pi * 9.7**2, rel=1e-3)


@pytest.mark.parametrize("end", [(20.4, 27), (37, 15.3), (33, 26)])
@pytest.mark.parametrize("width", [0.05, 0.4, 3.0])
def test_strand_covers_its_width(end, width):
    start = np.array([20.1, 14.9])
    alpha = coverage(line([start, end], width), VIEW, PINHOLE, SHAPE, 256)
    length = np.hypot(*(np.array(end) - start))
    # A ribbon faces the camera, so it is a little wider off the axis of the picture.
    assert alpha.sum() == pytest.approx(width * length, rel=0.06)


def test_defocus_spreads_an_edge_over_the_disk_of_confusion():
    lens = Lens(0.25, 1.0)
    # At depth 2 the disk of confusion has a radius of 30 * 0.25 * (1 - 1/2) pixels.
    radius = 3.75
    edge = fan([(-60, -60), (20, -60), (20, 90), (-60, 90)], depth=2.0)
    alpha = coverage(edge, VIEW, lens, SHAPE, 512)
    t = np.clip((20 - (np.arange(0, 40, 0.01) + 0.005)) / radius, -1, 1)
    share = 0.5 + (t * np.sqrt(1 - t * t) + np.arcsin(t)) / np.pi
    exact = share.reshape(40, 100).mean(axis=1)
    np.testing.assert_allclose(alpha, np.tile(exact, (30, 1)), atol=0.01)


def test_what_is_in_focus_is_sharp():
    edge = fan([(-5, -5), (12.3, -5), (12.3, 40), (-5, 40)])
    alpha = coverage(edge, VIEW, Lens(0.05, 1.0), SHAPE, 64)
    np.testing.assert_array_equal(alpha, coverage(edge, VIEW, PINHOLE, SHAPE, 64))


def test_neighbors_leave_no_gap_and_threads_change_nothing():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-2:33:1.7, -2:43:1.7]
    jitter = rng.uniform(-0.5, 0.5, (2, *x.shape))
    grid = np.arange(x.size).reshape(x.shape)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    triangles = np.concatenate(
        [np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))]
    )
    pixels = np.column_stack([(x + jitter[0]).ravel(), (y + jitter[1]).ravel()])
    sheet = replace(NOTHING, vertices=at(pixels), triangles=triangles)
    assert coverage(sheet, VIEW, Lens(0.01, 1.3), SHAPE, 48).min() == 1
    strand = line([(3, 4), (20, 20), (36, 9)], 0.7)
    one, two = (coverage(strand, VIEW, Lens(0.01, 1.3), SHAPE, 48, n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_nothing_covers_nothing_and_behind_is_refused():
    assert coverage(NOTHING, VIEW, PINHOLE, SHAPE, 8).max() == 0
    with pytest.raises(ValueError, match="behind"):
        coverage(fan([(0, 0), (9, 0), (0, 9)], depth=-1.0), VIEW, PINHOLE, SHAPE, 8)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"triangles": np.array([[0, 1, -1]])}, "vertex that does not exist"),
        ({"triangles": np.array([[0, 1, 3]])}, "vertex that does not exist"),
        ({"sizes": np.array([4, -1])}, "do not agree"),
    ],
)
def test_what_lies_outside_of_the_arrays_is_refused(wrong, words):
    corners = at([(0, 0), (9, 0), (0, 9)])
    whole = Geometry(corners, np.array([[0, 1, 2]]), corners, np.ones(3), np.array([3]))
    with pytest.raises(ValueError, match=words):
        coverage(replace(whole, **wrong), VIEW, PINHOLE, SHAPE, 8)
