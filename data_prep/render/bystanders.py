"""Other people in the background, out of focus: the parametric body, flatly shaded."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.render.body import (
    BaseMesh,
    macro_targets,
    pose,
    rest_coordinates,
    rotation,
    smooth_step,
    unit,
)
from data_prep.render.colors import linear_color
from data_prep.render.scalp import scalp_depth
from data_prep.srgb import to_display

SKINS = ("f0cbb0", "d9a47e", "b27a54", "7a4c30", "4a2d1c")
HAIRS = ("17110d", "2e1d12", "5a3a20", "8a6236", "b9b3aa")
CLOTHES = (
    "20242b", "3a4756", "6c3030", "d9d4c8", "7b8a6a", "b98b4a", "4b3a63", "a8b4c2", "8f2d3a",
)  # fmt: skip
BODY_HEIGHT = 1.7  # meters
NECK_HEIGHT = 0.60  # rest coordinates: skin above
HAND_REACH = 0.58  # rest coordinates: skin beyond


@dataclass(frozen=True, eq=False)
class _Regions:
    """What of the base mesh is what.

    Attributes
    ----------
    quads : (M, 4) int ndarray
        Of the body.
    hair : (N,) bool ndarray
        Vertices.
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
        head=rest[:, 2] > NECK_HEIGHT,
        covered=hair[quads].all(axis=1),
        bare=(middle[:, 2] > NECK_HEIGHT) | (np.abs(middle[:, 0]) > HAND_REACH),
        above_waist=smooth_step(0.10, 0.12, middle[:, 2])[:, None],
    )


def _figure(rng: np.random.Generator, mesh: BaseMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A standing person as quads seen from the front.

    Returns
    -------
    corners : (M, 4, 2) ndarray
        x to the right and z up, meters; painted in this order.
    colors : (M, 3) ndarray
        Linear.
    center : (2,) ndarray
        Of the head.
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
    # Hair is thicker than the skin it covers.
    out = unit(posed[regions.hair] - posed[regions.head].mean(axis=0))
    posed[regions.hair] += rng.uniform(0.01, 0.04) * out
    turned = posed @ rotation((0, 0, 1), rng.uniform(-70, 70)).T
    corners = turned[regions.quads]
    normals = unit(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]))
    light = unit(np.array([rng.uniform(-1, 1), -1.0, 0.8]))
    shade = 0.45 + 0.55 * np.clip(normals @ light, 0, 1)
    skin, hair, top, trousers = (
        linear_color(str(rng.choice(codes))) for codes in (SKINS, HAIRS, CLOTHES, CLOTHES)
    )
    colors = regions.above_waist * top + (1 - regions.above_waist) * trousers
    colors[regions.bare] = skin
    colors[regions.covered] = hair
    order = np.argsort(-corners[:, :, 1].mean(axis=1))  # far to near
    order = order[normals[order, 1] < 0.1]  # toward the camera
    center = turned[regions.head][:, [0, 2]].mean(axis=0)
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
        Of the people, standard deviation in pixels.
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
