"""What all styles of hair share: the scalp, pulls, bundling and coloring.

Hair is grown in the head's own frame, that of the rest coordinates: the skull is
where it is on the average head, whatever the pose, so places and directions are
plain numbers (meters; x to the subject's left, -y forward, z up).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import smooth_step, transform, unit
from data_prep.render.hair.strands import (
    Pull,
    Roots,
    Strands,
    astray,
    clumped,
    curled,
    grow,
    lengths_of,
    locks_of,
    ruffled,
    sample_roots,
)
from data_prep.render.hair.styles import HairChoice, HairColor
from data_prep.render.people.scalp import crown, hair_density, scalp_depth

UP = np.array([0.0, 0.0, 1.0])
FACE = np.array([0.0, -0.10, 0.72])  # behind the middle of the face
UNDER_HAT = 0.003  # meters of hair between the skin and a hat
FLYAWAY = 0.015  # meters a flyaway stands off, on average
POINTS_A_TURN = 5.2  # control points that a turn of a curl needs to look round
APART = 0.1  # added to a feature of roots whose hairs must not be mixed

# (N, 3) posed points to (N,) bool: whether a hat encloses them.
HairCap = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Scalp:
    """What a style is grown on.

    Attributes
    ----------
    roots : Roots
        One for every hair, in random order.
    depth : (N,) ndarray
        `scalp_depth` of the roots.
    field : SignedDistance
        What hair may not enter.
    down : (3,) ndarray
        Unit vector of gravity.
    pressed : (N,) bool ndarray
        Roots under a hat.
    """

    roots: Roots
    depth: np.ndarray
    field: SignedDistance
    down: np.ndarray
    pressed: np.ndarray

    def __len__(self) -> int:
        return len(self.roots)

    def __getitem__(self, which: np.ndarray | slice) -> Scalp:
        return Scalp(
            self.roots[which], self.depth[which], self.field, self.down, self.pressed[which]
        )

    # Regions of the head, (N,) from 0 to 1.

    @property
    def front(self) -> np.ndarray:
        """Above the forehead."""
        y, z = self.roots.rest[:, 1], self.roots.rest[:, 2]
        return smooth_step(-0.085, -0.115, y) * smooth_step(0.785, 0.805, z)

    @property
    def back(self) -> np.ndarray:
        """Behind the ears."""
        return smooth_step(-0.03, 0.02, self.roots.rest[:, 1])

    @property
    def top(self) -> np.ndarray:
        """Where short cuts are long."""
        return smooth_step(0.775, 0.812, self.roots.rest[:, 2])


def prepare_scalp(
    rng: np.random.Generator,
    choice: HairChoice,
    head: np.ndarray,
    skin: PolygonMesh,
    collision: SignedDistance,
    hair_cap: HairCap | None = None,
) -> Scalp:
    """Place the roots of a head of hair.

    Parameters
    ----------
    head : (4, 4) ndarray
        From the head's frame to the posed head.
    skin : PolygonMesh
        Posed triangles, with the attributes ``rest`` and ``normals``.
    collision : SignedDistance
        Posed: skin, clothes and hands.
    hair_cap : HairCap, optional
        What a hat encloses.
    """
    to_head = np.linalg.inv(head)
    near = skin.attributes["rest"][:, 2] > 0.6
    density = np.zeros(len(near))
    density[near] = hair_density(skin.attributes["rest"][near], choice.hairline)
    # Edges inside a triangle are kept sharp by rejection: the mesh is coarse.
    posed = sample_roots(rng, skin, (density > 0).astype(float), int(1.25 * choice.strands))
    kept = rng.random(len(posed)) < hair_density(posed.rest, choice.hairline)
    posed = posed[kept][: choice.strands]
    roots = Roots(
        transform(to_head, posed.points), posed.rest, unit(posed.normals @ to_head[:3, :3].T)
    )
    pressed = hair_cap(posed.points) if hair_cap else np.zeros(len(posed), dtype=bool)
    return Scalp(
        roots=roots,
        depth=scalp_depth(roots.rest, choice.hairline),
        field=collision.moved(to_head),
        down=unit(to_head[:3, :3] @ -UP),
        pressed=pressed,
    )


def hugging(field: SignedDistance, height: np.ndarray, strength: float) -> Pull:
    """The pull that keeps combed hair close to the head.

    Parameters
    ----------
    height : (N,) ndarray
        Distance from the skin, in meters, up to which a strand feels nothing.
    strength : float
        Strength of the pull a centimeter further out.
    """

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        excess = np.clip((field(points) - height) / 0.01, 0, 1.5)
        return -strength * excess[:, None] * field.outward(points)

    return pull


def jitter(rng: np.random.Generator, count: int, amount: float) -> np.ndarray:
    """Offsets (count, 3) of deviation `amount`, for directions that are not quite alike."""
    return rng.normal(0, amount, (count, 3))


def clearance_of(scalp: Scalp, thickness: np.ndarray | float) -> np.ndarray:
    """Distance to keep from the skin; flat under a hat."""
    free = 0.0015 + np.broadcast_to(thickness, len(scalp))
    return np.where(scalp.pressed, 0.0012, free)


def layer_of(scalp: Scalp, height: np.ndarray) -> np.ndarray:
    """Thickness of a layer of hair, (N,) in meters; thin under a hat."""
    return np.where(scalp.pressed, UNDER_HAT, height)


def wandering(rng: np.random.Generator, count: int, strength: float) -> Pull:
    """A pull that leads every strand off on a smooth path of its own."""
    phase = rng.uniform(0, 2 * np.pi, (count, 3))
    waves = rng.uniform(0.5, 1.6, (count, 3))

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return strength * np.sin(2 * np.pi * waves * done + phase)

    return pull


def curtains(choice: HairChoice, fringe: np.ndarray) -> Pull:
    """The pull that draws hanging hair aside from the face, and behind the ears.

    Parameters
    ----------
    fringe : (N,) bool ndarray
        Strands that are meant to hang over the forehead.
    """
    tuck = 0.30 if choice.tucked else 0.05

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        x, y, z = (points - FACE).T
        lateral = np.abs(x)
        before_face = smooth_step(0.045, 0.0, y) * smooth_step(-0.14, -0.02, z) * ~fringe
        aside = before_face * smooth_step(choice.framing + 0.008, choice.framing - 0.024, lateral)
        inward = 0.16 * smooth_step(-0.10, -0.16, z) * smooth_step(0.085, 0.16, lateral)
        behind = tuck * smooth_step(0.10, 0.03, y) * smooth_step(-0.05, 0.0, z) * ~fringe
        sideways = np.sign(x) * (1.2 * aside - inward)
        return np.stack([sideways, 0.5 * aside + behind, np.zeros(len(points))], axis=1)

    return pull


def finished(
    rng: np.random.Generator,
    choice: HairChoice,
    hairs: np.ndarray,
    features: np.ndarray,
    outward: np.ndarray,
    *,
    locks: int,
    clump_shape: float = 1.0,
    curl_begin: float = 0.25,
    looseness: float = 0.2,
) -> np.ndarray:
    """Bundle, curl and ruffle hairs as the choice says.

    Parameters
    ----------
    hairs : (N, K, 3) ndarray
    features : (N, F) ndarray
        By which hairs are alike.
    outward : (N, 3) ndarray
        Unit vectors in which flyaways leave the others.
    locks : int
        Curls and large bundles; each falls into about seven small ones.
    curl_begin, looseness : float
        As in `curled`.
    """
    lengths = lengths_of(hairs)
    lock, centers = locks_of(rng, features, locks)
    wisp, wisp_centers = locks_of(rng, features, 7 * locks)
    strayed = rng.random(len(hairs)) < choice.flyaways
    # No two locks hold together equally well; flyaways hardly at all.
    firm = np.clip(rng.normal(choice.clump, 0.18, len(centers)), 0, 1)[lock]
    firm = np.where(strayed, 0.15 * firm, firm)
    hairs = clumped(hairs, wisp, wisp_centers, 0.7 * firm, 0.8 * clump_shape)
    hairs = clumped(hairs, lock, centers, 0.75 * firm, 1.3 * clump_shape)
    radius, pitch = choice.wave
    if radius > 0:
        hairs = curled(
            rng,
            hairs,
            lengths,
            lock,
            radius=radius,
            pitch=pitch,
            begin=curl_begin,
            looseness=looseness,
        )
    amplitude = choice.frizz * np.where(strayed, rng.uniform(1, 4, len(hairs)), 1.0)
    hairs = ruffled(rng, hairs, lengths, amplitude)
    reach = np.where(strayed, FLYAWAY, 1.5 * choice.frizz)
    return astray(rng, hairs, lengths, outward, reach)


def settled(scalp: Scalp, hairs: np.ndarray) -> np.ndarray:
    """Push hairs out of the skin that bundling or curling drew into it."""
    flat = hairs[:, 1:].reshape(-1, 3)
    pushed = scalp.field.pushed_out(flat, 0.0006).reshape(len(hairs), -1, 3)
    return np.concatenate([hairs[:, :1], pushed.astype(hairs.dtype)], axis=1)


def with_color(
    rng: np.random.Generator,
    color: HairColor,
    hairs: np.ndarray,
    radius: float,
    *,
    rest: np.ndarray | None = None,
    fine: np.ndarray | float = 1.0,
    tip: float = 0.3,
) -> Strands:
    """Give hairs thickness and pigment.

    Parameters
    ----------
    hairs : (N, K, 3) ndarray
    radius : float
        Radius of an average hair at its root, in meters.
    rest : (N, 3) ndarray, optional
        Rest coordinates of the roots: temples go gray first.
    fine : (N,) ndarray or float
        Factor on the thickness (hair at the hairline is finer).
    tip : float
        Thickness at the tip relative to the root.
    """
    count = len(hairs)
    gray = np.full(count, color.gray)
    if rest is not None and 0 < color.gray < 1:
        gray = np.clip(color.gray * (1.35 - 0.6 * crown(rest)), 0, 1)
    white = rng.random(count) < gray
    # Wisps and locks differ, and so does every hair: at the resolution of a portrait
    # it is mostly these streaks that show that hair is made of strands.
    waves = rng.normal(0, 1, (3, 4)) * (350, 350, 1500, 1500)
    streaks = np.sin(hairs[:, 0] @ waves + rng.uniform(0, 2 * np.pi, 4))
    varied = np.exp(0.12 * streaks.sum(axis=1) + rng.normal(0, 0.12, count))
    melanin = np.clip(color.melanin * varied, 0.02, 1.0)
    melanin = np.where(white, rng.uniform(0.0, 0.06, count), melanin)
    return Strands(hairs, radius * fine * rng.uniform(0.75, 1.2, count), melanin, tip)


def fine_edge(scalp: Scalp) -> np.ndarray:
    """Thinner hairs along the hairline, (N,)."""
    return 0.6 + 0.4 * smooth_step(0.0, 0.012, scalp.depth)


def baby_hairs(
    rng: np.random.Generator, choice: HairChoice, scalp: Scalp, count: int, flow: np.ndarray
) -> list[Strands]:
    """Short fine hairs along the hairline, that no tie holds.

    Parameters
    ----------
    flow : (N, 3) ndarray
        Direction of the hair at the roots of `scalp`.
    """
    edge = np.flatnonzero((scalp.depth < 0.010) & ~scalp.pressed)
    if not len(edge):
        return []
    chosen = rng.choice(edge, min(count, len(edge)), replace=False)
    roots = scalp.roots[chosen]
    lengths = rng.uniform(0.008, 0.035, len(chosen))
    directions = roots.along_skin(flow[chosen]) + 0.3 * roots.normals
    directions = directions + jitter(rng, len(chosen), 0.22)
    hug = hugging(scalp.field, 0.004 + 0.006 * rng.random(len(chosen)), 0.5)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return 0.15 * scalp.down + hug(points, done)

    hairs = grow(
        roots.points, directions, lengths, 8, pull=pull, field=scalp.field, clearance=0.001
    )
    hairs = ruffled(rng, hairs.astype(np.float32), lengths, 0.0015)
    return [with_color(rng, choice.color, hairs, 4.5e-5, rest=roots.rest)]


def parted_flow(
    choice: HairChoice, scalp: Scalp, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Direction (N, 3) in which hanging hair leaves the skin, and nearness to the parting."""
    x = scalp.roots.rest[:, 0]
    near = np.exp(-(((x - choice.part) / 0.016) ** 2)) * scalp.top
    back = scalp.back
    flow = np.stack([side * (1 - 0.5 * back), 0.25 + 0.6 * back, -0.3 - 0.8 * back], axis=1)
    # Flat beside the parting: hair that rose there would leave a trench.
    off = 0.22 - 0.10 * near + 0.20 * scalp.front * (1 - near)
    return scalp.roots.along_skin(flow) + off[:, None] * scalp.roots.normals, near
