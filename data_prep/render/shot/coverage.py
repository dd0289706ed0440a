"""The matte: the share of each pixel's area that geometry covers, seen through the lens.

Everything is opaque, so neither depth nor light matters: triangles and strands are
drawn into bitmaps of samples, one for each of `positions` on the lens, and the bits
counted (`native/coverage.cpp`).  What a strand looks like is Cycles' own rule: a
Catmull-Rom ribbon that faces the camera, straight in thirds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.render import _coverage
from data_prep.render.base.geometry import Geometry
from data_prep.render.shot.camera import View

# Numbers of positions after which a pixel is settled if all of its samples agree, and all
# of its neighbors'.
STAGES = (8, 24)


@dataclass(frozen=True)
class Lens:
    """A thin lens.

    Attributes
    ----------
    radius : float
        Radius of its opening, in meters; 0 for a pinhole.
    focus : float
        Depth along the optical axis of what is sharp, meters.
    """

    radius: float
    focus: float


def _lens_positions(count: int) -> np.ndarray:
    """Well spread positions on the lens, and offsets of the samples for each.

    Returns
    -------
    (count, 4) float64 ndarray
        x and y on the unit disk, and two offsets in [0, 1): rows 0 to n are well
        spread for every n.
    """
    # The additive recurrence of the generalized golden ratio in four dimensions:
    # `ratio` solves x^5 = x + 1.
    ratio = 1.0
    for _ in range(60):
        ratio = (1 + ratio) ** 0.2
    steps = ratio ** -np.arange(1.0, 5.0)
    unit = (0.5 + np.arange(count)[:, None] * steps) % 1
    radius, angle = np.sqrt(unit[:, 0]), 2 * np.pi * unit[:, 1]
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), unit[:, 2:]])


def _before_camera(points: np.ndarray, view: View) -> np.ndarray:
    """Points in the axes of the camera: x right, y down, z ahead."""
    axes = view.to_world[:3, :3] * [1, -1, -1]
    return ((points - view.to_world[:3, 3]) @ axes).astype(np.float32)


def coverage(
    geometry: Geometry,
    view: View,
    lens: Lens,
    shape: tuple[int, int],
    positions: int,
    threads: int = 1,
) -> np.ndarray:
    """Coverage of every pixel.

    Parameters
    ----------
    geometry : Geometry
        All of it ahead of the camera.
    view : View
    lens : Lens
    shape : (H, W)
        Shape of the photo, in pixels.
    positions : int
        On the lens; each brings 32 samples a pixel.
    threads : int
        They change no pixel.

    Returns
    -------
    (H, W) float32 ndarray
        0 to 1.

    Raises
    ------
    ValueError
        If some geometry is not ahead of the camera.
    """
    vertices = _before_camera(geometry.vertices, view)
    points = _before_camera(geometry.points, view)
    for depths in (vertices[:, 2], points[:, 2]):
        if len(depths) and depths.min() <= 0:
            raise ValueError("part of the subject is behind the camera")
    sizes, triangles = geometry.sizes, geometry.triangles
    agree = int(np.sum(sizes)) == len(points) == len(geometry.radii)
    if not agree or (sizes.size and sizes.min() < 0):
        raise ValueError("sizes, points and radii of the strands do not agree")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise ValueError("a triangle has a vertex that does not exist")
    height, width = shape
    stages = [stage for stage in STAGES if stage < positions] + [positions]
    return _coverage.coverage(
        vertices,
        geometry.triangles,
        points,
        geometry.radii,
        geometry.sizes,
        scale=height / 2 / np.tan(view.field_of_view / 2),
        focus=lens.focus,
        aperture=lens.radius,
        width=width,
        height=height,
        positions=_lens_positions(positions),
        stages=np.array(stages),
        threads=threads,
    )
