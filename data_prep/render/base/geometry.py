"""Surfaces as arrays: sampling, normals, smoothing, clipping, tubes and sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from data_prep.render.base.vectors import unit


@dataclass(frozen=True, eq=False)
class PolygonMesh:
    """A polygon mesh.

    Attributes
    ----------
    vertices : (V, 3) float64 ndarray
        Meters.
    faces : (F, 3) or (F, 4) int64 ndarray
        Counterclockwise seen from outside.
    attributes : dict of str to (V,) or (V, 3) ndarray
    """

    vertices: np.ndarray
    faces: np.ndarray
    attributes: dict[str, np.ndarray] = field(default_factory=dict)

    def moved(self, vertices: np.ndarray) -> PolygonMesh:
        """The same faces on other (V, 3) vertices."""
        return PolygonMesh(vertices, self.faces, self.attributes)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3), weighted by area, of triangles or quads."""
    corners = vertices[faces]
    if faces.shape[1] == 4:
        normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    else:
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.empty((len(vertices), 3))
    flat = faces.ravel()
    for axis in range(3):
        shares = np.repeat(normals[:, axis], faces.shape[1])
        sums[:, axis] = np.bincount(flat, shares, minlength=len(vertices))
    return unit(sums)


def quad_samples(vertices: np.ndarray, quads: np.ndarray, spacing: float) -> sparse.csr_array:
    """Points spread over quads, as weights of the vertices.

    Multiplied with any per-vertex array the result interpolates it: positions,
    normals, rest coordinates, bone weights.

    Parameters
    ----------
    vertices : (N, 3) ndarray
    quads : (F, 4) int ndarray
    spacing : float
        Neighboring points are at most about this far apart, in meters.

    Returns
    -------
    (M, N) sparse array
        Rows sum to 1.
    """
    corners = vertices[quads]
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).max(axis=1)
    counts = np.clip(np.ceil(sides / spacing), 1, 16).astype(int)
    indices, weights = [], []
    for count in np.unique(counts):
        chosen = quads[counts == count]
        u, v = (axis.ravel() for axis in np.meshgrid(*[(np.arange(count) + 0.5) / count] * 2))
        bilinear = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=1)
        indices.append(np.repeat(chosen, len(u), axis=0))
        weights.append(np.tile(bilinear, (len(chosen), 1)))
    columns = np.concatenate(indices).ravel()
    values = np.concatenate(weights).ravel()
    starts = np.arange(0, len(columns) + 1, 4)
    return sparse.csr_array((values, columns, starts), shape=(len(starts) - 1, len(vertices)))


def edges_of(faces: np.ndarray) -> np.ndarray:
    """Directed edges (F * corners, 2) of all faces."""
    return np.stack([faces.ravel(), np.roll(faces, -1, axis=1).ravel()], axis=1)


def neighbor_average(faces: np.ndarray, count: int) -> sparse.csr_array:
    """The (count, count) matrix that replaces each vertex by its neighbors' mean.

    On an open edge only the two neighbors along it count, so that smoothing
    does not pull the edge inward.
    """
    directed = edges_of(faces)
    once = sparse.coo_array(
        (np.ones(len(directed)), (directed[:, 0], directed[:, 1])), shape=(count, count)
    ).tocsr()
    both = ((once + once.T) > 0).astype(np.float64)
    border = ((once + once.T) == 1).astype(np.float64).tocsr()
    on_border = np.asarray(border.sum(axis=1)).ravel() > 0
    rows = sparse.diags_array(on_border * 1.0) @ border
    rows = rows + sparse.diags_array(~on_border * 1.0) @ both
    sums = np.asarray(rows.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(sums, 1)) @ rows)


def smoothed(
    values: np.ndarray, average: sparse.csr_array, steps: int, strength: float | np.ndarray = 0.5
) -> np.ndarray:
    """Move per-vertex values toward their neighbors' mean, `steps` times.

    Parameters
    ----------
    values : (V,) or (V, K) ndarray
    average : (V, V) sparse array
        From `neighbor_average`.
    steps : int
    strength : float or (V,) ndarray, default 0.5
        0 keeps a vertex, 1 replaces it.
    """
    strength = np.asarray(strength)
    if strength.ndim and values.ndim == 2:
        strength = strength[:, None]
    for _ in range(steps):
        values = values + strength * (average @ values - values)
    return values


def without_unused(surface: PolygonMesh) -> PolygonMesh:
    """The surface without the vertices that no face uses."""
    used, faces = np.unique(surface.faces, return_inverse=True)
    return PolygonMesh(
        surface.vertices[used],
        faces.reshape(surface.faces.shape),
        {name: values[used] for name, values in surface.attributes.items()},
    )


