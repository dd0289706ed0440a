"""Hats: their shapes on a person's skull, and what hair they cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.geometry import PolygonMesh, swept, tube
from data_prep.render.base.noise import Noise
from data_prep.render.base.randomness import pick
from data_prep.render.base.vectors import rotation, smooth_step, transform, unit
from data_prep.render.clothes.fabric import FabricChoice, choose_fabric, fabric_material
from data_prep.render.people.expression import Subject
from data_prep.render.people.head_shape import SKULL_CENTER, HeadShape
from data_prep.render.people.person import PersonChoice

if TYPE_CHECKING:
    import bpy

COLUMNS = 96  # points around a hat
# Height of the edge over `SKULL_CENTER` in front, at the sides and behind, meters.
EDGES: dict[str, tuple[float, float, float]] = {
    "beanie": (0.030, -0.010, -0.060),
    "cuffed beanie": (0.028, -0.010, -0.055),
    "cap": (0.034, 0.006, -0.030),
    "fedora": (0.036, 0.004, -0.030),
    "sun hat": (0.036, 0.004, -0.030),
    "bucket hat": (0.030, 0.000, -0.034),
    "headband": (0.052, 0.020, -0.050),
}
# Shares among women and men who wear one.
KINDS: dict[str, tuple[float, float]] = {
    "beanie": (0.20, 0.22),
    "cuffed beanie": (0.20, 0.20),
    "cap": (0.12, 0.34),
    "fedora": (0.08, 0.16),
    "sun hat": (0.20, 0.02),
    "bucket hat": (0.08, 0.06),
    "headband": (0.12, 0.0),
}
WEAVES: dict[str, dict[str, float]] = {
    "beanie": {"knit": 0.7, "jersey": 0.3},
    "cuffed beanie": {"knit": 1},
    "cap": {"woven": 0.7, "denim": 0.3},
    "fedora": {"wool": 1},
    "sun hat": {"wool": 1},
    "bucket hat": {"woven": 0.7, "denim": 0.3},
    "headband": {"jersey": 0.6, "satin": 0.4},
}
PATTERNS = {"plain": 0.68, "melange": 0.16, "stripes": 0.1, "houndstooth": 0.06}
WEARERS = {"female": 0.08, "male": 0.12}  # shares of people
# Hair gathered where a hat would sit is worn without one.
HATLESS = ("afro", "big curls", "top bun", "high ponytail", "pigtails")
CLEARANCE = 0.004  # meters outside a hat within which hair counts as covered


@dataclass(frozen=True)
class HatChoice:
    """A hat.

    Attributes
    ----------
    kind : str
        Key of `EDGES`.
    fabric : FabricChoice
    band : str
        sRGB code of a ribbon around the crown.
    tilt : float
        Degrees that it is pushed back.
    roll : float
        Degrees to the subject's right.
    fullness : float
        0 close to 1 roomy.
    brim : float
        Width of brim or visor in meters.
    """

    kind: str
    fabric: FabricChoice
    band: str
    tilt: float
    roll: float
    fullness: float
    brim: float


BRIMS = {
    "cap": (0.062, 0.074),
    "fedora": (0.048, 0.065),
    "sun hat": (0.075, 0.115),
    "bucket hat": (0.040, 0.055),
}
BANDS = ("14130f", "3b2a1e", "22303c", "5b1f24", "d8cdb4")


def choose_hat(rng: np.random.Generator, person: PersonChoice, hair_style: str) -> HatChoice | None:
    """Draw a hat, or None; not on hair that is worn high (`HATLESS`)."""
    if rng.random() > WEARERS[person.sex] or hair_style in HATLESS:
        return None
    column = 0 if person.sex == "female" else 1
    kind = pick(rng, {name: shares[column] for name, shares in KINDS.items()})
    low, high = BRIMS.get(kind, (0.0, 0.0))
    return HatChoice(
        kind=kind,
        fabric=choose_fabric(rng, WEAVES[kind], PATTERNS, 0.7),
        band=BANDS[int(rng.integers(len(BANDS)))],
        tilt=float(rng.normal(2.0, 3.0)),
        roll=float(rng.normal(0.0, 2.5)),
        fullness=float(rng.uniform(0, 1)),
        brim=float(rng.uniform(low, high)),
    )


def edge_height(kind: str, azimuth: np.ndarray) -> np.ndarray:
    """Height of the edge over `SKULL_CENTER` at angles from the front, meters."""
    front, side, back = EDGES[kind]
    c = np.cos(azimuth)
    # Through all three at 0, 90 and 180 degrees.
    return side + 0.5 * (front - back) * c + (0.5 * (front + back) - side) * c**2


def _azimuths() -> np.ndarray:
    """Angles (COLUMNS,) from the front to the left; the seam is behind."""
    return np.arange(COLUMNS) * 2 * np.pi / COLUMNS - np.pi


def _ray(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3): azimuth from the front (-y) to the left, elevation from level."""
    level = np.cos(elevation)
    return np.stack([np.sin(azimuth) * level, -np.cos(azimuth) * level, np.sin(elevation)], axis=-1)


