"""Growing a head of hair, in the head's own frame and without Blender.

The frame is that of the rest coordinates: the skull is where it is on the average
head, whatever the pose, so places and directions are plain numbers (meters; x to
the subject's left, -y forward, z up).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from data_prep.render.body import smooth_step, transform, unit
from data_prep.render.geometry import PolygonMesh
from data_prep.render.hair_styles import HairChoice, HairColor
from data_prep.render.scalp import crown, hair_density, scalp_depth
from data_prep.render.signed_distance import SignedDistance
from data_prep.render.strands import (
    Pull,
    Roots,
    Strands,
    astray,
    braid,
    clumped,
    curled,
    grow,
    interpolated,
    lengths_of,
    locks_of,
    rope,
    ruffled,
    sample_roots,
    share_above,
    trimmed,
)

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


def _jitter(rng: np.random.Generator, count: int, amount: float) -> np.ndarray:
    return rng.normal(0, amount, (count, 3))


def _clearance(scalp: Scalp, thickness: np.ndarray | float) -> np.ndarray:
    """Distance to keep from the skin; flat under a hat."""
    free = 0.0015 + np.broadcast_to(thickness, len(scalp))
    return np.where(scalp.pressed, 0.0012, free)


def _layer(scalp: Scalp, height: np.ndarray) -> np.ndarray:
    """Thickness of a layer of hair, (N,) in meters; thin under a hat."""
    return np.where(scalp.pressed, UNDER_HAT, height)


def _wandering(rng: np.random.Generator, count: int, strength: float) -> Pull:
    """A pull that leads every strand off on a smooth path of its own."""
    phase = rng.uniform(0, 2 * np.pi, (count, 3))
    waves = rng.uniform(0.5, 1.6, (count, 3))

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return strength * np.sin(2 * np.pi * waves * done + phase)

    return pull


def _curtains(choice: HairChoice, fringe: np.ndarray) -> Pull:
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


def _finish(
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
            rng, hairs, lengths, lock,
            radius=radius, pitch=pitch, begin=curl_begin, looseness=looseness,
        )  # fmt: skip
    amplitude = choice.frizz * np.where(strayed, rng.uniform(1, 4, len(hairs)), 1.0)
    hairs = ruffled(rng, hairs, lengths, amplitude)
    reach = np.where(strayed, FLYAWAY, 1.5 * choice.frizz)
    return astray(rng, hairs, lengths, outward, reach)


def _settled(scalp: Scalp, hairs: np.ndarray) -> np.ndarray:
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
        Of an average hair at its root, in meters.
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


def _fine_edge(scalp: Scalp) -> np.ndarray:
    """Thinner hairs along the hairline, (N,)."""
    return 0.6 + 0.4 * smooth_step(0.0, 0.012, scalp.depth)


def _baby_hairs(
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
    directions = directions + _jitter(rng, len(chosen), 0.22)
    hug = hugging(scalp.field, 0.004 + 0.006 * rng.random(len(chosen)), 0.5)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return 0.15 * scalp.down + hug(points, done)

    hairs = grow(
        roots.points, directions, lengths, 8, pull=pull, field=scalp.field, clearance=0.001
    )
    hairs = ruffled(rng, hairs.astype(np.float32), lengths, 0.0015)
    return [with_color(rng, choice.color, hairs, 4.5e-5, rest=roots.rest)]


# --- families -------------------------------------------------------------------


def grow_stubble(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Hair cut to a few millimeters: it stands off the skin and leans with the growth."""
    roots, count = scalp.roots, len(scalp)
    whorl = np.array([0.012, -0.005, 0.84])  # hair turns away from the crown
    lean = roots.along_skin(roots.rest - whorl + 0.03 * np.array([0, -1, 0]) * scalp.front[:, None])
    lengths = choice.side_length + (choice.length - choice.side_length) * scalp.top
    lengths = lengths * rng.uniform(0.8, 1.1, count) * _fine_edge(scalp)
    directions = unit(roots.normals + 0.75 * lean + _jitter(rng, count, 0.22))
    along = np.linspace(0, 1, 4)[None, :, None]
    bend = 0.35 * lean[:, None] * along**2
    hairs = roots.points[:, None] + lengths[:, None, None] * (along * directions[:, None] + bend)
    fine = _fine_edge(scalp)
    return [with_color(rng, choice.color, hairs.astype(np.float32), 5.5e-5, rest=roots.rest, fine=fine, tip=0.6)]


