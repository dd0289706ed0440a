"""Other people in the background, out of focus: the parametric body, flatly shaded."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.common.srgb import to_display
from data_prep.render.base.colors import linear_color
from data_prep.render.base.randomness import pick
from data_prep.render.base.vectors import rotation, smooth_step, unit
from data_prep.render.people.body import BaseMesh, macro_targets, pose, rest_coordinates
from data_prep.render.people.scalp import scalp_depth

SKINS = ("f0cbb0", "d9a47e", "b27a54", "7a4c30", "4a2d1c")
HAIRS = ("17110d", "2e1d12", "5a3a20", "8a6236", "b9b3aa")
CLOTHES = (
    "20242b",
    "3a4756",
    "6c3030",
    "d9d4c8",
    "7b8a6a",
    "b98b4a",
    "4b3a63",
    "a8b4c2",
    "8f2d3a",
)
BODY_HEIGHT = 1.7  # meters
NECK_HEIGHT = 0.60  # rest coordinates: skin above
# How hair is worn, by share: (thickness in meters, length that hangs, radius of a knot).
HAIRCUTS = {
    "short": (0.30, (0.006, 0.020), (0.0, 0.0), 0.0),
    "full": (0.15, (0.025, 0.060), (0.0, 0.0), 0.0),
    "bob": (0.15, (0.015, 0.030), (0.10, 0.18), 0.0),
    "long": (0.25, (0.010, 0.025), (0.22, 0.42), 0.0),
    "knot": (0.15, (0.004, 0.010), (0.0, 0.0), 0.042),
}
LOCKS = 160  # that hang
KNOT_PLACES = ((0.0, 0.02, 0.13), (0.0, 0.11, 0.04), (0.0, 0.10, -0.05))  # from the head's middle
HAND_REACH = 0.58  # rest coordinates: skin beyond


@dataclass(frozen=True, eq=False)
class _Regions:
    """What of the base mesh is what.

    Attributes
    ----------
    quads : (M, 4) int ndarray
        Faces of the body.
    hair : (N,) bool ndarray
        Vertices.
    curtain : (L,) int ndarray
        Vertices of hair that hangs beside and behind the face.
    head : (N,) bool ndarray
        Vertices above the neck.
    covered : (M,) bool ndarray
        Quads that are hair.
    bare : (M,) bool ndarray
        Quads that are skin.
    above_waist : (M, 1) float64 ndarray
    """

    quads: np.ndarray
    hair: np.ndarray
    curtain: np.ndarray
    head: np.ndarray
    covered: np.ndarray
    bare: np.ndarray
    above_waist: np.ndarray


@functools.lru_cache(maxsize=1)
def _regions(mesh: BaseMesh) -> _Regions:
    rest = rest_coordinates(mesh)
    quads = mesh.faces[mesh.faces_of("body")]
    hair = (scalp_depth(rest) > 0) & (rest[:, 2] > 0.64)
    middle = rest[quads].mean(axis=1)
    return _Regions(
        quads=quads,
        hair=hair,
        curtain=np.flatnonzero(hair & (rest[:, 1] > -0.05) & (rest[:, 2] < 0.82)),
        head=rest[:, 2] > NECK_HEIGHT,
        covered=hair[quads].all(axis=1),
        bare=(middle[:, 2] > NECK_HEIGHT) | (np.abs(middle[:, 0]) > HAND_REACH),
        above_waist=smooth_step(0.10, 0.12, middle[:, 2])[:, None],
    )


def _ribbons(rng: np.random.Generator, roots: np.ndarray, length: float) -> np.ndarray:
    """Locks that hang from (L, 3) roots: corners (L * 5, 4, 3) of their quads."""
    along = np.linspace(0, 1, 6)[None, :, None]
    drift = rng.normal(0, 0.012, (len(roots), 1, 3)) * [1, 1, 0]
    lengths = length * rng.uniform(0.75, 1.05, (len(roots), 1, 1))
    path = roots[:, None] + drift * along - [0, 0, 1] * lengths * along
    angle = rng.uniform(0, np.pi, (len(roots), 1))
    across = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=2) * 0.016 * (1 - 0.5 * along)
    left, right = path - across, path + across
    quads = np.stack([left[:, :-1], right[:, :-1], right[:, 1:], left[:, 1:]], axis=2)
    return quads.reshape(-1, 4, 3)


def _ball(center: np.ndarray, radius: float) -> np.ndarray:
    """Corners (M, 4, 3) of the quads of a sphere."""
    up, around = np.meshgrid(np.linspace(-1.5, 1.5, 8), np.linspace(0, 2 * np.pi, 13))
    shell = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=2)
    shell = center + radius * shell
    quads = [shell[:-1, :-1], shell[1:, :-1], shell[1:, 1:], shell[:-1, 1:]]
    return np.stack(quads, axis=2).reshape(-1, 4, 3)


def _wear_hair(rng: np.random.Generator, regions: _Regions, posed: np.ndarray) -> np.ndarray:
    """Thicken the scalp of (N, 3) `posed`, in place, and hang hair from it.

    Returns
    -------
    (M, 4, 3) ndarray
        Corners of the quads that hang or are tied; none for short hair.
    """
    cut = pick(rng, {name: share for name, (share, *_) in HAIRCUTS.items()})
    _, thickness, hanging, knot = HAIRCUTS[cut]
    middle = posed[regions.head].mean(axis=0)
    out = unit(posed[regions.hair] - middle)
    lumps = 1 + 0.35 * np.sin(out @ rng.normal(0, 5, (3, 3)) + rng.uniform(0, 6, 3)).mean(axis=1)
    posed[regions.hair] += rng.uniform(*thickness) * lumps[:, None] * out
    if hanging[1] > 0:
        return _ribbons(rng, posed[rng.choice(regions.curtain, LOCKS)], rng.uniform(*hanging))
    if knot > 0:
        return _ball(middle + rng.choice(KNOT_PLACES), knot * rng.uniform(0.8, 1.2))
    return np.empty((0, 4, 3))


def _figure(rng: np.random.Generator, mesh: BaseMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A standing person as quads seen from the front.

    Returns
    -------
    corners : (M, 4, 2) ndarray
        x to the right and z up, meters; painted in this order.
    colors : (M, 3) ndarray
        Linear.
    center : (2,) ndarray
        Center of the head.
    """
    regions = _regions(mesh)
    shape = mesh.morph(mesh.vertices, macro_targets(sex=rng.random(), weight=rng.uniform(0.3, 0.8)))
    down = rng.uniform(28, 42)
    bent = {
        f"{bone}.{side}": rotation((0, 1, 0), sign * down * share)
        for side, sign in (("L", 1), ("R", -1))
        for bone, share in (("shoulder01", 0.2), ("upperarm01", 0.5), ("upperarm02", 0.3))
    }
    bent["head"] = rotation((0, 0, 1), rng.uniform(-40, 40))
    posed, _ = pose(mesh, shape, bent)
    loose = _wear_hair(rng, regions, posed)
    turn = rotation((0, 0, 1), rng.uniform(-70, 70)).T
    corners = np.concatenate([posed[regions.quads], loose]) @ turn
    normals = unit(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]))
    count = len(regions.quads)
    normals[count:] *= -np.sign(normals[count:, 1:2])  # locks have no inside
    light = unit(np.array([rng.uniform(-1, 1), -1.0, 0.8]))
    shade = 0.45 + 0.55 * np.clip(normals @ light, 0, 1)
    skin, hair, top, trousers = (
        linear_color(str(rng.choice(codes))) for codes in (SKINS, HAIRS, CLOTHES, CLOTHES)
    )
    colors = regions.above_waist * top + (1 - regions.above_waist) * trousers
    colors[regions.bare] = skin
    colors = np.concatenate([colors, np.empty((len(loose), 3))])
    strands = np.concatenate([np.flatnonzero(regions.covered), np.arange(count, len(colors))])
    colors[strands] = hair * rng.uniform(0.55, 1.3, (len(strands), 1))
    order = np.argsort(-corners[:, :, 1].mean(axis=1))  # far to near
    order = order[normals[order, 1] < 0.1]  # toward the camera
    center = (posed[regions.head] @ turn)[:, [0, 2]].mean(axis=0)
    return corners[order][:, :, [0, 2]], (colors * shade[:, None])[order], center


