"""Hair that grows freely: cut close, combed short, hanging, or standing by its curl."""

from __future__ import annotations

import numpy as np

from data_prep.render.base.vectors import smooth_step, unit
from data_prep.render.hair.shaping import (
    APART,
    FACE,
    POINTS_A_TURN,
    UP,
    Scalp,
    baby_hairs,
    clearance_of,
    curtains,
    fine_edge,
    finished,
    hugging,
    jitter,
    layer_of,
    parted_flow,
    settled,
    wandering,
    with_color,
)
from data_prep.render.hair.strands import Strands, grow, interpolated, share_above, trimmed
from data_prep.render.hair.styles import HairChoice


def grow_stubble(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Hair cut to a few millimeters: it stands off the skin and leans with the growth."""
    roots, count = scalp.roots, len(scalp)
    whorl = np.array([0.012, -0.005, 0.84])  # hair turns away from the crown
    lean = roots.along_skin(roots.rest - whorl + 0.03 * np.array([0, -1, 0]) * scalp.front[:, None])
    lengths = choice.side_length + (choice.length - choice.side_length) * scalp.top
    lengths = lengths * rng.uniform(0.8, 1.1, count) * fine_edge(scalp)
    directions = unit(roots.normals + 0.75 * lean + jitter(rng, count, 0.22))
    along = np.linspace(0, 1, 4)[None, :, None]
    bend = 0.35 * lean[:, None] * along**2
    hairs = roots.points[:, None] + lengths[:, None, None] * (along * directions[:, None] + bend)
    fine = fine_edge(scalp)
    return [
        with_color(
            rng, choice.color, hairs.astype(np.float32), 5.5e-5, rest=roots.rest, fine=fine, tip=0.6
        )
    ]


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
        from_part = (x - choice.part) * over
        large = from_part + rng.normal(0, 0.002, len(x)) > 0
        # It rises slowly away from the parting and lies flat on the small side: where
        # both sides stood up at once, a trench was left between.
        rise = np.where(large, 0.15 + 0.85 * smooth_step(0.0, 0.055, from_part), 0.1)
        flow = np.stack([np.where(large, over, -over), 0.15 - 0.4 * front * large, zero], axis=1)
        return flow, (0.35 + 0.5 * front) * rise, height * (1 + 0.8 * front) * rise
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
    directions = directions[guides] + jitter(rng, len(directions[guides]), messy)
    onward = 0.10 * unit(flow[guides])
    hug = hugging(scalp.field, layer_of(scalp, height)[guides], 0.55)

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
        clearance=clearance_of(scalp, 0.3 * height)[guides],
    )
    side = np.sign(scalp.roots.rest[:, 0] - choice.part) * (choice.comb == "side") * top
    features = np.column_stack([scalp.roots.points, 0.5 * APART * side])
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    hairs = trimmed(hairs, rng.uniform(0.75, 1.0, count))
    hairs = finished(
        rng,
        choice,
        hairs,
        features,
        scalp.roots.normals,
        locks=650,
        clump_shape=0.8,
        curl_begin=0.3,
    )
    hairs = settled(scalp, hairs)
    fine = fine_edge(scalp)
    return [with_color(rng, choice.color, hairs, 6.5e-5, rest=scalp.roots.rest, fine=fine, tip=0.5)]


def grow_loose(rng: np.random.Generator, choice: HairChoice, scalp: Scalp) -> list[Strands]:
    """Hair that hangs: parted, around the face, over or behind the shoulders."""
    count, guides = len(scalp), slice(0, 700)
    x, y, z = scalp.roots.rest.T
    side = np.where(x + rng.normal(0, 0.0018, count) > choice.part, 1.0, -1.0)
    fringe = (y < -0.082) & (np.abs(x) < 0.058) & (z > 0.780) & (choice.fringe > 0)
    directions, near = parted_flow(choice, scalp, side)
    forward = np.stack([5 * x + 0.3 * choice.side, -1 + 0 * x, -0.5 + 0 * x], axis=1)
    forward = scalp.roots.along_skin(forward) + 0.35 * scalp.roots.normals
    directions = np.where(fringe[:, None], forward, directions)

    radius, pitch = choice.wave
    points = (
        18
        if radius == 0 or pitch > 0.09
        else int(np.clip(POINTS_A_TURN * choice.length / pitch, 24, 48))
    )
    lengths = np.full(count, choice.length) * (1 - 0.10 * scalp.back)
    lengths = np.where(fringe, choice.fringe + np.clip(y + 0.127, 0, 0.05), lengths)
    outer = smooth_step(0.70, 0.82, z)  # what grows higher falls over the rest
    thickness = (
        choice.volume
        * (0.35 * rng.random(count) + 0.65 * outer)
        * smooth_step(0, 0.03, scalp.depth)
        * (1 - 0.7 * near)
    )
    thickness = np.where(fringe, 0.002 + 0.006 * rng.random(count), thickness)

    aside = curtains(choice, fringe[guides])
    wander = wandering(rng, len(x[guides]), 0.025)
    height = np.where(fringe, 0.007, 1.5 * choice.volume + 0.01)
    hug = hugging(scalp.field, layer_of(scalp, height)[guides], 0.3)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        drawn = 0.28 * scalp.down + aside(points, done) + wander(points, done)
        # Only on the head: what hangs free is not drawn to neck and shoulders.
        return drawn + smooth_step(0.70, 0.76, points[:, 2])[:, None] * hug(points, done)

    grown = grow(
        scalp.roots.points[guides],
        directions[guides] + jitter(rng, len(directions[guides]), 0.10),
        lengths[guides] * rng.normal(1, 0.04, len(directions[guides])),
        points,
        pull=pull,
        field=scalp.field,
        clearance=clearance_of(scalp, thickness)[guides],
    )
    features = np.column_stack(
        [scalp.roots.points, APART * fringe, 0.5 * APART * side * scalp.top * ~fringe]
    )
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    # Hair is never cut all at one length, and broken hairs are everywhere.
    broken = rng.random(count) < 0.10
    share = np.where(
        broken, rng.uniform(0.4, 0.95, count), np.clip(rng.normal(0.97, 0.03, count), 0, 1)
    )
    if choice.hem:
        below = choice.hem + rng.normal(0, 0.004, count)
        share = np.minimum(share, share_above(hairs, np.where(fringe, -np.inf, below)))
    hairs = trimmed(hairs, share)
    begin = 0.35 if pitch > 0.055 else 0.2
    hairs = finished(rng, choice, hairs, features, scalp.roots.normals, locks=330, curl_begin=begin)
    hairs = settled(scalp, hairs)
    # Fewer hairs are thicker: the same share of the scalp is covered.
    radius = 7.5e-5 * np.sqrt(20000 / max(choice.strands, 12000))
    colored = with_color(
        rng, choice.color, hairs, radius, rest=scalp.roots.rest, fine=fine_edge(scalp)
    )
    return [colored, *baby_hairs(rng, choice, scalp, 350, directions)]


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
        # A sharp parting would leave a trench in hair that stands.
        side = np.tanh((x - choice.part + rng.normal(0, 0.012, count)) / 0.015)
        flow = np.stack([0.8 * side, 0.3 + 0 * x, 0 * x], axis=1)
        directions = 0.7 * scalp.roots.along_skin(flow) + 0.8 * scalp.roots.normals
        lengths, weight = choice.length * (1 - (0.35 if choice.length < 0.11 else 0.0) * low), 0.14
    height = np.full(count, choice.length if afro else choice.volume) * rng.uniform(0.5, 1.1, count)
    aside = curtains(choice, np.zeros(len(x[guides]), dtype=bool))
    hug = hugging(scalp.field, layer_of(scalp, height)[guides], 0.3)
    wander = wandering(rng, len(x[guides]), 0.16)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        below_brow = smooth_step(0.09, 0.05, points[:, 2] - FACE[2])[:, None]
        drawn = weight * scalp.down + hug(points, done) + wander(points, done)
        return drawn + 0.6 * below_brow * aside(points, done)

    _, pitch = choice.wave
    grown = grow(
        scalp.roots.points[guides],
        directions[guides] + jitter(rng, len(x[guides]), 0.25),
        lengths[guides] * rng.normal(1, 0.09, len(x[guides])),
        int(np.clip(POINTS_A_TURN * choice.length / pitch, 16, 48)),
        pull=pull,
        field=scalp.field,
        clearance=clearance_of(scalp, 0.5 * height)[guides],
    )
    features = scalp.roots.points
    hairs = interpolated(grown, features[guides], scalp.roots.points, features)
    hairs = trimmed(hairs, rng.uniform(0.7, 1.0, count))
    hairs = finished(
        rng,
        choice,
        hairs,
        features,
        scalp.roots.normals,
        locks=3000 if afro else 700,
        clump_shape=0.55,
        curl_begin=0.15,
        looseness=0.45 if afro else 0.2,
    )
    hairs = settled(scalp, hairs)
    fine = fine_edge(scalp)
    return [with_color(rng, choice.color, hairs, 7.2e-5, rest=scalp.roots.rest, fine=fine, tip=0.5)]