def _edge_elevation(head: HeadShape, kind: str, azimuth: np.ndarray) -> np.ndarray:
    """Elevation at which the skull has the height of the hat's edge."""
    wanted = edge_height(kind, azimuth)
    elevation = np.zeros_like(azimuth)
    for _ in range(8):
        ray = _ray(azimuth, elevation)
        radius = head.skull_radius(ray)
        elevation = np.arcsin(np.clip(wanted / radius, -0.95, 0.95))
    return elevation


@dataclass(frozen=True, eq=False)
class Hat:
    """A hat in the axes of rest coordinates, tilted.

    Attributes
    ----------
    parts : dict of str to PolygonMesh
        "crown" and, by kind, "cuff", "brim", "band", "visor", "button"; with the
        attribute ``print``: meters around and up, where the cloth's print lies.
    turn : (4, 4) ndarray
        Its tilt, about `SKULL_CENTER`.
    elevation, radius : (COLUMNS, ...) ndarray
        Elevation of the edge by azimuth, and radius of the crown by azimuth and step from
        edge to top, for `covers`.
    open_top : bool
        Whether hair comes out at the top (headbands).
    """

    parts: dict[str, PolygonMesh]
    turn: np.ndarray
    elevation: np.ndarray
    radius: np.ndarray
    open_top: bool


STEPS = 22


def _cloth(rows: np.ndarray) -> PolygonMesh:
    """A closed sweep with the coordinates that fabric is printed in."""
    around = rows.shape[1]
    up = np.concatenate(
        [[0], np.cumsum(np.linalg.norm(np.diff(rows, axis=0), axis=2).mean(axis=1))]
    )
    grid_azimuth, grid_up = np.meshgrid(np.arange(around) * 2 * np.pi / around, up)
    pattern = np.stack([0.095 * grid_azimuth, grid_up, 0 * grid_up], axis=-1)
    return swept(rows, closed=True, attributes={"print": pattern})


def _crown(kind: str, head: HeadShape, choice: HatChoice, noise: Noise):
    """Rows (STEPS, COLUMNS, 3) about `SKULL_CENTER` from edge to top, their edge and radii."""
    azimuth = _azimuths()
    low = _edge_elevation(head, kind, azimuth)
    t = np.linspace(0, 1, STEPS)[:, None]
    elevation = low + t * (np.pi / 2 - 0.004 - low)
    ray = _ray(azimuth[None], elevation)
    skull = head.skull_radius(ray)
    full = choice.fullness
    if kind in ("beanie", "cuffed beanie"):
        # Knit over hair: thick, with slack at the crown that falls back.
        slack = (0.006 + 0.028 * full) * smooth_step(0.3, 0.8, t)
        behind = 0.5 - 0.5 * np.cos(azimuth)[None] * np.cos(elevation)
        folds = noise(5.0 * ray) * 0.003 * smooth_step(0.1, 0.6, t) * (0.4 + full)
        radius = skull + 0.007 + slack * (0.5 + 0.7 * behind) + folds
    elif kind == "headband":
        radius = skull + 0.004 + 0.003 * np.sin(np.pi * np.clip(t / 0.3, 0, 1))
    elif kind == "cap":
        # Six panels, stiff in front.
        front = np.clip(np.cos(azimuth), 0, 1)[None]
        panels = -0.0012 * np.abs(np.sin(3 * azimuth))[None] ** 0.3
        radius = (
            skull
            + 0.006
            + 0.012 * smooth_step(0, 0.6, t)
            + 0.012 * front * np.sin(np.pi * t) ** 0.7
            + panels
        )
    else:
        # A stiff crown rises steeply and is closed by a rounded or dented top.
        tall = {"fedora": 0.098, "sun hat": 0.092, "bucket hat": 0.090}[kind]
        edge = skull[:1] * np.cos(low)[None]
        rise = edge_height(kind, azimuth)[None]
        wall = np.clip(t / 0.62, 0, 1)
        roof = np.clip((t - 0.62) / 0.38, 0, 1)
        height = rise + wall * (tall - rise) + 0.018 * np.sin(0.5 * np.pi * roof)
        if kind == "fedora":
            # Dented along the middle and pinched on both sides in front.
            height = height - 0.022 * roof * np.cos(azimuth)[None] ** 2
        width = (edge + 0.009) * (1 - 0.10 * wall) * (1 - roof**1.6 * 0.999)
        x, y = width * np.sin(azimuth)[None], -width * np.cos(azimuth)[None]
        if kind == "fedora":
            pinch = np.exp(-(((np.abs(azimuth[None]) - 0.45) / 0.3) ** 2))
            x = x * (1 - 0.25 * pinch * wall)
        rows = np.stack(np.broadcast_arrays(x, y, height), axis=-1)
        return rows, low, _radii(rows, elevation)
    return ray * radius[..., None], low, radius