def painted(
    rng: np.random.Generator,
    display: np.ndarray,
    count: int,
    blur: float,
    mesh: BaseMesh,
) -> np.ndarray:
    """A background with people in it.

    Parameters
    ----------
    display : (H, W, 3) ndarray
        Display RGB in [0, 1].
    count : int
    blur : float
        Standard deviation of the people's blur, in pixels.
    mesh : BaseMesh

    Returns
    -------
    (H, W, 3) float32 ndarray
    """
    height, width = display.shape[:2]
    # What is blurred so much needs no more pixels.
    shrink = 3 if blur > 4 else 1
    small = (math.ceil(width / shrink), math.ceil(height / shrink))
    brightness = rng.uniform(0.5, 1.3)
    picture = np.ascontiguousarray(display, dtype=np.float32)
    for _ in range(count):
        corners, colors, center = _figure(rng, mesh)
        scale = height * rng.uniform(0.7, 2.2) / BODY_HEIGHT  # pixels a meter
        # Beside the subject, whose head is about the middle.
        column = width * (0.5 + rng.choice([-1, 1]) * rng.uniform(0.2, 0.5))
        row = height * rng.uniform(0.2, 0.5)
        pixels = (corners - center) * np.array([scale, -scale]) + np.array([column, row])
        layer = np.zeros((small[1], small[0], 4), np.float32)
        tones = to_display(np.clip(colors * brightness, 0, 1))
        for quad, tone in zip(np.rint(pixels / shrink).astype(np.int32), tones.tolist()):
            cv2.fillConvexPoly(layer, quad, (*tone, 1.0))
        layer = cv2.resize(cv2.GaussianBlur(layer, (0, 0), blur / shrink), (width, height))
        picture = layer[:, :, :3] + (1 - layer[:, :, 3:]) * picture
    return picture