def clipped(surface: PolygonMesh, heights: np.ndarray) -> PolygonMesh:
    """The part of a triangle mesh where a function is negative.

    Triangles across zero are cut, so that the new border follows the zero line.

    Parameters
    ----------
    surface : PolygonMesh
        Triangles.
    heights : (V,) ndarray
        Value of the function at every vertex.

    Returns
    -------
    PolygonMesh
        Attributes interpolated at the cut.
    """
    faces = surface.faces
    # Exactly zero would make triangles without area.
    heights = np.where(np.abs(heights) < 1e-9, 1e-9, heights)
    inside = heights < 0
    kept_corners = inside[faces].sum(axis=1)
    parts = [faces[kept_corners == 3]]

    keys: list[np.ndarray] = []
    pieces: list[np.ndarray] = []  # corners >= 0, or ~row in `keys`
    offset = 0
    for lone_inside in (True, False):
        cut = faces[kept_corners == (1 if lone_inside else 2)]
        lone = np.argmax(inside[cut] == lone_inside, axis=1)
        a, b, c = (cut[np.arange(len(cut)), (lone + k) % 3] for k in range(3))
        first = offset + np.arange(len(cut))
        second = first + len(cut)
        keys += [np.stack([a, b], axis=1), np.stack([a, c], axis=1)]
        offset += 2 * len(cut)
        if lone_inside:
            pieces.append(np.stack([a, ~first, ~second], axis=1))
        else:
            pieces += [np.stack([~first, b, c], axis=1), np.stack([~first, c, ~second], axis=1)]
    pairs = np.sort(np.concatenate(keys), axis=1)
    unique, where = np.unique(pairs, axis=0, return_inverse=True)
    where = where.ravel()
    cut_faces = np.concatenate(pieces)
    new = cut_faces < 0
    cut_faces[new] = len(surface.vertices) + where[~cut_faces[new]]

    low, high = unique[:, 0], unique[:, 1]
    share = heights[low] / (heights[low] - heights[high])

    def extended(values: np.ndarray) -> np.ndarray:
        t = share if values.ndim == 1 else share[:, None]
        return np.concatenate([values, values[low] * (1 - t) + values[high] * t])

    attributes = {name: extended(values) for name, values in surface.attributes.items()}
    vertices = extended(surface.vertices)
    return without_unused(PolygonMesh(vertices, np.concatenate([*parts, cut_faces]), attributes))


def largest_component(surface: PolygonMesh) -> PolygonMesh:
    """The connected part with the most faces."""
    count = len(surface.vertices)
    pairs = edges_of(surface.faces)
    links = sparse.coo_array(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    _, labels = csgraph.connected_components(links, directed=False)
    of_faces = labels[surface.faces[:, 0]]
    kept = of_faces == np.bincount(of_faces).argmax()
    return without_unused(PolygonMesh(surface.vertices, surface.faces[kept], surface.attributes))


def border_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Closed borders of an open mesh: vertex indices in order, longest first.

    The mesh lies to the left of a loop, seen from outside.
    """
    directed = edges_of(faces)
    size = int(faces.max()) + 1
    codes = directed[:, 0] * size + directed[:, 1]
    border = directed[~np.isin(codes, directed[:, 1] * size + directed[:, 0])]
    following = dict(zip(border[:, 0].tolist(), border[:, 1].tolist()))
    loops = []
    while following:
        start, current = following.popitem()
        loop = [start]
        while current != start and current in following:
            loop.append(current)
            current = following.pop(current)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def hemmed(mesh: PolygonMesh, thickness: float) -> PolygonMesh:
    """The triangle mesh with its open edges turned in by `thickness` meters.

    Where cloth ends it shows its thickness; elsewhere one surface is enough.
    """
    directed = edges_of(mesh.faces)
    size = len(mesh.vertices)
    codes = directed[:, 0] * size + directed[:, 1]
    border = directed[~np.isin(codes, directed[:, 1] * size + directed[:, 0])]
    rim, ends = np.unique(border, return_inverse=True)
    start, end = ends.reshape(border.shape).T + size
    inner = mesh.vertices[rim] - thickness * vertex_normals(mesh.vertices, mesh.faces)[rim]
    strip = np.concatenate(
        [
            np.stack([border[:, 1], border[:, 0], start], axis=1),
            np.stack([border[:, 1], start, end], axis=1),
        ]
    )
    attributes = {
        name: np.concatenate([values, values[rim]]) for name, values in mesh.attributes.items()
    }
    return PolygonMesh(
        np.concatenate([mesh.vertices, inner]), np.concatenate([mesh.faces, strip]), attributes
    )


def resampled(points: np.ndarray, count: int, closed: bool) -> np.ndarray:
    """`count` points evenly spaced along a (K, D) polyline.

    A closed line starts where it did and does not repeat its first point.
    """
    if closed:
        points = np.concatenate([points, points[:1]])
    lengths = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(lengths)])
    wanted = np.linspace(0, along[-1], count + 1 if closed else count)
    if closed:
        wanted = wanted[:-1]
    return np.stack([np.interp(wanted, along, axis) for axis in points.T], axis=1)


def grid_faces(rows: int, columns: int, *, close_rows=False, close_columns=False) -> np.ndarray:
    """Quads between the points of a (rows, columns) grid, row by row.

    Counterclockwise where columns run to the right and rows up.
    """
    row = np.arange(rows if close_rows else rows - 1)[:, None]
    column = np.arange(columns if close_columns else columns - 1)[None]
    up, right = (row + 1) % rows, (column + 1) % columns
    corners = [
        row * columns + column,
        row * columns + right,
        up * columns + right,
        up * columns + column,
    ]
    return np.stack(np.broadcast_arrays(*corners), axis=-1).reshape(-1, 4)


def transported_frames(
    path: np.ndarray, closed: bool, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across a (K, 3) path that twist as little as possible.

    Parameters
    ----------
    start : (3,) ndarray
        Direction of the first vector at the first point, roughly.

    Returns
    -------
    first, second : (K, 3) ndarray
        With the tangent they are a right-handed frame (tangent, first, second).
    """
    if closed:
        tangents = unit(np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0))
    else:
        tangents = unit(np.gradient(path, axis=0))
    first = np.empty_like(path)
    vector = np.asarray(start, dtype=np.float64)
    for k, tangent in enumerate(tangents):
        vector = unit(vector - (vector @ tangent) * tangent)
        first[k] = vector
    if closed:
        # Spread the angle that is missing at the seam over the whole loop.
        back = unit(first[-1] - (first[-1] @ tangents[0]) * tangents[0])
        angle = np.arctan2(np.cross(back, first[0]) @ tangents[0], back @ first[0])
        turn = angle * np.arange(len(path)) / len(path)
        across = np.cross(tangents, first)
        first = first * np.cos(turn)[:, None] + across * np.sin(turn)[:, None]
    return first, np.cross(tangents, first)


