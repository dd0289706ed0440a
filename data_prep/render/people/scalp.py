"""Where hair grows on a head, in rest coordinates (`body.rest_coordinates`)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from data_prep.render.base.vectors import smooth_step

# The hairline from the side, (y, z) in meters: forehead, temple, sideburn, around
# the ear, nape.
HAIRLINE = (
    (-0.150, 0.811),
    (-0.127, 0.808),
    (-0.112, 0.801),
    (-0.100, 0.792),
    (-0.091, 0.780),
    (-0.086, 0.768),
    (-0.079, 0.756),
    (-0.071, 0.745),
    (-0.067, 0.728),
    (-0.065, 0.710),
    (-0.055, 0.706),
    (-0.053, 0.725),
    (-0.050, 0.742),
    (-0.040, 0.749),
    (-0.026, 0.745),
    (-0.020, 0.730),
    (-0.017, 0.712),
    (-0.010, 0.694),
    (0.000, 0.676),
    (0.010, 0.661),
    (0.022, 0.653),
    (0.060, 0.648),
)
ABOVE_HEAD = ((0.12, 0.648), (0.12, 0.92), (-0.15, 0.92))

# The full beard from the side: sideburn, jaw, neck, and up to the nose and cheek.
BEARD = (
    (-0.066, 0.726),
    (-0.054, 0.726),
    (-0.050, 0.695),
    (-0.050, 0.668),
    (-0.058, 0.648),
    (-0.070, 0.630),
    (-0.084, 0.616),
    (-0.100, 0.606),
    (-0.170, 0.606),
    (-0.170, 0.6915),
    (-0.136, 0.6895),
    (-0.122, 0.6800),
    (-0.108, 0.6795),
    (-0.092, 0.689),
    (-0.076, 0.704),
)
LIPS = ((0.0, 0.6675), (0.0245, 0.0125))  # center and half axes in (x, z)
# Grid on which depths are looked up: corners (y, z) and spacing in meters.
MAP_LOW, MAP_HIGH, MAP_STEP = (-0.18, 0.58), (0.08, 0.88), 0.0015
UPPER_LIP = 0.669  # z of the line between the lips: above it a beard is a mustache


@dataclass(frozen=True)
class Hairline:
    """How a hairline differs from the average one.

    Attributes
    ----------
    recession : float
        Meters by which hair has gone back at the temples.
    peak : float
        Depth of a widow's peak in meters.
    lift : float
        Height of the forehead above the average in meters.
    thinning : float
        0 to 1: share of the hair on top that is gone.
    phase : float
        Radians; shifts the line's small irregularities.
    """

    recession: float = 0.0
    peak: float = 0.0
    lift: float = 0.0
    thinning: float = 0.0
    phase: float = 0.0


def _rounded(corners: np.ndarray, times: int) -> np.ndarray:
    """An open polyline with its corners cut (Chaikin), its ends kept."""
    for _ in range(times):
        a, b = corners[:-1], corners[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        corners = np.concatenate([corners[:1], cut[1:-1], corners[-1:]])
    return corners


def polygon_depth(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance (N,) of (N, 2) points from the outline, positive inside."""
    nearest = np.full(len(points), np.inf)
    inside = np.zeros(len(points), dtype=bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0)):
        along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        offset = points - a - along[:, None] * (b - a)
        nearest = np.minimum(nearest, np.einsum("nc,nc->n", offset, offset))
        # A ray to the right crosses the outline an odd number of times from inside.
        straddles = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        if straddles.any():
            at = a[0] + (points[:, 1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
            inside ^= straddles & (points[:, 0] < at)
    return np.where(inside, 1, -1) * np.sqrt(nearest)


@functools.cache
def _depth_map(outline: tuple[tuple[float, float], ...], closing: tuple) -> np.ndarray:
    """`polygon_depth` on a grid over the head, for outlines rounded but for `closing`."""
    polygon = np.concatenate([_rounded(np.array(outline), 2), np.reshape(closing, (-1, 2))])
    axes = [np.arange(low, high + MAP_STEP, MAP_STEP) for low, high in zip(MAP_LOW, MAP_HIGH)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return polygon_depth(grid.reshape(-1, 2), polygon).reshape(grid.shape[:2])


def _depth_from_the_side(
    rest: np.ndarray, outline: tuple[tuple[float, float], ...], closing: tuple = ()
) -> np.ndarray:
    """Depth (N,) of (N, 3) rest coordinates in an outline of (y, z).

    Looked up: an outline has a hundred sides and a head tens of thousands of points.
    """
    place = (rest[:, 1:] - np.array(MAP_LOW)) / MAP_STEP
    return map_coordinates(_depth_map(outline, closing), place.T, order=1, mode="nearest")


def on_ear(rest: np.ndarray) -> np.ndarray:
    """Whether (N, 3) rest coordinates lie on an ear."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    return (x > 0.0700) & (y > -0.0625) & (y < -0.010) & (z > 0.680) & (z < 0.7465)


def scalp_depth(rest: np.ndarray, hairline: Hairline = Hairline()) -> np.ndarray:
    """How far inside the hairline a point of the skin lies.

    Parameters
    ----------
    rest : (N, 3) ndarray
    hairline : Hairline, default the average

    Returns
    -------
    (N,) float64 ndarray
        Meters, seen from the side; hair grows where it is positive.  Ears are
        always outside.
    """
    depth = _depth_from_the_side(rest, HAIRLINE, ABOVE_HEAD)
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    front = smooth_step(-0.06, -0.085, y) * smooth_step(0.755, 0.78, z)
    depth = depth - front * (
        hairline.recession * np.exp(-(((x - 0.042) / 0.016) ** 2))
        + hairline.lift
        - hairline.peak * np.exp(-((x / 0.011) ** 2))
    )
    wave = rest @ np.array([170.0, 95.0, 140.0])
    depth += 0.0011 * np.sin(wave + hairline.phase) + 0.0007 * np.sin(2.7 * wave - hairline.phase)
    return np.where(on_ear(rest), -0.01, depth)


def crown(rest: np.ndarray) -> np.ndarray:
    """1 on top of the head, where hair is lost with age, to 0 at the sides; (N,)."""
    return smooth_step(0.785, 0.812, rest[:, 2] + 0.12 * np.clip(rest[:, 1] + 0.02, 0, 0.06))


def hair_density(rest: np.ndarray, hairline: Hairline = Hairline()) -> np.ndarray:
    """Hair per area relative to the top of a full head, (N,) from 0 to 1.

    It rises from a thin edge over about a centimeter.
    """
    depth = scalp_depth(rest, hairline)
    edge = 0.25 * (depth > 0) + 0.75 * smooth_step(0.0, 0.010, depth)
    return edge * (1 - hairline.thinning * crown(rest))


def beard_density(rest: np.ndarray, style: str) -> np.ndarray:
    """Beard hair per area relative to a full beard, (N,) from 0 to 1.

    Parameters
    ----------
    rest : (N, 3) ndarray
    style : str
        ``"full"``, ``"goatee"`` (chin and mustache), ``"mustache"``, ``"chin"``,
        ``"sideburns"`` or ``"none"``.

    Raises
    ------
    ValueError
        If the style is another.
    """
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    (_, lips_z), (lips_x, lips_height) = LIPS
    lips = (x / lips_x) ** 2 + ((z - lips_z) / lips_height) ** 2
    in_front = y < -0.115
    depth = _depth_from_the_side(rest, BEARD)
    everywhere = smooth_step(-0.001, 0.007, depth) * (y < -0.045) * ~on_ear(rest)
    everywhere *= np.where(in_front, smooth_step(0.95, 1.25, lips), 1.0)
    # The groove under the nose and the corners beside the lower lip are thinner.
    everywhere *= 1 - 0.5 * np.exp(-((x / 0.004) ** 2)) * (z > UPPER_LIP) * in_front
    beside = np.exp(-(((x - 0.016) / 0.006) ** 2) - ((z - 0.648) / 0.005) ** 2)
    everywhere *= 1 - 0.6 * beside * in_front
    # Under the jaw it fades toward the neck.
    everywhere *= smooth_step(0.604, 0.622, z + 0.25 * np.clip(y + 0.10, 0, 0.05))
    mustache = in_front & (z > UPPER_LIP)
    if style == "full":
        return everywhere
    if style == "none":
        return np.zeros(len(rest))
    if style == "sideburns":
        return everywhere * smooth_step(-0.090, -0.078, y) * smooth_step(0.675, 0.69, z)
    if style == "mustache":
        return everywhere * mustache * smooth_step(0.036, 0.029, x)
    chin = ~mustache * smooth_step(0.031, 0.023, x) * in_front
    if style == "chin":
        return everywhere * chin * smooth_step(0.652, 0.646, z)
    if style == "goatee":
        ring = (x < 0.036) & (lips < 3.2) & in_front
        return everywhere * np.maximum(
            np.maximum(chin, mustache * smooth_step(0.036, 0.029, x)), ring
        )
    raise ValueError(f"no beard is called {style}")
