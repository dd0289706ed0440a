"""The mathematics of strands: growing, interpolating, clumping, curling, braiding.

A strand is a polyline of K control points, root first; many strands are an array
(N, K, 3) in meters.  As in grooming programs a few hundred *guides* are grown step
by step, with gravity and collisions; the hairs people see are interpolated between
guides and then bundled, curled and ruffled, which costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.spatial import cKDTree

from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import smooth_step, transform, unit

# A direction that no hair follows for long: frames across strands are built from it.
OBLIQUE = np.array([0.31, 0.87, 0.39])


class Pull(Protocol):
    """What bends strands while they grow, such as gravity or a comb."""

    def __call__(self, points: np.ndarray, done: float, /) -> np.ndarray:
        """Directions (N, 3) that are added to the strands' own for every centimeter they grow.

        Parameters
        ----------
        points : (N, 3) ndarray
            Where the strands end so far.
        done : float
            Share of their length that has grown, 0 to 1.
        """


@dataclass(frozen=True, eq=False)
class Roots:
    """Where strands grow from.

    Attributes
    ----------
    points, rest, normals : (N, 3) float64 ndarray
        Positions in meters, rest coordinates, outward unit normals.
    """

    points: np.ndarray
    rest: np.ndarray
    normals: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, which: np.ndarray) -> Roots:
        return Roots(self.points[which], self.rest[which], self.normals[which])

    def along_skin(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors (N, 3): the (N, 3) `vectors` without their part along the normals."""
        return unit(vectors - (vectors * self.normals).sum(axis=1, keepdims=True) * self.normals)


@dataclass(frozen=True, eq=False)
class Strands:
    """Hairs ready to be rendered.

    Attributes
    ----------
    points : (N, K, 3) ndarray
        Control points in meters, root first.
    radius : (N,) ndarray
        Half the thickness at the root in meters.
    melanin : (N,) ndarray
        Pigment, 0 (white) to 1 (black).
    tip : float
        Thickness at the tip relative to the root.
    """

    points: np.ndarray
    radius: np.ndarray
    melanin: np.ndarray
    tip: float = 0.3

    def __len__(self) -> int:
        return len(self.points)

    def radii(self) -> np.ndarray:
        """Half the thickness at every control point, (N, K)."""
        along = np.linspace(0, 1, self.points.shape[1])
        return self.radius[:, None] * (1 - (1 - self.tip) * along**2)

    def moved(self, matrix: np.ndarray) -> Strands:
        """The strands under a (4, 4) matrix; thickness stays."""
        points = transform(matrix.astype(np.float32), self.points.astype(np.float32))
        return Strands(points, self.radius, self.melanin, self.tip)