def tube(
    path: np.ndarray,
    radius: float | np.ndarray,
    *,
    sides: int = 8,
    closed: bool = False,
    start: Sequence[float] = (0.31, 0.17, 0.93),
    flatten: float = 1.0,
) -> PolygonMesh:
    """A tube along a path; open ends are closed by caps.

    Parameters
    ----------
    path : (K, 3) ndarray
    radius : float or (K,) ndarray
        Half the thickness in meters.
    sides : int, default 8
        Even.
    closed : bool, default False
        Whether the path's end joins its start.
    start : (3,) sequence, default a direction along no axis
        Direction of the first vector across the path (`transported_frames`).
    flatten : float, default 1
        Thickness along the second vector relative to the first.
    """
    first, second = transported_frames(path, closed, np.asarray(start))
    angles = np.arange(sides) * 2 * np.pi / sides
    radii = np.broadcast_to(radius, len(path))[:, None, None]
    circle = (
        np.cos(angles)[None, :, None] * first[:, None]
        + flatten * np.sin(angles)[None, :, None] * second[:, None]
    )
    rings = path[:, None] + radii * circle
    faces = grid_faces(len(path), sides, close_rows=closed, close_columns=True)
    vertices = rings.reshape(-1, 3)
    if closed:
        return PolygonMesh(vertices, faces)
    # Caps: fans of quads that meet in the end of the path.
    ends = np.stack([path[0], path[-1]])
    bottom, top = len(vertices), len(vertices) + 1
    ring = np.arange(0, sides, 2)
    low = np.stack([np.full(len(ring), bottom), (ring + 2) % sides, ring + 1, ring], axis=1)
    base = (len(path) - 1) * sides
    high = np.stack(
        [np.full(len(ring), top), base + ring, base + ring + 1, base + (ring + 2) % sides], axis=1
    )
    return PolygonMesh(np.concatenate([vertices, ends]), np.concatenate([faces, low, high]))


def swept(
    rows: np.ndarray, *, closed: bool, attributes: Mapping[str, np.ndarray] | None = None
) -> PolygonMesh:
    """A surface through rows of points.

    Parameters
    ----------
    rows : (R, K, 3) ndarray
        Each row runs along the sweep; rows follow one another across it.
    closed : bool
        Whether the last point of a row joins its first.
    attributes : mapping of str to (R, K) or (R, K, 3) array, optional
    """
    count, length, _ = rows.shape
    flat = {
        name: values.reshape(count * length, *values.shape[2:])
        for name, values in (attributes or {}).items()
    }
    faces = grid_faces(count, length, close_columns=closed)
    return PolygonMesh(rows.reshape(-1, 3), faces, flat)


def merged(surfaces: Sequence[PolygonMesh]) -> PolygonMesh:
    """One mesh of several with the same kind of faces and the same attributes."""
    offsets = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
    return PolygonMesh(
        np.concatenate([surface.vertices for surface in surfaces]),
        np.concatenate([s.faces + offset for s, offset in zip(surfaces, offsets)]),
        {
            name: np.concatenate([surface.attributes[name] for surface in surfaces])
            for name in surfaces[0].attributes
        },
    )


@dataclass(frozen=True, eq=False)
class Geometry:
    """What may cover a pixel, in the scene's axes.

    Attributes
    ----------
    vertices : (N, 3) ndarray
    triangles : (T, 3) int ndarray
    points : (P, 3) ndarray
        Points of all strands, one strand after the other.
    radii : (P,) ndarray
    sizes : (S,) int ndarray
        Points of each strand.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    points: np.ndarray
    radii: np.ndarray
    sizes: np.ndarray
