"""What is sewn to a neckline: stands, collars, lapels, hoods, buttons, strings.

Everything is made on the standing body, next to the garment it belongs to.
"""

from __future__ import annotations

import numpy as np

from data_prep.render.base.geometry import PolygonMesh, border_loops, resampled, swept, tube
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import smooth_step, unit
from data_prep.render.clothes.drape import (
    THROAT,
    Garment,
    StandingBody,
    cloth_attributes,
    forward_of,
    neckline_height,
)

LOOP_POINTS = 96
ON_EDGE = 0.003  # meters from the neckline within which an edge counts as the neck's


def neckline_loop(garment: Garment, body: StandingBody) -> np.ndarray:
    """The edge around the neck, (LOOP_POINTS, 3), on the standing body.

    It starts in front and runs to the subject's left, evenly spaced.
    """
    loops = border_loops(garment.shell.faces)
    points = garment.standing
    # Among the edges (neck, cuffs, hem) the neck's lies on the neckline's zero.
    edges = [points[loop] for loop in loops]
    loop = max(
        edges,
        key=lambda edge: (
            np.abs(neckline_height(edge, body.neck, garment.cut)).mean() < ON_EDGE,
            len(edge),
        ),
    )
    loop = loop if _runs_left(loop) else loop[::-1]
    front = np.argmin(loop[:, 1] + np.abs(loop[:, 0]))
    return resampled(np.roll(loop, -front, axis=0), LOOP_POINTS, closed=True)


def _runs_left(loop: np.ndarray) -> bool:
    """Whether a loop runs counterclockwise seen from above (front, left, back)."""
    x, y = (loop[:, :2] - loop[:, :2].mean(axis=0)).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) > 0


def _outward(loop: np.ndarray) -> np.ndarray:
    """Level unit vectors (K, 3) away from the loop's middle."""
    offsets = loop - loop.mean(axis=0)
    offsets[:, 2] = 0
    return unit(offsets)


def _at_height(field: SignedDistance, points: np.ndarray, height: np.ndarray | float) -> np.ndarray:
    """Points moved along the field's gradient until they are `height` meters off its surface."""
    for _ in range(3):
        points = points - field.outward(points) * (field(points) - height)[..., None]
    return points


def turtleneck(body: StandingBody, loop: np.ndarray, height: float) -> PolygonMesh:
    """A tube up the neck, folded down outside.

    Parameters
    ----------
    height : float
        Meters at the back; the chin leaves room for less in front.
    """
    outward = _outward(loop)
    share = 1 - 0.45 * smooth_step(0.1, 0.9, -outward[:, 1])
    rows = []
    # (part of the height, meters off the skin): up inside, down outside.
    for part, gap in (
        (0.0, 0.003),
        (0.5, 0.003),
        (0.9, 0.004),
        (1.0, 0.006),
        (0.93, 0.009),
        (0.5, 0.011),
        (0.1, 0.012),
        (0.0, 0.009),
        (0.04, 0.004),
    ):
        row = loop + [0, 0, 1] * (part * height * share)[:, None]
        base = _at_height(body.distance, row, 0.0)
        away = unit(0.9 * outward + [0, 0, 0.1])
        rows.append(base + gap * away)
    return swept(np.array(rows), closed=True)


def shirt_collar(
    garment: Garment, body: StandingBody, loop: np.ndarray, height: float, spread: float
) -> PolygonMesh:
    """A stand around the neck and the fall over it.

    Open in front under an open neckline; otherwise its ends meet there.

    Parameters
    ----------
    height : float
        Height of the stand at the back, in meters.
    spread : float
        How far the points of the collar turn to the sides: 0 to 1.
    """
    edge = np.concatenate([loop, loop[:1]])
    if garment.cut.neckline == "v":
        edge = edge[forward_of(edge - body.neck) < THROAT - 0.012]
    edge = resampled(edge, LOOP_POINTS, closed=False)
    outward = _outward(edge)
    t = np.linspace(0, 1, len(edge))
    end = np.minimum(t, 1 - t)
    rise = height * (0.65 + 0.35 * smooth_step(0.0, 0.3, end))
    rows = []
    for part, gap in ((-0.15, 0.004), (0.35, 0.004), (0.8, 0.005), (1.0, 0.006)):
        row = edge + [0, 0, 1] * (part * rise)[:, None]
        rows.append(_at_height(body.distance, row, gap))
    top = rows[-1]
    tips = np.exp(-((end / 0.09) ** 2))
    side = np.where(t < 0.5, 1.0, -1.0)[:, None] * [1.0, 0, 0]
    fall = 1.35 * height * (1 + 0.75 * tips)
    for part, gap in ((0.06, 0.004), (0.25, 0.009), (0.6, 0.012), (0.92, 0.013), (1.0, 0.013)):
        row = top - [0, 0, 1] * (part * fall)[:, None] + gap * outward
        row = row + (part * tips)[:, None] * side * (0.008 + 0.016 * spread)
        rows.append(row if part < 0.3 else garment.field.pushed_out(row, 0.005))
    return swept(np.array(rows), closed=False)