def sample_roots(
    rng: np.random.Generator, skin: PolygonMesh, density: np.ndarray, count: int
) -> Roots:
    """Random points of a skin, evenly by area times density.

    Parameters
    ----------
    skin : PolygonMesh
        Triangles, with the attributes ``rest`` and ``normals``.
    density : (V,) ndarray
        At the vertices, not negative.
    count : int

    Returns
    -------
    Roots
        As many as `count`, or none where the density is 0 everywhere.
    """
    shares = density[skin.faces].mean(axis=1)
    faces, shares = skin.faces[shares > 0], shares[shares > 0]
    if not len(faces):
        return Roots(*(np.empty((0, 3)) for _ in range(3)))
    a, b, c = np.moveaxis(skin.vertices[faces], 1, 0)
    shares = shares * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = faces[rng.choice(len(faces), count, p=shares / shares.sum())]
    along = rng.random((count, 2))
    beyond = along.sum(axis=1) > 1
    along[beyond] = 1 - along[beyond]
    corners = np.column_stack([1 - along.sum(axis=1), along])

    def at_points(values: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", corners, values[chosen])

    return Roots(
        at_points(skin.vertices),
        at_points(skin.attributes["rest"]),
        unit(at_points(skin.attributes["normals"])),
    )


def grow(
    start: np.ndarray,
    directions: np.ndarray,
    lengths: np.ndarray,
    count: int,
    *,
    pull: Pull | None = None,
    field: SignedDistance | None = None,
    clearance: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Grow strands step by step.

    Parameters
    ----------
    start, directions : (N, 3) ndarray
        First points, and directions in which to leave them.
    lengths : (N,) ndarray
        Meters.
    count : int
        Control points of each strand.
    pull : Pull, optional
        Gravity and whatever else bends the strands.
    field : SignedDistance, optional
        What they may not enter.
    clearance : (N,) ndarray or float, default 0
        Distance to keep from it, reached after an eighth of the strand.

    Returns
    -------
    (N, count, 3) float64 ndarray
        Every segment has the length of its strand / (count - 1).
    """
    strands = np.empty((len(start), count, 3))
    strands[:, 0] = point = start
    heading = unit(directions)
    step = (lengths / (count - 1))[:, None]
    for k in range(1, count):
        done = k / (count - 1)
        if pull is not None:
            heading = unit(heading + pull(point, done) * step / 0.01)
        ahead = point + heading * step
        if field is not None:
            lacking = clearance * smooth_step(0, 0.12, done) - field(ahead)
            close = lacking > 0
            if close.any():
                # Slide along the surface: pushed out, then back to the step's length.
                out = field.outward(ahead[close]) * np.minimum(lacking[close], 0.02)[:, None]
                heading[close] = unit(ahead[close] + out - point[close])
                ahead[close] = point[close] + heading[close] * step[close]
        strands[:, k] = point = ahead
    return strands


def interpolated(
    guides: np.ndarray, features: np.ndarray, start: np.ndarray, start_features: np.ndarray
) -> np.ndarray:
    """Hairs between guides.

    Each hair takes the weighted mean shape of the three guides nearest in
    feature space (root position, and whatever keeps guides apart: two sides of a
    parting differ by more than neighbors do).

    Parameters
    ----------
    guides : (G, K, 3) ndarray
    features : (G, F) ndarray
    start : (N, 3) ndarray
        Roots of the hairs.
    start_features : (N, F) ndarray

    Returns
    -------
    (N, K, 3) float32 ndarray
    """
    distance, nearest = cKDTree(features).query(start_features, k=min(3, len(guides)))
    distance, nearest = distance.reshape(len(start), -1), nearest.reshape(len(start), -1)
    # A guide more than twice as far as the nearest does not count.
    weight = np.maximum(2 * distance[:, :1] + 1e-9 - distance, 0)
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    shapes = (guides - guides[:, :1]).astype(np.float32)
    hairs = start.astype(np.float32)[:, None].repeat(guides.shape[1], axis=1)
    for k in range(weight.shape[1]):
        hairs += weight[:, k, None, None] * shapes[nearest[:, k]]
    return hairs


def locks_of(
    rng: np.random.Generator, features: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bundle hairs into locks.

    Returns
    -------
    lock : (N,) int ndarray
        Number of the lock each hair belongs to.
    centers : (count,) int ndarray
        The hair in the middle of each lock.
    """
    centers = rng.choice(len(features), min(count, len(features)), replace=False)
    return cKDTree(features[centers]).query(features)[1], centers


def clumped(
    hairs: np.ndarray,
    lock: np.ndarray,
    centers: np.ndarray,
    amount: np.ndarray | float,
    shape: float,
) -> np.ndarray:
    """Draw hairs toward the middle of their lock.

    Parameters
    ----------
    hairs : (N, K, 3) ndarray
    lock, centers : int ndarray
        As `locks_of` returns them.
    amount : (N,) ndarray or float
        0 leaves a hair alone, 1 makes its tip meet the lock's.
    shape : float
        Exponent along the hair: small bundles from the root on, large the tips only.
    """
    along = np.linspace(0, 1, hairs.shape[1], dtype=np.float32)[None, :, None]
    middle = hairs[centers][lock]
    spread = hairs[:, :1] - middle[:, :1]
    target = middle + spread * (1 - 0.8 * along)
    amount = np.broadcast_to(np.asarray(amount, dtype=np.float32), len(hairs))
    return hairs + (target - hairs) * (amount[:, None, None] * along**shape)


def frames_across(hairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across every (N, K, 3) hair at every point."""
    tangents = unit(np.gradient(hairs, axis=1))
    first = unit(np.cross(tangents, OBLIQUE.astype(hairs.dtype)))
    return first, np.cross(tangents, first)


def curled(
    rng: np.random.Generator,
    hairs: np.ndarray,
    lengths: np.ndarray,
    lock: np.ndarray,
    *,
    radius: float,
    pitch: float,
    begin: float,
    looseness: float,
) -> np.ndarray:
    """Wind hairs into helices, alike within a lock.

    Parameters
    ----------
    lengths : (N,) ndarray
        Lengths of the hairs, in meters.
    lock : (N,) int ndarray
    radius, pitch : float
        Radius of the helix and length of one turn along it, in meters.
    begin : float
        Share of the hair over which the curl sets in.
    looseness : float
        How much the hairs of a lock differ in phase and radius; 0 not at all.
    """
    locks = lock.max() + 1
    phase = rng.uniform(0, 2 * np.pi, locks)[lock] + rng.normal(0, 2 * looseness, len(hairs))
    turns = lengths / pitch * rng.normal(1, 0.12, locks)[lock]
    turns *= rng.choice([-1.0, 1.0], locks)[lock]
    widths = radius * rng.normal(1, 0.22, locks)[lock] * rng.normal(1, looseness, len(hairs))
    along = np.linspace(0, 1, hairs.shape[1], dtype=np.float32)
    angle = (phase[:, None] + 2 * np.pi * turns[:, None] * along).astype(np.float32)
    wide = (widths[:, None] * smooth_step(0, begin, along)).astype(np.float32)
    first, second = frames_across(hairs)
    return (
        hairs
        + (wide * np.cos(angle))[..., None] * first
        + (wide * np.sin(angle))[..., None] * second
    )


def ruffled(
    rng: np.random.Generator, hairs: np.ndarray, lengths: np.ndarray, amplitude: np.ndarray | float
) -> np.ndarray:
    """Let every hair wander off on a path of its own.

    Parameters
    ----------
    lengths : (N,) ndarray
    amplitude : (N,) ndarray or float
        Meters; reached after a third of the hair.
    """
    along = np.linspace(0, 1, hairs.shape[1], dtype=np.float32)
    offset = np.zeros_like(hairs)
    for octave in range(2):
        waves = lengths / 0.10 * (1 + 1.6 * octave) * rng.uniform(0.5, 1.5, len(hairs))
        phase = rng.uniform(0, 2 * np.pi, len(hairs))
        angle = (2 * np.pi * waves[:, None] * along + phase[:, None]).astype(np.float32)
        direction = unit(rng.normal(size=(len(hairs), 1, 3))).astype(np.float32)
        offset += np.sin(angle)[..., None] * direction / (1 + octave)
    wide = np.broadcast_to(np.asarray(amplitude, dtype=np.float32), len(hairs))
    return hairs + offset * (wide[:, None] * smooth_step(0, 0.3, along))[..., None].astype(
        np.float32
    )


def astray(
    rng: np.random.Generator,
    hairs: np.ndarray,
    lengths: np.ndarray,
    outward: np.ndarray,
    reach: np.ndarray,
    *,
    tied: bool = False,
) -> np.ndarray:
    """Let hairs stand off from the others: seen against the light they are a halo.

    Distances are exponentially distributed, so the outline of the hair thins out.

    Parameters
    ----------
    lengths : (N,) ndarray
    outward : (N, 3) ndarray
        Unit vectors away from the head.
    reach : (N,) ndarray
        Mean distance in meters; large for flyaways.  No hair goes further than
        a third of its length.
    tied : bool, default False
        Whether hairs are held at their tips too and stray in the middle only.
    """
    along = np.linspace(0, 1, hairs.shape[1], dtype=np.float32)
    course = np.sin(np.pi * along) if tied else smooth_step(0, 1, along)
    distance = np.minimum(rng.exponential(reach), 0.35 * lengths)
    direction = unit(outward + rng.normal(0, 0.6, outward.shape))
    offset = (distance[:, None] * direction).astype(np.float32)
    return hairs + offset[:, None] * course.astype(np.float32)[None, :, None]


def trimmed(hairs: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Cut (N, K, 3) hairs to a share (N,) of their length, with as many points."""
    count = hairs.shape[1]
    position = np.clip(share, 0, 1)[:, None] * np.arange(count)
    before = np.minimum(position.astype(int), count - 2)
    between = (position - before)[..., None].astype(hairs.dtype)
    rows = np.arange(len(hairs))[:, None]
    return hairs[rows, before] * (1 - between) + hairs[rows, before + 1] * between


def share_above(hairs: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Share (N,) of its length after which a hair first falls below a height (N,).

    1 for hairs that never do; see `trimmed`.
    """
    below = hairs[:, :, 2] < height[:, None]
    first = np.where(below.any(axis=1), below.argmax(axis=1), hairs.shape[1] - 1)
    last = np.maximum(first - 1, 0)
    rows = np.arange(len(hairs))
    upper, lower = hairs[rows, last, 2], hairs[rows, first, 2]
    between = np.clip((upper - height) / np.maximum(upper - lower, 1e-9), 0, 1)
    position = np.where(below.any(axis=1), last + between, hairs.shape[1] - 1)
    return position / (hairs.shape[1] - 1)


def lengths_of(hairs: np.ndarray) -> np.ndarray:
    """Lengths (N,) of (N, K, 3) polylines."""
    return np.linalg.norm(np.diff(hairs, axis=1), axis=2).sum(axis=1)


def rope(
    rng: np.random.Generator,
    centers: np.ndarray,
    hairs_each: int,
    radius: np.ndarray,
    *,
    pitch: float,
) -> np.ndarray:
    """Twisted ropes of hair (locs, twists, the tail of a braid).

    Parameters
    ----------
    centers : (R, K, 3) ndarray
        Middle lines.
    hairs_each : int
    radius : (K,) ndarray
        Radius of a rope along its length, in meters.
    pitch : float
        Length of one turn, in meters.

    Returns
    -------
    (R * hairs_each, K, 3) float32 ndarray
    """
    lines = centers.repeat(hairs_each, axis=0).astype(np.float32)
    first, second = frames_across(lines)
    turns = lengths_of(lines) / pitch
    angle = rng.uniform(0, 2 * np.pi, len(lines))[:, None]
    angle = angle + 2 * np.pi * turns[:, None] * np.linspace(0, 1, lines.shape[1])
    wide = radius * np.sqrt(rng.random(len(lines)))[:, None]
    across = (wide * np.cos(angle))[..., None] * first + (wide * np.sin(angle))[..., None] * second
    return (lines + across).astype(np.float32)


def braid(
    rng: np.random.Generator,
    centers: np.ndarray,
    hairs_each: int,
    radius: np.ndarray,
    *,
    pitch: float,
) -> np.ndarray:
    """Three-strand braids.

    The three plaits follow the curve (cos a, sin 2a / 2) across the middle line,
    a third of a turn apart: from side to side, over and under in turn.

    Parameters
    ----------
    centers : (R, K, 3) ndarray
        Middle lines.
    hairs_each : int
        Hairs of one plait.
    radius : (K,) ndarray
        Half the width of a braid along its length, in meters.
    pitch : float
        Length in which a plait returns to its place, in meters.

    Returns
    -------
    (R * 3 * hairs_each, K, 3) float32 ndarray
    """
    lines = centers.repeat(3 * hairs_each, axis=0).astype(np.float32)
    first, second = frames_across(lines)
    plait = np.tile(np.arange(3).repeat(hairs_each), len(centers))
    turns = lengths_of(lines) / pitch
    angle = 2 * np.pi * (plait[:, None] / 3 + turns[:, None] * np.linspace(0, 1, lines.shape[1]))
    # A hair keeps its place in the round section of its plait.
    place = rng.uniform(0, 2 * np.pi, len(lines))[:, None]
    reach = 0.5 * np.sqrt(rng.random(len(lines)))[:, None]
    wide = radius * (0.62 * np.cos(angle) + reach * np.cos(place))
    deep = radius * (0.42 * np.sin(2 * angle) + 0.8 * reach * np.sin(place))
    return (lines + wide[..., None] * first + deep[..., None] * second).astype(np.float32)