def _radii(rows: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Distance (STEPS, COLUMNS) of a surface from the origin at elevations of the same shape."""
    distance = np.linalg.norm(rows, axis=-1)
    own = np.arcsin(rows[..., 2] / distance)
    own = np.maximum.accumulate(own, axis=0)
    columns = [
        np.interp(wanted, known, far) for wanted, known, far in zip(elevation.T, own.T, distance.T)
    ]
    return np.stack(columns, axis=1)


def _brim(choice: HatChoice, edge: np.ndarray, noise: Noise) -> np.ndarray:
    """Rows (R, COLUMNS, 3) of a brim from the (COLUMNS, 3) edge of the crown outward."""
    outward = unit(edge * [1, 1, 0])
    azimuth = _azimuths()
    rows = []
    for share in (0.0, 0.03, 0.25, 0.5, 0.75, 1.0):
        reach = choice.brim * share
        if choice.kind == "bucket hat":
            drop = -0.75 * reach
        elif choice.kind == "fedora":
            # Up at the sides and behind, down in front.
            drop = reach * (0.25 - 0.55 * np.clip(np.cos(azimuth), -0.4, 1)) * share
        else:
            drop = -0.18 * reach + 0.010 * share**2 * noise(1.2 * outward)
        rows.append(edge + outward * reach + [0, 0, 1] * np.broadcast_to(drop, COLUMNS)[:, None])
    return np.array(rows)


def _visor(choice: HatChoice, edge: np.ndarray) -> PolygonMesh:
    """The visor of a cap: a bent plate before the front of the (COLUMNS, 3) edge."""
    columns = COLUMNS // 2 + np.arange(-18, 19)
    base = edge[columns]
    s = np.linspace(-1, 1, len(columns))
    reach = choice.brim * np.sqrt(np.clip(1 - s**2, 0, 1)) ** 0.8
    rows = []
    for share in np.linspace(0, 1, 7):
        row = base.copy()
        row[:, 1] -= share * reach
        row[:, 2] -= share * reach * 0.22 + 0.006 * share * np.sin(np.pi * share / 2)
        row[:, 0] *= 1 + 0.03 * share
        rows.append(row)
    rows = np.array(rows)
    pattern = np.stack([rows[..., 0], rows[..., 1], 0 * rows[..., 0]], axis=-1)
    return swept(rows, closed=False, attributes={"print": pattern})


def _turned(choice: HatChoice) -> np.ndarray:
    """The (4, 4) tilt of a hat on the head, from about the origin to `SKULL_CENTER`."""
    turn = np.eye(4)
    turn[:3, :3] = rotation((1, 0, 0), -choice.tilt) @ rotation((0, 1, 0), choice.roll)
    turn[:3, 3] = SKULL_CENTER
    return turn


def fit_hat(rng: np.random.Generator, choice: HatChoice, head: HeadShape) -> Hat:
    """Make a hat that fits a head."""
    noise = Noise(rng, 12)
    rows, low, radius = _crown(choice.kind, head, choice, noise)
    parts = {}
    edge = rows[0]
    if choice.kind == "headband":
        rows = rows[:7]
        radius = radius[:7]
    # The edge is turned in a little, so that cloth has no visible end.
    inner = edge * 0.97
    parts["crown"] = _cloth(np.concatenate([inner[None], rows]))
    outward = unit(rows[1:9] * [1, 1, 0.3])
    if choice.kind == "cuffed beanie":
        tall = rows[:9]
        profile = np.array([0.0, 0.004, 0.0055, 0.006, 0.006, 0.006, 0.0055, 0.003])
        cuff = tall[:8] + outward[:8] * profile[:, None, None]
        parts["cuff"] = _cloth(np.concatenate([cuff, tall[7:8]]))
    if choice.kind in ("fedora", "sun hat"):
        lift = np.array([0.0, 0.002, 0.0024, 0.0024, 0.002, 0.0])
        ribbon = rows[[0, 0, 1, 2, 3, 3]] + unit(edge * [1, 1, 0]) * lift[:, None, None]
        parts["band"] = _cloth(ribbon)
    if choice.kind in ("fedora", "sun hat", "bucket hat"):
        parts["brim"] = _cloth(_brim(choice, edge, noise))
    if choice.kind == "cap":
        parts["visor"] = _visor(choice, edge)
        top = rows[-1].mean(axis=0)
        dome = [top + [0, 0, dz] for dz in (-0.002, 0.001, 0.003, 0.004)]
        knob = tube(np.array(dome), np.array([0.006, 0.0065, 0.005, 0.002]), sides=12)
        parts["button"] = PolygonMesh(knob.vertices, knob.faces, {"print": knob.vertices})
    turn = _turned(choice)
    moved = {name: part.moved(transform(turn, part.vertices)) for name, part in parts.items()}
    return Hat(moved, turn, low, radius, choice.kind == "headband")


def covers(hat: Hat, points: np.ndarray) -> np.ndarray:
    """Whether (M, 3) points, in the axes of rest coordinates, are inside the hat."""
    local = transform(np.linalg.inv(hat.turn), points)
    distance = np.linalg.norm(local, axis=1)
    x, y, z = unit(local).T
    turn = (np.arctan2(x, -y) + np.pi) / (2 * np.pi)
    column = np.rint(turn * COLUMNS).astype(int) % COLUMNS
    low = hat.elevation[column]
    elevation = np.arcsin(np.clip(z, -1, 1))
    share = (elevation - low) / (np.pi / 2 - low)
    last = len(hat.radius) - 1
    step = np.clip(np.rint(share * (STEPS - 1)), 0, last).astype(int)
    inside = (share > 0) & (distance < hat.radius[step, column] + CLEARANCE)
    if hat.open_top:
        inside &= share < last / (STEPS - 1)
    return inside


def hair_cap(hat: Hat, subject: Subject) -> Callable[[np.ndarray], np.ndarray]:
    """Function of posed points (M, 3) that says which of them the hat covers (M,)."""
    to_rest = np.linalg.inv(subject.head)
    return lambda points: covers(hat, transform(to_rest, points))


def build_hat(
    choice: HatChoice, subject: Subject, hat: Hat, rng: np.random.Generator
) -> list[bpy.types.Object]:
    """Put a fitted hat on a subject, in its own axes."""
    from data_prep.render.base.blender import mesh_object, simple_material
    from data_prep.render.base.colors import linear_color

    cloth = fabric_material(rng, choice.fabric, "hat cloth")
    ribbon = simple_material("hat ribbon", linear_color(choice.band), roughness=0.5)
    objects = []
    for name, part in hat.parts.items():
        thing = mesh_object(
            f"hat {name}",
            transform(subject.head, part.vertices),
            part.faces,
            uv=part.attributes["print"][part.faces].reshape(-1, 3)[:, :2],
            material=ribbon if name == "band" else cloth,
        )
        smooth = thing.modifiers.new("smooth", "SUBSURF")
        smooth.levels = smooth.render_levels = 1
        thick = thing.modifiers.new("thickness", "SOLIDIFY")
        thick.thickness, thick.offset = 0.002, 0
        objects.append(thing)
    return objects
