"""Polygon meshes as arrays."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial import ConvexHull

from data_prep.render.base.geometry import (
    PolygonMesh,
    border_loops,
    clipped,
    edges_of,
    grid_faces,
    hemmed,
    largest_component,
    merged,
    neighbor_average,
    quad_samples,
    resampled,
    smoothed,
    tube,
    vertex_normals,
)


def sphere(count=600):
    """A closed triangle mesh of the unit sphere, outside out."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    points = np.stack(
        [np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1
    )
    faces = ConvexHull(points).simplices
    a, b, c = (points[faces[:, i]] for i in range(3))
    inward = np.einsum("nc,nc->n", np.cross(b - a, c - a), a) < 0
    faces[inward] = faces[inward][:, ::-1]
    return PolygonMesh(points, faces.astype(np.int64), {"height": points[:, 2]})


def area(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()


def volume(mesh):
    """Signed: positive where faces look outward."""
    faces = mesh.faces
    if faces.shape[1] == 4:
        faces = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    a, b, c = (mesh.vertices[faces[:, i]] for i in range(3))
    return np.einsum("nc,nc->", a, np.cross(b, c)) / 6


def test_normals_of_a_sphere_are_its_radii():
    mesh = sphere()
    assert_allclose(vertex_normals(mesh.vertices, mesh.faces), mesh.vertices, atol=0.05)


@pytest.mark.parametrize("level", [-0.5, 0.0, 0.3])
def test_clipping_keeps_the_part_below_and_cuts_on_the_line(level):
    mesh = sphere(3000)
    part = clipped(mesh, mesh.vertices[:, 2] - level)
    assert area(part) == pytest.approx(2 * np.pi * (1 + level), rel=0.01)
    (loop,) = border_loops(part.faces)
    assert_allclose(part.vertices[loop, 2], level, atol=1e-9)
    assert_allclose(part.attributes["height"], part.vertices[:, 2], atol=1e-12)


def test_both_sides_of_a_cut_fit_together():
    mesh = sphere()
    height = mesh.vertices @ [0.3, 0.5, 0.8] - 0.1
    both = merged([clipped(mesh, height), clipped(mesh, -height)])
    assert area(both) == pytest.approx(area(mesh), rel=1e-9)
    assert volume(both) == pytest.approx(volume(mesh), rel=1e-9)


def test_clipping_away_everything_leaves_nothing():
    mesh = sphere()
    assert len(clipped(mesh, np.ones(len(mesh.vertices))).faces) == 0


def test_the_largest_component_is_kept():
    small = sphere(60)
    both = merged([small, sphere(600).moved(sphere(600).vertices + 5)])
    kept = largest_component(both)
    assert len(kept.vertices) == 600
    assert kept.vertices.min() > 3


def test_a_hem_turns_open_edges_in():
    half = clipped(sphere(), sphere().vertices[:, 2])
    hem = hemmed(half, 0.01)
    (loop,) = border_loops(hem.faces)
    gaps = np.linalg.norm(hem.vertices[loop][:, None] - half.vertices[None], axis=2)
    assert_allclose(gaps.min(axis=1), 0.01, rtol=0.02)
    assert (np.linalg.norm(hem.vertices[loop], axis=1) < 0.9901).all()
    assert area(hem) == pytest.approx(area(half) + 2 * np.pi * 0.01, rel=0.01)
    # Faces stay consistently oriented: no directed edge occurs twice.
    codes = edges_of(hem.faces) @ [len(hem.vertices), 1]
    assert len(np.unique(codes)) == len(codes)


def test_samples_interpolate_and_are_dense():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0.0]])
    samples = quad_samples(vertices, np.array([[0, 1, 2, 3], [1, 4, 5, 2]]), 0.1)
    assert_allclose(samples.sum(axis=1), 1)
    points = samples @ vertices
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min(axis=1).max() <= 0.1 + 1e-9


def test_smoothing_shrinks_noise_and_keeps_a_straight_border():
    rng = np.random.default_rng(0)
    rows, columns = 12, 15
    y, x = np.mgrid[:rows, :columns].astype(float)
    flat = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    rough = flat + [0, 0, 1] * rng.normal(0, 0.1, (len(flat), 1))
    average = neighbor_average(grid_faces(rows, columns), len(flat))
    assert_allclose(average.sum(axis=1), 1)
    smooth = smoothed(rough, average, 10)
    assert smooth[:, 2].std() < 0.4 * rough[:, 2].std()
    # Away from the corners an open edge stays where it is.
    edge = (flat[:, 1] == 0) & (np.abs(flat[:, 0] - 7) < 3)
    assert_allclose(smoothed(flat, average, 3)[edge], flat[edge], atol=1e-12)


@pytest.mark.parametrize("closed", [False, True])
def test_a_tube_is_closed_and_looks_outward(closed):
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False) if closed else np.linspace(0, 4, 40)
    path = np.stack([np.cos(turn), np.sin(turn), 0.1 * np.sin(2 * turn)], axis=1)
    mesh = tube(path, 0.05, sides=12, closed=closed)
    assert border_loops(mesh.faces) == []
    last = path[:1] if closed else path[-1:]
    lengths = np.linalg.norm(np.diff(path, axis=0, append=last), axis=1)
    assert volume(mesh) == pytest.approx(np.pi * 0.05**2 * lengths.sum(), rel=0.06)


def test_resampling_spaces_points_evenly():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 3, 0], [0, 3, 0.0]])
    points = resampled(square, 16, closed=True)
    assert_allclose(points[0], square[0])
    steps = np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1)
    assert_allclose(steps, 0.5, atol=1e-9)
