"""Cloth draped over a body: the shape of a garment as arrays.

A garment is made on the standing body, where it is the zero surface of a
distance field: the body's own, widened by the garment's ease and rounded so
that cloth bridges hollows.  It is cut at the neckline and the cuffs, bound to
the bones of the nearest skin, posed with the body and creased.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from data_prep.render.base.geometry import (
    PolygonMesh,
    clipped,
    largest_component,
    neighbor_average,
    quad_samples,
    smoothed,
    vertex_normals,
)
from data_prep.render.base.noise import Noise
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import smooth_step, unit
from data_prep.render.people.body import bone_share
from data_prep.render.people.expression import Subject

CELL = 0.008  # meters, of the distance field
SKIN_GAP = 0.003  # meters that cloth keeps off the skin at least
# Bones whose skin no garment covers.
BARE_BONES = ("head", "wrist", "finger", "metacarpal")
ARM_RADIUS = 0.055  # meters, of the sleeve that a print is laid around
LOWEST = 0.56  # meters below the neck down to which there is cloth
# An opening is outlined in a plane tilted by this, in radians, from the ground;
# there the nape and the pit of the throat are so far forward of the neck's joint.
OPENING_TILT = 0.7
NAPE, THROAT = -0.030, 0.080
NECK_LEAN = 0.2  # meters that a level cut falls, a meter forward
NAPE_LEVEL = 0.008  # meters above the joint
# Shares of the arm between which a sleeve widens: over the deltoid it lies close, with
# this share of the ease that the rest of the garment has.
SLEEVE_WIDENS, CLOSE_EASE = (0.30, 0.60), 0.25
CUFF = (0.80, 0.96)  # shares of the arm between which it narrows again
NAPE_RISE = 0.012  # meters along the neck that an opening goes down behind the joint


@dataclass(frozen=True)
class Cut:
    """Where a garment ends.

    Attributes
    ----------
    neckline : str
        "round", "v" (also under an open collar), or "stand": level around the
        neck, as turtlenecks are.
    depth : float
        Meters from the neck's base down to the lowest point in front; for a
        "stand" how far it rises above the base.
    width : float
        Half the width of the opening in meters; a "stand" has none.
    sleeve : float
        Share of the arm, 0 shoulder to 1 wrist, that the sleeve covers.
    """

    neckline: str
    depth: float
    width: float
    sleeve: float


class StandingBody:
    """The skin under the clothes, before the body is posed."""

    def __init__(self, subject: Subject) -> None:
        mesh = subject.mesh
        self.subject = subject
        self.vertices = subject.standing
        self.neck = mesh.joint(self.vertices, "joint-neck")
        quads = mesh.faces[mesh.faces_of("body")]
        bare = bone_share(mesh, BARE_BONES) > 0.5
        low = self.vertices[:, 2] < self.neck[2] - LOWEST - 0.06
        worn = quads[~(bare | low)[quads].any(axis=1)]
        samples = quad_samples(self.vertices, worn, 0.9 * CELL)
        self.points = samples @ self.vertices
        self.normals = unit(samples @ vertex_normals(self.vertices, quads))
        self._weights = samples @ mesh.weights.tocsr()
        self._tree = cKDTree(self.points)

    @cached_property
    def distance(self) -> SignedDistance:
        """Distance to the skin that clothes may cover."""
        wide = 0.03 + np.abs(self.points[:, 0]).max()
        low = self.neck + [-wide, -0.36, -LOWEST]
        high = self.neck + [wide, 0.17, 0.09]
        low[0], high[0] = -wide, wide
        return SignedDistance.around([(self.points, self.normals)], low, high, CELL)

    @cached_property
    def arms(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Shoulder and wrist (3,) of the left and the right arm."""
        mesh = self.subject.mesh
        return tuple(
            (
                mesh.joint(self.vertices, f"joint-{side}-shoulder"),
                mesh.joint(self.vertices, f"joint-{side}-hand"),
            )
            for side in "lr"
        )

    @cached_property
    def elbows(self) -> tuple[np.ndarray, np.ndarray]:
        """Elbows of the left and the right arm, (3,) each."""
        mesh = self.subject.mesh
        return tuple(mesh.joint(self.vertices, f"joint-{side}-elbow") for side in "lr")

    def along_arm(self, points: np.ndarray) -> np.ndarray:
        """Position (M,) along the nearer arm: 0 at the shoulder, 1 at the wrist."""
        left, right = (
            ((points - shoulder) @ (wrist - shoulder)) / ((wrist - shoulder) @ (wrist - shoulder))
            for shoulder, wrist in self.arms
        )
        return np.where(points[:, 0] > 0, left, right)

    def posed(self, points: np.ndarray) -> np.ndarray:
        """Points (M, 3) near the standing body, moved as the skin next to them."""
        bones = self.subject.mesh.bones
        stacked = np.stack([self.subject.bones[name] for name in bones]).reshape(-1, 16)
        distances, nearest = self._tree.query(points, k=8)
        closeness = 1 / (distances + 0.004) ** 2
        closeness /= closeness.sum(axis=1, keepdims=True)
        matrices = (self._weights @ stacked)[nearest]
        blended = np.einsum("mk,mkj->mj", closeness, matrices).reshape(-1, 4, 4)
        return np.einsum("mij,mj->mi", blended[:, :3, :3], points) + blended[:, :3, 3]