def lapels(
    garment: Garment, body: StandingBody, loop: np.ndarray, width: float, notch: float
) -> PolygonMesh:
    """The front edges of a jacket turned over, and its collar.

    Parameters
    ----------
    width : float
        Width of the lapels at their widest, in meters.
    notch : float
        Depth of the notch between lapel and collar, as a share of the width.
    """
    forward = forward_of(loop - body.neck)
    along = np.clip((forward - 0.03) / (forward.max() - 0.03), 0, 1)  # 1: lowest
    widths = width * smooth_step(1.0, 0.45, along) * (0.62 + 0.38 * smooth_step(0.05, 0.3, along))
    widths = widths * (1 - notch * np.exp(-(((along - 0.2) / 0.035) ** 2)))
    step = 0.004
    slopes = [
        neckline_height(loop + step * axis, body.neck, garment.cut)
        - neckline_height(loop - step * axis, body.neck, garment.cut)
        for axis in np.eye(3)
    ]
    into = unit(-np.stack(slopes, axis=1))
    # The tip of the V has no one direction: smooth along the edge.
    for _ in range(6):
        into = unit(into + 0.5 * (np.roll(into, 1, axis=0) + np.roll(into, -1, axis=0)))
    rows = []
    for part, lift in (
        (0.0, 0.001),
        (0.04, 0.006),
        (0.35, 0.009),
        (0.75, 0.006),
        (1.0, 0.005),
        (0.96, 0.002),
    ):
        row = loop + into * (part * widths)[:, None]
        rows.append(_at_height(garment.field, row, lift))
    return swept(np.array(rows), closed=True)


def hood(garment: Garment, loop: np.ndarray, size: float, folds: np.ndarray) -> PolygonMesh:
    """A hood lying on the shoulders.

    Parameters
    ----------
    size : float
        1 is usual.
    folds : (LOOP_POINTS,) ndarray
        Unevenness along the edge, about -1 to 1.
    """
    outward = _outward(loop)
    behind = smooth_step(-0.8, 0.7, outward[:, 1])
    scale = size * (0.24 + 0.84 * behind) * (1 + 0.12 * folds)
    rows = []
    for out, up in (
        (0.000, -0.004),
        (0.002, 0.012),
        (0.010, 0.026),
        (0.022, 0.032),
        (0.038, 0.026),
        (0.052, 0.010),
        (0.058, -0.010),
        (0.052, -0.030),
        (0.036, -0.040),
    ):
        row = loop + outward * (out * scale)[:, None] + [0, 0, 1] * (up * scale)[:, None]
        rows.append(garment.field.pushed_out(row, 0.003))
    return swept(np.array(rows), closed=True)


def _on_cloth(garment: Garment, points: np.ndarray, height: float) -> np.ndarray:
    """Points (M, 3) before the chest moved back (+y) onto the cloth, `height` meters off it."""
    points = points.copy()
    for _ in range(12):
        points[:, 1] += 0.9 * np.maximum(garment.field(points) - height, 0)
    return points


def drawstrings(garment: Garment, body: StandingBody, length: float) -> list[PolygonMesh]:
    """The two strings of a hood, hanging from the throat."""
    strings = []
    for side in (-1, 1):
        t = np.linspace(0, 1, 14)
        x = side * (0.028 + 0.010 * t)
        path = np.stack(
            [x, np.full(14, body.neck[1] - 0.2), body.neck[2] - 0.075 - length * t], axis=1
        )
        strings.append(tube(_on_cloth(garment, path, 0.004), 0.0023, sides=6))
    return strings


def buttons(
    garment: Garment, body: StandingBody, first: float, spacing: float
) -> list[PolygonMesh]:
    """Buttons down the front, the first `first` meters below the neck's joint."""
    discs = []
    for depth in np.arange(first, 0.5, spacing):
        center = np.array([[0.0, body.neck[1] - 0.25, body.neck[2] - depth]])
        center = _on_cloth(garment, center, 0.001)
        normal = garment.field.outward(center)[0]
        # Five rings: a disc with a rounded rim.
        path = center + normal * np.array([0.0, 0.001, 0.0022, 0.0028, 0.003])[:, None]
        discs.append(tube(path, np.array([0.0055, 0.0057, 0.0053, 0.0045, 0.002]), sides=16))
    return discs


def sewn(mesh: PolygonMesh, garment: Garment, body: StandingBody) -> PolygonMesh:
    """A part on the standing body, posed, with the attributes of cloth.

    Its ``edge`` is 0: all of it is ribbed where the garment's edge is.
    """
    attributes = cloth_attributes(body, mesh.vertices, garment.cut)
    attributes["edge"] = np.zeros(len(mesh.vertices))
    # Rows run outward along a loop that runs left: turn their faces to the outside.
    return PolygonMesh(body.posed(mesh.vertices), mesh.faces[:, ::-1], attributes)