def hugging(field: SignedDistance, height: np.ndarray, strength: float) -> Pull:
    """The pull that keeps combed hair close to the head.

    Parameters
    ----------
    height : (N,) ndarray
        Distance from the skin, in meters, up to which a strand feels nothing.
    strength : float
        Of the pull a centimeter further out.
    """

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        excess = np.clip((field(points) - height) / 0.01, 0, 1.5)
        return -strength * excess[:, None] * field.outward(points)

    return pull


def _combed(
    rng: np.random.Generator, choice: HairChoice, scalp: Scalp
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How short hair on top is combed.

    Returns
    -------
    flow : (N, 3) ndarray
        Direction along the head.
    off : (N,) ndarray
        How steeply it leaves the skin.
    height : (N,) ndarray
        Thickness of the layer in meters.
    """
    x = scalp.roots.rest[:, 0]
    zero, front = np.zeros(len(x)), scalp.front
    over = -np.sign(choice.part)  # away from the parting
    height = choice.volume * (1 + zero)
    if choice.comb == "side":
        across = np.where((x - choice.part) * over > 0, over, -over)
        flow = np.stack([across, 0.15 - 0.5 * front, zero], axis=1)
        return flow, 0.45 + 0.5 * front, height * (1 + 0.8 * front)
    if choice.comb == "up":
        flow = np.stack([0.4 * over + zero, 0.7 - 1.0 * front, 0.3 + 0.7 * front], axis=1)
        return flow, 0.5 + 0.7 * front, height * (1 + 2.5 * front)
    if choice.comb == "forward":
        flow = np.stack([2 * x + 0.3 * over, -1 + zero, zero], axis=1)
        return flow, 0.45 + zero, height
    if choice.comb == "back":
        flow = np.stack([3 * x, 1 + zero, 0.3 * front], axis=1)
        return flow, 0.40 + 0.35 * front, height * (1 + 0.6 * front)
    swirl = 45 * scalp.roots.rest @ rng.normal(0, 1, (3, 2)) + rng.uniform(0, 2 * np.pi, 2)
    flow = np.column_stack([np.sin(swirl), zero]) + np.array([0.0, -0.5, 0.0])
    return flow, 0.75 + zero, 1.6 * height


def grow_short(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Cuts that are long on top, if at all, and short at the sides."""
    count, guides = len(scalp), slice(0, 1100)
    top = scalp.top
    flow, off, height = _combed(rng, choice, scalp)
    flow = flow * top[:, None] + np.array([0.0, 0.35, -0.9]) * (1 - top[:, None])
    lengths = choice.side_length + (choice.length - choice.side_length) * top
    lengths = lengths * (0.55 + 0.45 * smooth_step(0, 0.012, scalp.depth))
    height = 0.003 + height * (0.25 + 0.75 * top) * rng.uniform(0.4, 1.0, count)
    # At the corners of the head it would stick out sideways.
    corner = 1 - 0.6 * smooth_step(0.040, 0.064, np.abs(scalp.roots.rest[:, 0]))
    height, off = height * corner, (off * top + 0.35 * (1 - top)) * corner
    directions = scalp.roots.along_skin(flow) + off[:, None] * scalp.roots.normals
    messy = 0.28 if choice.comb == "any" else 0.12
    directions = directions[guides] + _jitter(rng, len(directions[guides]), messy)
    onward = 0.10 * unit(flow[guides])
    hug = hugging(scalp.field, _layer(scalp, height)[guides], 0.55)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return 0.05 * scalp.down + onward + hug(points, done)

    curly = choice.wave[0] > 0 and choice.wave[1] < 0.02
    grown = grow(
        scalp.roots.points[guides],
        directions,
        lengths[guides] * rng.normal(1, 0.08, len(directions)),
        28 if curly else 11,
        pull=pull,
        field=scalp.field,
        clearance=_clearance(scalp, 0.3 * height)[guides],
    )
    side = np.sign(scalp.roots.rest[:, 0] - choice.part) * (choice.comb == "side") * top
    features = np.column_stack([scalp.roots.points, 0.5 * APART * side])
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    hairs = trimmed(hairs, rng.uniform(0.75, 1.0, count))
    hairs = _finish(rng, choice, hairs, features, scalp.roots.normals, locks=650, clump_shape=0.8, curl_begin=0.3)
    hairs = _settled(scalp, hairs)
    fine = _fine_edge(scalp)
    return [with_color(rng, choice.color, hairs, 6.5e-5, rest=scalp.roots.rest, fine=fine, tip=0.5)]


def _parted_flow(choice: HairChoice, scalp: Scalp, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Direction (N, 3) in which hanging hair leaves the skin, and nearness to the parting."""
    x = scalp.roots.rest[:, 0]
    near = np.exp(-(((x - choice.part) / 0.016) ** 2)) * scalp.top
    back = scalp.back
    flow = np.stack([side * (1 - 0.5 * back), 0.25 + 0.6 * back, -0.3 - 0.8 * back], axis=1)
    off = 0.22 + 0.18 * near + 0.20 * scalp.front
    return scalp.roots.along_skin(flow) + off[:, None] * scalp.roots.normals, near


def grow_loose(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Hair that hangs: parted, around the face, over or behind the shoulders."""
    count, guides = len(scalp), slice(0, 700)
    x, y, z = scalp.roots.rest.T
    side = np.where(x + rng.normal(0, 0.0018, count) > choice.part, 1.0, -1.0)
    fringe = (y < -0.082) & (np.abs(x) < 0.058) & (z > 0.780) & (choice.fringe > 0)
    directions, near = _parted_flow(choice, scalp, side)
    forward = np.stack([5 * x + 0.3 * choice.side, -1 + 0 * x, -0.5 + 0 * x], axis=1)
    forward = scalp.roots.along_skin(forward) + 0.35 * scalp.roots.normals
    directions = np.where(fringe[:, None], forward, directions)

    radius, pitch = choice.wave
    points = 18 if radius == 0 or pitch > 0.09 else int(np.clip(POINTS_A_TURN * choice.length / pitch, 24, 48))
    lengths = np.full(count, choice.length) * (1 - 0.10 * scalp.back)
    lengths = np.where(fringe, choice.fringe + np.clip(y + 0.127, 0, 0.05), lengths)
    outer = smooth_step(0.70, 0.82, z)  # what grows higher falls over the rest
    thickness = choice.volume * (0.35 * rng.random(count) + 0.65 * outer) * smooth_step(0, 0.03, scalp.depth)
    thickness = np.where(fringe, 0.002 + 0.006 * rng.random(count), thickness)

    aside = _curtains(choice, fringe[guides])
    wander = _wandering(rng, len(x[guides]), 0.025)
    height = np.where(fringe, 0.007, 1.5 * choice.volume + 0.01)
    hug = hugging(scalp.field, _layer(scalp, height)[guides], 0.3)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        drawn = 0.28 * scalp.down + aside(points, done) + wander(points, done)
        # Only on the head: what hangs free is not drawn to neck and shoulders.
        return drawn + smooth_step(0.70, 0.76, points[:, 2])[:, None] * hug(points, done)

    grown = grow(
        scalp.roots.points[guides],
        directions[guides] + _jitter(rng, len(directions[guides]), 0.10),
        lengths[guides] * rng.normal(1, 0.04, len(directions[guides])),
        points,
        pull=pull,
        field=scalp.field,
        clearance=_clearance(scalp, thickness)[guides],
    )
    features = np.column_stack(
        [scalp.roots.points, APART * fringe, 0.5 * APART * side * scalp.top * ~fringe]
    )
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    # Hair is never cut all at one length, and broken hairs are everywhere.
    broken = rng.random(count) < 0.10
    share = np.where(broken, rng.uniform(0.4, 0.95, count), np.clip(rng.normal(0.97, 0.03, count), 0, 1))
    if choice.hem:
        below = choice.hem + rng.normal(0, 0.004, count)
        share = np.minimum(share, share_above(hairs, np.where(fringe, -np.inf, below)))
    hairs = trimmed(hairs, share)
    begin = 0.35 if pitch > 0.055 else 0.2
    hairs = _finish(rng, choice, hairs, features, scalp.roots.normals, locks=330, curl_begin=begin)
    hairs = _settled(scalp, hairs)
    # Fewer hairs are thicker: the same share of the scalp is covered.
    radius = 7.5e-5 * np.sqrt(20000 / max(choice.strands, 12000))
    colored = with_color(rng, choice.color, hairs, radius, rest=scalp.roots.rest, fine=_fine_edge(scalp))
    return [colored, *_baby_hairs(rng, choice, scalp, 350, directions)]


def grow_volume(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Curls that carry themselves: from short curls to an afro."""
    count, guides = len(scalp), slice(0, 900)
    x, _, z = scalp.roots.rest.T
    afro = choice.style == "afro"
    low = smooth_step(0.79, 0.69, z)
    if afro:
        directions = scalp.roots.normals + 0.35 * UP
        lengths, weight = choice.length * (1 - 0.5 * low), 0.012
    else:
        side = np.where(x > choice.part, 1.0, -1.0)
        flow = np.stack([0.8 * side, 0.3 + 0 * x, 0 * x], axis=1)
        directions = 0.7 * scalp.roots.along_skin(flow) + 0.8 * scalp.roots.normals
        lengths, weight = choice.length * (1 - (0.35 if choice.length < 0.11 else 0.0) * low), 0.14
    height = np.full(count, choice.length if afro else choice.volume) * rng.uniform(0.5, 1.1, count)
    aside = _curtains(choice, np.zeros(len(x[guides]), dtype=bool))
    hug = hugging(scalp.field, _layer(scalp, height)[guides], 0.3)
    wander = _wandering(rng, len(x[guides]), 0.16)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        below_brow = smooth_step(0.09, 0.05, points[:, 2] - FACE[2])[:, None]
        drawn = weight * scalp.down + hug(points, done) + wander(points, done)
        return drawn + 0.6 * below_brow * aside(points, done)

    radius, pitch = choice.wave
    grown = grow(
        scalp.roots.points[guides],
        directions[guides] + _jitter(rng, len(x[guides]), 0.25),
        lengths[guides] * rng.normal(1, 0.09, len(x[guides])),
        int(np.clip(POINTS_A_TURN * choice.length / pitch, 16, 48)),
        pull=pull,
        field=scalp.field,
        clearance=_clearance(scalp, 0.5 * height)[guides],
    )
    features = scalp.roots.points
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    hairs = trimmed(hairs, rng.uniform(0.7, 1.0, count))
    hairs = _finish(
        rng, choice, hairs, features, scalp.roots.normals,
        locks=3000 if afro else 700, clump_shape=0.55, curl_begin=0.15, looseness=0.45 if afro else 0.2,
    )  # fmt: skip
    hairs = _settled(scalp, hairs)
    fine = _fine_edge(scalp)
    return [with_color(rng, choice.color, hairs, 7.2e-5, rest=scalp.roots.rest, fine=fine, tip=0.5)]


# Where hair is gathered, and the middle of the knot there (x counts toward the side).
_TIES = {
    "top bun": ((0.0, -0.005, 0.838), (0.0, 0.005, 0.868)),
    "low bun": ((0.0, 0.045, 0.735), (0.0, 0.068, 0.730)),
    "high ponytail": ((0.0, 0.035, 0.815), (0.0, 0.050, 0.822)),
    "low ponytail": ((0.0, 0.042, 0.715), (0.0, 0.052, 0.712)),
    "pigtails": ((0.066, 0.012, 0.745), (0.080, 0.016, 0.742)),
    "side braid": ((0.030, 0.030, 0.690), (0.040, 0.032, 0.680)),
}


def _gathered(
    rng: np.random.Generator, choice: HairChoice, scalp: Scalp, ties: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hairs from the scalp to their tie.

    Parameters
    ----------
    ties : (N, 3) ndarray
        The tie of each root.

    Returns
    -------
    hairs : (N, K, 3) ndarray
    flow : (N, 3) ndarray
        Directions at the roots.
    """
    count, guides = len(scalp), slice(0, 900)
    toward = ties - scalp.roots.points
    # Along the skin hair has further to go than straight through the head.
    lengths = 1.22 * np.linalg.norm(toward, axis=1) + 0.01
    flow = scalp.roots.along_skin(toward)
    loose = choice.volume * rng.random(count) * (1 + 1.5 * scalp.front)
    off = 0.22 + 12 * choice.volume * scalp.front
    goal = ties[guides]

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return 0.42 * unit(goal - points)

    grown = grow(
        scalp.roots.points[guides],
        (flow + off[:, None] * scalp.roots.normals)[guides] + _jitter(rng, len(goal), 0.05),
        lengths[guides],
        16,
        pull=pull,
        field=scalp.field,
        clearance=_clearance(scalp, loose)[guides],
    )
    along = np.linspace(0, 1, grown.shape[1])[None, :, None]
    inside = goal + _jitter(rng, len(goal), 0.005)
    grown = grown + (inside[:, None] - grown[:, -1:]) * along**3
    features = np.column_stack([scalp.roots.points, 2 * ties])
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    lock, centers = locks_of(rng, features, 600)
    strayed = rng.random(count) < choice.flyaways
    hairs = clumped(hairs, lock, centers, np.where(strayed, 0.05, 0.45 * choice.clump), 0.7)
    hairs = ruffled(rng, hairs, lengths, np.where(strayed, 2.0, 0.6) * choice.frizz)
    reach = np.where(strayed, FLYAWAY, 0.5 * choice.frizz)
    hairs = astray(rng, hairs, lengths, scalp.roots.normals, reach, tied=True)
    return _settled(scalp, hairs), flow


def _bun(rng: np.random.Generator, choice: HairChoice, center: np.ndarray, away: np.ndarray) -> Strands:
    """A knot: hair wound around its middle in loops of many planes."""
    radius = rng.uniform(0.030, 0.042)
    count, coils = 5200, 42
    coil = rng.integers(0, coils, count)
    axes = unit(away + _jitter(rng, coils, 0.55))[coil]
    first = unit(np.cross(axes, _jitter(rng, coils, 1.0)[coil]))
    second = np.cross(axes, first)
    start = rng.uniform(0, 2 * np.pi, (count, 1))
    angle = start + np.linspace(0, 1, 18) * rng.uniform(1.8, 4.0, (count, 1))
    height = rng.normal(0, 0.42, coils)[coil][:, None, None] + rng.normal(0, 0.10, (count, 1, 1))
    ball = unit(
        np.cos(angle)[..., None] * first[:, None]
        + np.sin(angle)[..., None] * second[:, None]
        + height * axes[:, None]
    )
    depth = np.sqrt(rng.uniform(0.60, 1.04, (count, 1, 1)))
    loops = center + radius * depth * ball
    loops = loops - 0.18 * ((loops - center) @ away)[..., None] * away  # a little flat
    stray = np.where(rng.random(count) < 1.5 * choice.flyaways, 0.006, 0.0008)
    loops = ruffled(rng, loops.astype(np.float32), np.full(count, 0.12), stray)
    return with_color(rng, choice.color, loops, 7.0e-5)


def _band(rng: np.random.Generator, choice: HairChoice, center: np.ndarray, away: np.ndarray, radius: float) -> Strands:
    """Hair wound around a tail where it is tied."""
    count = 260
    first = unit(np.cross(away, UP + 0.1))
    second = np.cross(away, first)
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 1, 14) * 4.0
    wide = radius * rng.uniform(0.9, 1.12, (count, 1))
    along = rng.normal(0, 0.003, (count, 1, 1))
    ring = (wide * np.cos(angle))[..., None] * first + (wide * np.sin(angle))[..., None] * second
    return with_color(rng, choice.color, (center + ring + along * away).astype(np.float32), 7.5e-5)


def _tail(
    rng: np.random.Generator,
    choice: HairChoice,
    scalp: Scalp,
    start: np.ndarray,
    away: np.ndarray,
    length: float,
    count: int,
) -> Strands:
    """Hair that hangs from a tie."""
    guides = 160
    spread = _jitter(rng, count, 1.0)
    spread = spread - (spread @ away)[:, None] * away
    spread = 0.010 * unit(spread) * np.sqrt(rng.random(count))[:, None]
    roots = start + spread
    directions = away + 9 * spread[:guides] + _jitter(rng, guides, 0.08)
    swing = 0.05 * np.array([choice.side, 0.0, 0.0])

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return np.broadcast_to(0.26 * scalp.down + swing * (1 - done), points.shape)

    radius, pitch = choice.wave
    points = int(np.clip(7 * length / pitch, 20, 44))
    grown = grow(
        roots[:guides],
        directions,
        length * rng.normal(1, 0.05, guides),
        points,
        pull=pull,
        field=scalp.field,
        clearance=0.004 + 0.012 * rng.random(guides),
    )
    hairs = interpolated(grown, spread[:guides], roots, spread)
    hairs = trimmed(hairs, np.clip(rng.normal(0.9, 0.10, count), 0.3, 1))
    hairs = _finish(rng, choice, hairs, spread, unit(spread), locks=60, clump_shape=1.2, curl_begin=0.4)
    return with_color(rng, choice.color, _settled(scalp, hairs), 7.5e-5)


def _plait(
    rng: np.random.Generator,
    choice: HairChoice,
    scalp: Scalp,
    start: np.ndarray,
    away: np.ndarray,
    length: float,
) -> list[Strands]:
    """A braid that falls forward over a shoulder, with a tassel."""
    width = rng.uniform(0.013, 0.018)
    forward = np.array([-0.02 * np.sign(start[0]), -0.32, 0.0])

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return np.broadcast_to(0.22 * scalp.down + forward * (1 - done), points.shape)

    middle = grow(
        start[None], away[None], np.array([length]), 90, pull=pull, field=scalp.field, clearance=width
    )
    along = np.linspace(0, 1, 90)
    plaits = braid(
        rng, middle, 1300, width * (1 - 0.45 * along), pitch=5.2 * width
    )
    plaits = ruffled(rng, plaits, np.full(len(plaits), length), np.where(rng.random(len(plaits)) < 0.05, 0.004, 0.0005))
    end, heading = middle[0, -1], unit(middle[0, -1] - middle[0, -6])
    tassel = _tail(rng, choice, scalp, end, heading, 0.05, 1200)
    return [
        with_color(rng, choice.color, plaits, 7.5e-5, tip=0.7),
        _band(rng, choice, end, heading, 0.5 * width),
        tassel,
    ]


def grow_tied(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Buns, ponytails, pigtails and a braid over the shoulder."""
    tie, knot = (np.array(place) for place in _TIES[choice.style])
    x = scalp.roots.rest[:, 0]
    two = choice.style == "pigtails"
    sides = np.where(x > 0, 1.0, -1.0) if two else np.full(len(scalp), np.sign(choice.side))
    mirror = np.array([1.0, 0.0, 0.0])
    ties = tie + (sides - 1)[:, None] * mirror * tie
    hairs, flow = _gathered(rng, choice, scalp, ties)
    parts = [with_color(rng, choice.color, hairs, 7.0e-5, rest=scalp.roots.rest, fine=_fine_edge(scalp), tip=0.8)]
    parts += _baby_hairs(rng, choice, scalp, 600, flow)
    for sign in (1.0, -1.0) if two else (np.sign(choice.side),):
        flip = np.array([sign, 1.0, 1.0])
        start, center = tie * flip, knot * flip
        away = unit(center - start)
        if choice.style.endswith("bun"):
            parts.append(_bun(rng, choice, center, away))
        elif choice.style == "side braid":
            parts += _plait(rng, choice, scalp, start, away, choice.length)
        else:
            lean = unit(away + np.array([0.5 * choice.side * (not two), 0.0, 0.0]))
            length = choice.length * (0.7 if two else 1.0)
            parts.append(_band(rng, choice, start + 0.006 * away, away, 0.012))
            parts.append(_tail(rng, choice, scalp, start, lean, length, 3000 if two else 5200))
    return parts


def grow_ropes(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Locs and box braids: the hair of each little square of scalp is one rope."""
    braided = choice.style == "box braids"
    ropes = slice(0, int(rng.uniform(120, 160)))
    x, _, z = scalp.roots.rest.T
    side = np.where(x > choice.part, 1.0, -1.0)
    directions, _ = _parted_flow(choice, scalp, side)
    outer = smooth_step(0.70, 0.82, z)
    count = len(x[ropes])
    aside = _curtains(choice, np.zeros(count, dtype=bool))

    hug = hugging(scalp.field, np.full(count, 0.006 + choice.volume), 0.4)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        on_head = smooth_step(0.70, 0.76, points[:, 2])[:, None]
        return 0.40 * scalp.down + aside(points, done) + on_head * hug(points, done)

    layer = 0.004 + choice.volume * (0.4 * rng.random(len(scalp)) + 0.6 * outer)
    middles = grow(
        scalp.roots.points[ropes],
        directions[ropes] + 0.15 * scalp.roots.normals[ropes] + _jitter(rng, count, 0.15),
        choice.length * rng.normal(1, 0.08, count),
        64,
        pull=pull,
        field=scalp.field,
        clearance=_clearance(scalp, layer)[ropes],
    )
    along = np.linspace(0, 1, middles.shape[1])
    if braided:
        hairs = braid(rng, middles, 24, 0.0034 * (1 - 0.4 * along), pitch=0.019)
    else:
        hairs = rope(rng, middles, 70, 0.0038 * (1 - 0.25 * along), pitch=0.03)
    lengths = np.full(len(hairs), choice.length)
    stray = rng.random(len(hairs)) < choice.flyaways
    hairs = ruffled(rng, hairs, lengths, choice.frizz * np.where(stray, 4.0, 0.5))
    # Between them hair lies flat, drawn to the nearest rope.
    nearest = cKDTree(middles[:, 0]).query(scalp.roots.points)[1]
    share = np.array([0.0, 0.35, 0.7, 1.0])[None, :, None]
    start, end = scalp.roots.points[:, None], middles[nearest, 4][:, None]
    flat = start + (end - start) * share
    flat = flat + 0.0012 * np.sin(np.pi * share) * scalp.roots.normals[:, None]
    edges = with_color(rng, choice.color, flat.astype(np.float32), 6e-5, rest=scalp.roots.rest)
    return [with_color(rng, choice.color, hairs, 7.0e-5, tip=0.7), edges]


_GROW = {
    "stubble": grow_stubble,
    "short": grow_short,
    "loose": grow_loose,
    "volume": grow_volume,
    "tied": grow_tied,
    "ropes": grow_ropes,
}


def _under_hat(strands: Strands, scalp: Scalp, covered: HairCap, head: np.ndarray) -> Strands:
    """Press to the skin what a hat encloses; drop hairs that it hides altogether.

    Parameters
    ----------
    strands : Strands
        In the head's frame.
    covered : HairCap
    """
    points = strands.points.astype(np.float64)
    under = covered(transform(head, points.reshape(-1, 3))).reshape(points.shape[:2])
    seen = ~under.all(axis=1)
    points, under = points[seen], under[seen]
    # Below the brim hair comes away from the head little by little.
    order = np.arange(points.shape[1])
    last = np.where(under, order, -1).max(axis=1)
    step = lengths_of(points) / (len(order) - 1)
    free = np.maximum(order - last[:, None], 0) * step[:, None]
    limit = np.where((last < 0)[:, None], np.inf, UNDER_HAT + 0.5 * free)
    too_far = scalp.field(points) - limit
    pressed = too_far > 0
    points[pressed] -= scalp.field.outward(points[pressed]) * too_far[pressed][:, None]
    return Strands(
        points.astype(np.float32), strands.radius[seen], strands.melanin[seen], strands.tip
    )


def grow_hair(
    rng: np.random.Generator,
    choice: HairChoice,
    head: np.ndarray,
    skin: PolygonMesh,
    collision: SignedDistance,
    hair_cap: HairCap | None = None,
) -> list[Strands]:
    """Grow a head of hair on a posed head.

    Parameters
    ----------
    head, skin, collision, hair_cap
        As in `prepare_scalp`.

    Returns
    -------
    list of Strands
        Posed; empty for a bald head.
    """
    if choice.family == "none":
        return []
    scalp = prepare_scalp(rng, choice, head, skin, collision, hair_cap)
    grown = _GROW[choice.family](rng, choice, scalp)
    if hair_cap is not None:
        grown = [_under_hat(strands, scalp, hair_cap, head) for strands in grown]
    return [strands.moved(head) for strands in grown if len(strands)]