def forward_of(offsets: np.ndarray) -> np.ndarray:
    """Place (M,) of offsets (M, 3) from the neck's joint, from the nape to the chest."""
    return -np.cos(OPENING_TILT) * offsets[:, 1] - np.sin(OPENING_TILT) * offsets[:, 2]


def neckline_height(points: np.ndarray, neck: np.ndarray, cut: Cut) -> np.ndarray:
    """How far (M,) points are above the neckline, in meters; negative is covered.

    Parameters
    ----------
    points : (M, 3) ndarray
        On the standing body.
    neck : (3,) ndarray
        The neck's joint.
    """
    x, y, z = (points - neck).T
    if cut.neckline == "stand":
        return (z - cut.depth - NECK_LEAN * y) / np.hypot(1, NECK_LEAN)
    # Seen along the neck, which leans forward, an opening is a plain outline:
    # x sideways, `forward` from the nape over the pit of the throat to the chest.
    forward = forward_of(points - neck)
    middle = 0.5 * (NAPE + THROAT)
    front = THROAT - middle + (cut.depth if cut.neckline == "round" else 0.0)
    reach = np.where(forward > middle, front, middle - NAPE)
    radius = np.hypot(x / cut.width, (forward - middle) / reach)
    opening = (1 - radius) * cut.width
    if cut.neckline == "v":
        tip = THROAT + cut.depth
        slope = cut.width / (tip - middle)
        sides = ((tip - forward) * slope - np.abs(x)) / np.hypot(1, slope)
        opening = np.maximum(opening, np.minimum(sides, forward - middle))
    # The outline continues through the back; it counts in front and above the nape.
    rise = np.cos(OPENING_TILT) * z - np.sin(OPENING_TILT) * y
    opening = np.minimum(opening, np.maximum(-y, rise + NAPE_RISE))
    return np.maximum(opening, z - NAPE_LEVEL - NECK_LEAN * y)


def cut_height(body: StandingBody, points: np.ndarray, cut: Cut) -> np.ndarray:
    """How far (M,) points are beyond the garment's edges, in meters; negative is covered."""
    (shoulder, wrist), _ = body.arms
    past_cuff = (body.along_arm(points) - cut.sleeve) * np.linalg.norm(wrist - shoulder)
    outer = np.abs(points[:, 0]) > abs(shoulder[0])
    past_cuff = np.where(outer, past_cuff, -1.0)
    return np.maximum(neckline_height(points, body.neck, cut), past_cuff)


def _roominess(body: StandingBody, field: SignedDistance) -> np.ndarray:
    """Share of the ease at every cell of a field, `CLOSE_EASE` to 1.

    Sleeves are wide between the deltoid and the cuff; sleeves that are
    wide all the way up would make everybody's shoulders broad.
    """
    low = -field.to_grid[:3, 3] * CELL
    sides, depths, heights = (
        start + CELL * np.arange(count) for start, count in zip(low, field.values.shape)
    )
    shoulder, wrist = body.arms[0]
    axis = (wrist - shoulder) / ((wrist - shoulder) @ (wrist - shoulder))
    # Both arms at once: the body is nearly symmetric.
    along = (
        (np.abs(sides) - shoulder[0])[:, None, None] * axis[0]
        + (depths - shoulder[1])[:, None] * axis[1]
        + (heights - shoulder[2]) * axis[2]
    )
    outer = smooth_step(-0.05, 0.0, np.abs(sides) - shoulder[0])[:, None, None]
    wide = smooth_step(*SLEEVE_WIDENS, along) * smooth_step(*CUFF[::-1], along)
    return 1 - (1 - CLOSE_EASE) * outer * (1 - wide)


