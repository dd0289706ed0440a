"""Hair that is tied or divided: buns, tails, a braid, locs and box braids."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from data_prep.render.base.vectors import smooth_step, unit
from data_prep.render.hair.shaping import (
    FLYAWAY,
    UP,
    Scalp,
    baby_hairs,
    clearance_of,
    curtains,
    fine_edge,
    finished,
    hugging,
    jitter,
    parted_flow,
    settled,
    with_color,
)
from data_prep.render.hair.strands import (
    Strands,
    astray,
    braid,
    clumped,
    grow,
    interpolated,
    lengths_of,
    locks_of,
    rope,
    ruffled,
    trimmed,
)
from data_prep.render.hair.styles import HairChoice

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
        (flow + off[:, None] * scalp.roots.normals)[guides] + jitter(rng, len(goal), 0.05),
        lengths[guides],
        16,
        pull=pull,
        field=scalp.field,
        clearance=clearance_of(scalp, loose)[guides],
    )
    along = np.linspace(0, 1, grown.shape[1])[None, :, None]
    inside = goal + jitter(rng, len(goal), 0.005)
    grown = grown + (inside[:, None] - grown[:, -1:]) * along**3
    features = np.column_stack([scalp.roots.points, 2 * ties])
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    lock, centers = locks_of(rng, features, 600)
    strayed = rng.random(count) < choice.flyaways
    hairs = clumped(hairs, lock, centers, np.where(strayed, 0.05, 0.45 * choice.clump), 0.7)
    hairs = ruffled(rng, hairs, lengths, np.where(strayed, 2.0, 0.6) * choice.frizz)
    outward = scalp.roots.normals
    hairs = astray(rng, hairs, lengths, outward, np.full(count, 0.5 * choice.frizz), tied=True)
    # What has left the others is short or broken: tied at both ends it would be a wide arc.
    loose = trimmed(hairs[strayed], rng.uniform(0.2, 0.7, strayed.sum()))
    hairs[strayed] = astray(
        rng, loose, lengths_of(loose), outward[strayed], np.full(len(loose), 0.4 * FLYAWAY)
    )
    return settled(scalp, hairs), flow


def _bun(
    rng: np.random.Generator, choice: HairChoice, center: np.ndarray, away: np.ndarray
) -> Strands:
    """A knot: hair wound around its middle in loops of many planes."""
    radius = rng.uniform(0.030, 0.042)
    count, coils = 5200, 42
    coil = rng.integers(0, coils, count)
    axes = unit(away + jitter(rng, coils, 0.55))[coil]
    first = unit(np.cross(axes, jitter(rng, coils, 1.0)[coil]))
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


def _band(
    rng: np.random.Generator,
    choice: HairChoice,
    center: np.ndarray,
    away: np.ndarray,
    radius: float,
) -> Strands:
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
    spread = jitter(rng, count, 1.0)
    spread = spread - (spread @ away)[:, None] * away
    spread = 0.010 * unit(spread) * np.sqrt(rng.random(count))[:, None]
    roots = start + spread
    directions = away + 9 * spread[:guides] + jitter(rng, guides, 0.08)
    swing = 0.05 * np.array([choice.side, 0.0, 0.0])

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return np.broadcast_to(0.26 * scalp.down + swing * (1 - done), points.shape)

    _, pitch = choice.wave
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
    hairs = finished(
        rng, choice, hairs, spread, unit(spread), locks=60, clump_shape=1.2, curl_begin=0.4
    )
    return with_color(rng, choice.color, settled(scalp, hairs), 7.5e-5)


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
        start[None],
        away[None],
        np.array([length]),
        90,
        pull=pull,
        field=scalp.field,
        clearance=width,
    )
    along = np.linspace(0, 1, 90)
    plaits = braid(rng, middle, 1300, width * (1 - 0.45 * along), pitch=5.2 * width)
    plaits = ruffled(
        rng,
        plaits,
        np.full(len(plaits), length),
        np.where(rng.random(len(plaits)) < 0.05, 0.004, 0.0005),
    )
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
    parts = [
        with_color(
            rng, choice.color, hairs, 7.0e-5, rest=scalp.roots.rest, fine=fine_edge(scalp), tip=0.8
        )
    ]
    parts += baby_hairs(rng, choice, scalp, 600, flow)
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
    directions, _ = parted_flow(choice, scalp, side)
    outer = smooth_step(0.70, 0.82, z)
    count = len(x[ropes])
    aside = curtains(choice, np.zeros(count, dtype=bool))

    hug = hugging(scalp.field, np.full(count, 0.006 + choice.volume), 0.4)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        on_head = smooth_step(0.70, 0.76, points[:, 2])[:, None]
        return 0.40 * scalp.down + aside(points, done) + on_head * hug(points, done)

    layer = 0.004 + choice.volume * (0.4 * rng.random(len(scalp)) + 0.6 * outer)
    middles = grow(
        scalp.roots.points[ropes],
        directions[ropes] + 0.15 * scalp.roots.normals[ropes] + jitter(rng, count, 0.15),
        choice.length * rng.normal(1, 0.08, count),
        64,
        pull=pull,
        field=scalp.field,
        clearance=clearance_of(scalp, layer)[ropes],
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
