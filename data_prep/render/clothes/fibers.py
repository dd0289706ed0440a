"""Short fibers on cloth: fur trimmings and the fuzz of knits, as strands."""

from __future__ import annotations

import numpy as np

from data_prep.render.base.geometry import PolygonMesh, vertex_normals
from data_prep.render.base.vectors import unit


def scattered(
    rng: np.random.Generator, mesh: PolygonMesh, count: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Random points of a mesh, evenly by area times weight, and normals there.

    Parameters
    ----------
    weight : (V,) ndarray, optional
        Density at the vertices, not negative.

    Returns
    -------
    points, normals : (count, 3) ndarray
    """
    faces = mesh.faces
    if faces.shape[1] == 4:
        faces = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    a, b, c = (mesh.vertices[faces[:, k]] for k in range(3))
    shares = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if weight is not None:
        shares = shares * weight[faces].mean(axis=1)
    chosen = faces[rng.choice(len(faces), count, p=shares / shares.sum())]
    along = rng.random((count, 2))
    beyond = along.sum(axis=1) > 1
    along[beyond] = 1 - along[beyond]
    corners = np.column_stack([1 - along.sum(axis=1), along])
    normals = vertex_normals(mesh.vertices, mesh.faces)
    points = np.einsum("nk,nkc->nc", corners, mesh.vertices[chosen])
    return points, unit(np.einsum("nk,nkc->nc", corners, normals[chosen]))


def fiber_strands(
    rng: np.random.Generator,
    roots: np.ndarray,
    normals: np.ndarray,
    length: float,
    *,
    steps: int = 6,
    disorder: float = 0.5,
    droop: float = 0.5,
    curl: float = 0.0,
) -> np.ndarray:
    """Fibers that stand on a surface and bend down.

    Parameters
    ----------
    roots, normals : (S, 3) ndarray
    length : float
        Median length in meters.
    steps : int, default 6
        Points of a fiber.
    disorder : float, default 0.5
        Spread of the directions about the normals.
    droop : float, default 0.5
        How far the ends have turned to the ground.
    curl : float, default 0
        Spread of the direction from point to point.

    Returns
    -------
    (S, steps, 3) ndarray
        Root first.
    """
    count = len(roots)
    lengths = length * np.exp(rng.normal(0, 0.25, count)).clip(0.4, 1.8)
    directions = unit(normals + disorder * rng.normal(size=(count, 3)))
    # None may start into the cloth.
    inward = np.minimum(np.einsum("nc,nc->n", directions, normals) - 0.15, 0)
    directions = unit(directions - inward[:, None] * normals)
    points = [roots - 0.0005 * normals]
    stride = (lengths / (steps - 1))[:, None]
    for _ in range(steps - 1):
        points.append(points[-1] + stride * directions)
        bend = np.array([0.0, 0.0, -droop / (steps - 1)])
        directions = unit(directions + bend + curl * rng.normal(size=(count, 3)))
    return np.stack(points, axis=1)