def cloth_field(body: StandingBody, gap: float, ease: float) -> SignedDistance:
    """Distance to the cloth of an uncut garment on the standing body.

    Parameters
    ----------
    gap : float
        Meters between skin and cloth at the neck.
    ease : float
        Meters more, from the chest down; little of it over the shoulders.
    """
    skin = body.distance
    low = -skin.to_grid[:3, 3] * CELL
    heights = low[2] + CELL * np.arange(skin.values.shape[2]) - body.neck[2]
    loose = smooth_step(-0.03, -0.17, heights) * _roominess(body, skin)
    near = gaussian_filter(skin.values, 0.013 / CELL, mode="nearest") - (gap + ease * loose)
    # Between the breasts and below them cloth hangs free of the skin.
    far = gaussian_filter(skin.values, 0.034 / CELL, mode="nearest")
    far = far - (gap + ease * loose) + 0.05 * smooth_step(-0.12, -0.05, heights)
    values = np.minimum(np.minimum(near, far), skin.values - max(gap, SKIN_GAP))
    return SignedDistance(values.astype(np.float32), skin.to_grid, skin.scale)


def _on_trunk(body: StandingBody, points: np.ndarray) -> np.ndarray:
    """Meters (M, 2) around the trunk and up it."""
    x, y, z = (points - body.neck).T
    # Straight across the chest, and on around the sides; the tops of the shoulders
    # belong to the front.
    side = (
        np.sign(x)
        * smooth_step(0.06, 0.17, np.abs(x))
        * (0.35 + 0.65 * smooth_step(-0.03, -0.15, z))
    )
    return np.stack([x + side * np.maximum(y + 0.09, 0), z], axis=1)


def _on_sleeve(body: StandingBody, points: np.ndarray, side: int) -> np.ndarray:
    """Meters (M, 2) around an arm (1 left, -1 right) and along it."""
    arm = 0 if side > 0 else 1
    (shoulder, wrist), elbow = body.arms[arm], body.elbows[arm]
    # Around each bone of its own: the line from shoulder to wrist leaves a bent arm.
    upper, lower = elbow - shoulder, wrist - elbow
    reached = np.clip((points - shoulder) @ upper / (upper @ upper), -np.inf, 1)
    beyond = np.clip((points - elbow) @ lower / (lower @ lower), 0, np.inf)
    center = shoulder + reached[:, None] * upper + beyond[:, None] * lower
    along = reached * np.linalg.norm(upper) + beyond * np.linalg.norm(lower)
    axis = unit(wrist - shoulder)
    across = unit(np.cross(axis, [0, 1, 0]))
    offset = points - center
    angle = np.arctan2(offset @ across, offset @ np.cross(axis, across))
    return np.stack([ARM_RADIUS * angle, -along], axis=1)


def seam_height(body: StandingBody, points: np.ndarray) -> np.ndarray:
    """How far (M,) points are beyond the seam of the sleeve, in meters; negative on the trunk."""
    heights = []
    for (shoulder, wrist), side in zip(body.arms, (1, -1)):
        along = (points - shoulder) @ unit(wrist - shoulder)
        heights.append(np.minimum(side * points[:, 0] - abs(shoulder[0]) + 0.01, along))
    return np.maximum(*heights)


