"""Scarves: cloth wound around the neck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.geometry import PolygonMesh, grid_faces, vertex_normals
from data_prep.render.base.noise import Noise
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import unit
from data_prep.render.clothes.fabric import FabricChoice, choose_fabric, fabric_material
from data_prep.render.clothes.fibers import fiber_strands, scattered
from data_prep.render.people.expression import Subject
from data_prep.render.people.person import PersonChoice

if TYPE_CHECKING:
    import bpy

WEARERS = {"female": 0.09, "male": 0.06}  # shares of people
PATTERNS = {"plain": 0.4, "stripes": 0.14, "plaid": 0.22, "floral": 0.08, "melange": 0.16}
# Outfits that fill the neck already.
SCARFLESS = (
    "turtleneck",
    "hoodie",
    "shirt",
    "open shirt",
    "blazer over shirt",
    "coat over turtleneck",
    "blazer over turtleneck",
)
ALONG, ACROSS = 120, 24
CLEARANCE = 0.005  # meters off skin and clothes


@dataclass(frozen=True)
class ScarfChoice:
    """A scarf.

    Attributes
    ----------
    fabric : FabricChoice
    height, thickness : float
        Height and thickness of the wound cloth, in meters.
    turns : int
        Times around the neck.
    end : float
        Length hanging in front, in meters; 0 for tucked away.
    side : int
        Where the end hangs: 1 left, -1 right.
    fuzz : float
        Length of fibers standing off, in meters.
    """

    fabric: FabricChoice
    height: float
    thickness: float
    turns: int
    end: float
    side: int
    fuzz: float


def choose_scarf(rng: np.random.Generator, person: PersonChoice, outfit: str) -> ScarfChoice | None:
    """Draw a scarf, or None; not over collars that leave no room (`SCARFLESS`)."""
    if rng.random() > WEARERS[person.sex] or outfit in SCARFLESS:
        return None
    thin = rng.random() < 0.35
    weaves = {"satin": 0.5, "woven": 0.5} if thin else {"knit": 0.5, "wool": 0.5}
    return ScarfChoice(
        fabric=choose_fabric(rng, weaves, PATTERNS, 0.5),
        height=float(rng.uniform(0.040, 0.062)),
        thickness=float(rng.uniform(0.007, 0.012) if thin else rng.uniform(0.012, 0.020)),
        turns=1 if thin else 2,
        end=float(rng.uniform(0.18, 0.4)) if rng.random() < 0.6 else 0.0,
        side=int(rng.choice([1, -1])),
        fuzz=0.0 if thin else float(rng.uniform(0.003, 0.007)),
    )


def wind_scarf(
    rng: np.random.Generator, choice: ScarfChoice, subject: Subject, below: SignedDistance
) -> PolygonMesh:
    """The cloth around the neck, and its hanging end, posed.

    Parameters
    ----------
    below : SignedDistance
        To skin and clothes about the neck.

    Returns
    -------
    PolygonMesh
        Quads with the attribute ``print``: meters across and along the scarf.
    """
    noise = Noise(rng, 12)
    neck = subject.joint("joint-neck")
    center = neck + [0, -0.032, 0]
    parts, patterns = [], []
    for turn in range(choice.turns):
        angle = np.linspace(0, 2 * np.pi, ALONG, endpoint=False)
        # The ring lies lower in front than at the nape, the outer turn lower still.
        away = np.stack([np.sin(angle), np.cos(angle), 0 * angle], axis=1)
        front = 0.5 - 0.5 * np.cos(angle)
        tilt = 0.006 * np.sin(angle + rng.uniform(0, 6.28))
        level = center + [0, 0, 1] * (0.016 - 0.036 * front - 0.016 * turn + tilt)[:, None]
        # Close around the neck, then off skin and clothes by half the cloth: on the
        # slopes of the shoulders that is up rather than out.
        height = 0.5 * choice.thickness + 0.003 + 0.8 * turn * choice.thickness
        middle = level + (0.06 + 0.8 * turn * choice.thickness) * away
        for _ in range(8):
            middle = below.pushed_out(middle, height)
            middle = 0.5 * middle + 0.25 * (
                np.roll(middle, 1, axis=0) + np.roll(middle, -1, axis=0)
            )
        parts.append(_roll(choice, noise, middle, away, turn))
    if choice.end:
        parts.append(_hanging_end(choice, noise, neck, below))
    offset, vertices, faces = 0, [], []
    for rows, closed in zip(parts, [True] * choice.turns + [False]):
        pushed = below.pushed_out(below.pushed_out(rows, CLEARANCE), CLEARANCE)
        count, around, _ = pushed.shape
        vertices.append(pushed.reshape(-1, 3))
        faces.append(grid_faces(count, around, close_rows=closed, close_columns=True) + offset)
        offset += count * around
        length = np.linalg.norm(np.diff(pushed.mean(axis=1), axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(length)])[:, None].repeat(around, axis=1)
        across = np.broadcast_to(np.arange(around) / around * 2.4 * choice.height, along.shape)
        patterns.append(np.stack([across, along, 0 * across], axis=-1).reshape(-1, 3))
    points = np.concatenate(vertices)
    attributes = {"print": np.concatenate(patterns)}
    mesh = PolygonMesh(points, np.concatenate(faces), attributes)
    return _facing_out(mesh)


def _facing_out(mesh: PolygonMesh) -> PolygonMesh:
    """The closed mesh with its faces turned so that its volume is positive."""
    a, b, c, d = (mesh.vertices[mesh.faces[:, k]] for k in range(4))
    volume = np.einsum("nc,nc->", a, np.cross(c - a, d - b))
    return mesh if volume > 0 else PolygonMesh(mesh.vertices, mesh.faces[:, ::-1], mesh.attributes)


def _roll(
    choice: ScarfChoice, noise: Noise, middle: np.ndarray, away: np.ndarray, turn: int
) -> np.ndarray:
    """Cross-sections (K, ACROSS, 3) of gathered cloth along a path.

    The height runs up, the thickness along `away`; folds run along the path.
    """
    around = np.arange(ACROSS) * 2 * np.pi / ACROSS
    unit_circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    k = np.arange(len(middle)) / len(middle) * 2 * np.pi
    position = np.stack([np.cos(k), np.sin(k)], axis=1)
    place = np.concatenate(
        [
            np.repeat(1.1 * position[:, None], ACROSS, axis=1),
            np.broadcast_to(2.2 * unit_circle[None, :, 1:], (len(k), ACROSS, 1)),
        ],
        axis=2,
    )
    folds = 0.17 * noise(place + 5.0 * turn) + 0.09 * noise(2.3 * place + 9.0)
    size = 1 + np.clip(folds, -0.4, 0.5)
    out = 0.5 * choice.thickness * unit_circle[None, :, :1] * size[..., None]
    up = 0.5 * choice.height * unit_circle[None, :, 1:] * (0.8 + 0.2 * size[..., None])
    return middle[:, None] + out * away[:, None] + up * np.array([0.0, -0.2, 1.0])


def _hanging_end(
    choice: ScarfChoice, noise: Noise, neck: np.ndarray, below: SignedDistance
) -> np.ndarray:
    """Cross-sections (K, ACROSS, 3) of the end that hangs over the chest."""
    t = np.linspace(0, 1, 40)
    x = choice.side * (0.045 + 0.02 * t)
    path = np.stack([x, np.full(40, neck[1] - 0.26), neck[2] - 0.045 - choice.end * t], axis=1)
    for _ in range(25):
        path[:, 1] += 0.7 * np.maximum(below(path) - 0.012, 0)
    for _ in range(8):
        path[1:-1] = 0.5 * path[1:-1] + 0.25 * (path[2:] + path[:-2])
    around = np.arange(ACROSS) * 2 * np.pi / ACROSS
    width = 0.045 + 0.03 * t
    ripple = 0.005 * noise(
        np.stack(np.broadcast_arrays(2.0 * np.cos(around)[None], 0.8 * t[:, None], 0.0), axis=-1)
    )
    side = np.cos(around)[None] * width[:, None]
    depth = 0.5 * np.sin(around)[None] * 0.008 + ripple
    ahead = unit(np.array([0.15 * choice.side, -1.0, 0.1]))
    rows = path[:, None] + side[..., None] * np.array([1.0, 0, 0]) + depth[..., None] * ahead
    # Both ends of the cloth are closed to a seam.
    rows[0], rows[-1] = (0.02 * row + 0.98 * row.mean(axis=0) for row in (rows[0], rows[-1]))
    return rows


def around_neck(subject: Subject, points: np.ndarray, normals: np.ndarray) -> SignedDistance:
    """Distance to skin and clothes about the neck and the chest."""
    neck = subject.joint("joint-neck")
    quads = subject.mesh.faces[subject.mesh.faces_of("body")]
    skin_normals = vertex_normals(subject.vertices, quads)
    used = np.unique(quads)
    low, high = neck + [-0.2, -0.32, -0.42], neck + [0.2, 0.16, 0.10]
    surfaces = [(subject.vertices[used], skin_normals[used]), (points, normals)]
    near = [((p > low) & (p < high)).all(axis=1) for p, _ in surfaces]
    return SignedDistance.around(
        [(p[keep], n[keep]) for (p, n), keep in zip(surfaces, near)], low, high, 0.009
    )


def build_scarf(
    choice: ScarfChoice, scarf: PolygonMesh, rng: np.random.Generator
) -> list[bpy.types.Object]:
    """Put a wound scarf into the scene."""
    from data_prep.render.base.blender import mesh_object, strands_object
    from data_prep.render.base.colors import linear_color
    from data_prep.render.clothes.clothing import fiber_material

    cloth = fabric_material(rng, choice.fabric, "scarf cloth")
    thing = mesh_object(
        "scarf",
        scarf.vertices,
        scarf.faces,
        uv=scarf.attributes["print"][scarf.faces].reshape(-1, 3)[:, :2],
        material=cloth,
    )
    smooth = thing.modifiers.new("smooth", "SUBSURF")
    smooth.levels = smooth.render_levels = 1
    objects = [thing]
    if choice.fuzz:
        roots = scattered(rng, scarf, 6000)
        strands = fiber_strands(
            rng, *roots, choice.fuzz, steps=5, disorder=0.8, droop=0.2, curl=0.5
        )
        fuzz = fiber_material("scarf fuzz", linear_color(choice.fabric.colors[0]))
        objects.append(
            strands_object("scarf fuzz", strands, np.full(strands.shape[:2], 2.2e-5), material=fuzz)
        )
    return objects