def print_coordinates(body: StandingBody, standing: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Where the print of the cloth lies on a garment.

    Sleeves are cut apart from the trunk: where they are sewn on, the print jumps
    from one face to the next.

    Parameters
    ----------
    standing : (V, 3) ndarray
        Vertices on the standing body.
    faces : (F, C) int ndarray

    Returns
    -------
    (F * C, 2) ndarray
        Meters around and up, of every corner in the order of the faces.
    """
    corners = _on_trunk(body, standing)[faces]
    sewn_on = seam_height(body, standing)[faces].mean(axis=1) > 0
    left = standing[faces[:, 0], 0] > 0
    for side, chosen in ((1, sewn_on & left), (-1, sewn_on & ~left)):
        own = _on_sleeve(body, standing, side)[faces[chosen]]
        # Around the arm the angle has a seam of its own.
        around, turn = own[:, :, 0], 2 * np.pi * ARM_RADIUS
        own[:, :, 0] = around - turn * np.rint((around - around[:, :1]) / turn)
        corners[chosen] = own
    return corners.reshape(-1, 2)


def fold_heights(
    rng: np.random.Generator, body: StandingBody, points: np.ndarray, covered: np.ndarray
) -> np.ndarray:
    """Height (M,) of creases, about -1 to 1, at points (M, 3) of the standing body.

    Creases run from the armpits toward the middle of the chest and around the
    sleeves; they fade out at the edges.

    Parameters
    ----------
    covered : (M,) ndarray
        Meters inside the garment's edges.
    """
    noises = [Noise(rng) for _ in range(3)]
    relative = points - body.neck
    side = np.tanh(relative[:, 0] / 0.06)
    lean = 0.7 * side * smooth_step(-0.45, -0.15, relative[:, 2])
    down = np.cos(lean) * relative[:, 2] + np.sin(lean) * relative[:, 0]
    along = np.cos(lean) * relative[:, 0] - np.sin(lean) * relative[:, 2]
    on_body = np.stack([along / 0.20, relative[:, 1] / 0.14, down / 0.075], axis=1)
    arm = body.along_arm(points)
    length = np.linalg.norm(body.arms[0][1] - body.arms[0][0])
    on_arm = np.stack([arm * length / 0.05, relative[:, 1] / 0.12, relative[:, 0] / 0.15], axis=1)
    sleeve = smooth_step(-0.02, 0.12, arm) * (np.abs(relative[:, 0]) > 0.12)
    warp = 0.4 * noises[2](relative / 0.12)[:, None]
    coarse = [noise(place + warp) for noise, place in zip(noises, (on_body, on_arm))]
    fine = [noise(2.3 * place + 7.0) for noise, place in zip(noises, (on_body, on_arm))]
    # Fine creases lie in the valleys of coarse folds.
    body_folds, arm_folds = (
        np.tanh(a) + 0.35 * b * smooth_step(0.7, -0.4, a) for a, b in zip(coarse, fine)
    )
    # Deep rings around a sleeve would make it a chain of pads.
    folds = 0.8 * body_folds * (1 - sleeve) + 0.55 * arm_folds * sleeve
    return np.clip(folds, -1, 1) * smooth_step(0.012, 0.09, covered)


@dataclass(frozen=True, eq=False)
class Garment:
    """One layer of clothes.

    Attributes
    ----------
    shell : PolygonMesh
        Posed triangles with `cloth_attributes`.
    standing : (V, 3) ndarray
        Its vertices on the standing body.
    field : SignedDistance
        To the uncut cloth, on the standing body.
    cut : Cut
    """

    shell: PolygonMesh
    standing: np.ndarray
    field: SignedDistance
    cut: Cut

    def posed(self, points: np.ndarray) -> np.ndarray:
        """Points (M, 3) on the standing cloth, moved with it and its creases."""
        distances, nearest = cKDTree(self.standing).query(points, k=4)
        closeness = 1 / (distances + 0.002)
        closeness /= closeness.sum(axis=1, keepdims=True)
        shifts = (self.shell.vertices - self.standing)[nearest]
        return points + np.einsum("mk,mkc->mc", closeness, shifts)


def cloth_attributes(body: StandingBody, points: np.ndarray, cut: Cut) -> dict[str, np.ndarray]:
    """Place on the standing body and meters from the neckline, at points (M, 3) there."""
    return {
        "standing": points,
        "edge": -neckline_height(points, body.neck, cut),
    }


def drape(
    rng: np.random.Generator, body: StandingBody, cut: Cut, *, gap: float, ease: float, folds: float
) -> Garment:
    """Make a garment.

    Parameters
    ----------
    gap, ease : float
        As in `cloth_field`.
    folds : float
        Height of the creases in meters.
    """
    field = cloth_field(body, gap, ease)
    vertices, faces, _, _ = marching_cubes(field.values, 0.0)
    low = -field.to_grid[:3, 3] * CELL
    shell = PolygonMesh(vertices * CELL + low, faces.astype(np.int64))
    shell = clipped(shell, cut_height(body, shell.vertices, cut))
    shell = largest_component(shell)
    average = neighbor_average(shell.faces, len(shell.vertices))
    standing = smoothed(shell.vertices, average, 4)
    standing = body.distance.pushed_out(standing, max(gap, SKIN_GAP))
    posed = body.posed(standing)
    # Skin turns at once where bones meet; cloth spreads the turn.
    posed = standing + smoothed(posed - standing, average, 10)
    covered = -cut_height(body, standing, cut)
    heights = folds * fold_heights(rng, body, standing, covered)
    posed = posed + vertex_normals(posed, shell.faces) * heights[:, None]
    attributes = cloth_attributes(body, standing, cut)
    return Garment(PolygonMesh(posed, shell.faces, attributes), standing, field, cut)


def covered_vertices(body: StandingBody, cut: Cut, margin: float = 0.02) -> np.ndarray:
    """Whether (N,) vertices of the body are hidden at least `margin` meters inside the edges."""
    mesh = body.subject.mesh
    inside = cut_height(body, body.vertices, cut) < -margin
    worn = bone_share(mesh, BARE_BONES) < 0.3
    return inside & worn
