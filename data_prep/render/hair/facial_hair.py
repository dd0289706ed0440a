"""Eyebrows, eyelashes and beards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.randomness import clipped_normal, pick
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import smooth_step, transform, unit
from data_prep.render.hair.hair import hair_material, strand_objects
from data_prep.render.hair.shaping import hugging, with_color
from data_prep.render.hair.strands import (
    Roots,
    Strands,
    clumped,
    grow,
    interpolated,
    locks_of,
    ruffled,
    sample_roots,
    trimmed,
)
from data_prep.render.hair.styles import HairColor
from data_prep.render.people.expression import Subject
from data_prep.render.people.person import PersonChoice
from data_prep.render.people.scalp import UPPER_LIP, beard_density

# Beards: region (`scalp.beard_density`), share of men, length and number of hairs.
BEARDS: dict[str, tuple[str, float, tuple[float, float], int]] = {
    "none": ("none", 0.44, (0.0, 0.0), 0),
    "stubble": ("full", 0.20, (0.0010, 0.0035), 10000),
    "short beard": ("full", 0.14, (0.006, 0.014), 13000),
    "full beard": ("full", 0.07, (0.018, 0.050), 13000),
    "goatee": ("goatee", 0.06, (0.005, 0.016), 5600),
    "mustache": ("mustache", 0.05, (0.005, 0.009), 2800),
    "chin beard": ("chin", 0.02, (0.006, 0.016), 2200),
    "sideburns": ("sideburns", 0.02, (0.004, 0.008), 1200),
}
YOUNGEST_BEARD = 18  # years
APART_FROM_LIP = 0.02  # feature distance between a mustache and the beard below the mouth
STRAIGHT_BELOW = 0.004  # meters: shorter hairs need no bending

# An eyebrow in rest coordinates (meters): from the nose outward along x.
BROW_START, BROW_END = 0.0105, 0.0560
BROW_LINE = 0.7520  # z at its start
BROW_HAIRS = 1150  # both brows of an average man

LASHES = {"upper": ("eyelashes-2", 110), "lower": ("eyelashes-1", 60)}


@dataclass(frozen=True)
class FacialHairChoice:
    """Brows, lashes and beard; lengths in meters.

    Attributes
    ----------
    beard : str
        Key of `BEARDS`.
    beard_length : float
    beard_color, brow_color : HairColor
    brow_width : float
        Half the height of the brows where they are widest.
    brow_density : float
        Relative to an average man.
    brow_arch : float
        Rise of the brows from their start to their highest point.
    lash_length : float
        Relative to the average.
    """

    beard: str
    beard_length: float
    beard_color: HairColor
    brow_color: HairColor
    brow_width: float
    brow_density: float
    brow_arch: float
    lash_length: float


def choose_facial_hair(rng: np.random.Generator, person: PersonChoice) -> FacialHairChoice:
    """Draw brows, lashes and beard.

    Brows are darker than blond hair and keep their natural color under a dye;
    beards are redder than hair and go gray before it.
    """
    male = person.sex == "male"
    kind = pick(rng, {name: share for name, (_, share, *_) in BEARDS.items()})
    if not male or person.years < YOUNGEST_BEARD:
        kind = "none"
    natural = HairColor(
        melanin=float(np.clip(person.hair_melanin, 0.2, 0.96)),
        redness=person.hair_redness,
        gray=person.gray,
        roughness=0.35,
    )
    brows = replace(natural, melanin=max(natural.melanin, 0.48), gray=0.5 * natural.gray)
    beard = replace(
        natural,
        redness=float(min(1.0, natural.redness + 0.1)),
        gray=float(min(1.0, 1.3 * natural.gray)),
    )
    return FacialHairChoice(
        beard=kind,
        beard_length=float(rng.uniform(*BEARDS[kind][2])),
        beard_color=beard,
        brow_color=brows,
        brow_width=clipped_normal(rng, 0.0050 if male else 0.0041, 0.0007, 0.0026, 0.0068),
        brow_density=clipped_normal(rng, 1.0 if male else 0.8, 0.15, 0.45, 1.4),
        brow_arch=clipped_normal(rng, 0.0050 if male else 0.0068, 0.0014, 0.0020, 0.0095),
        lash_length=clipped_normal(rng, 0.85 if male else 1.1, 0.12, 0.6, 1.4),
    )


def bent(
    roots: np.ndarray, directions: np.ndarray, toward: np.ndarray, lengths: np.ndarray, count: int
) -> np.ndarray:
    """Short hairs as arcs.

    Parameters
    ----------
    roots : (N, 3) ndarray
    directions : (N, 3) ndarray
        Unit vectors in which hairs leave their roots.
    toward : (N, 3) ndarray
        What is added to the direction on the way to the tip.
    lengths : (N,) ndarray
        Meters.
    count : int
        Control points.

    Returns
    -------
    (N, count, 3) float32 ndarray
    """
    along = np.linspace(0, 1, count)[None, :, None]
    course = along * directions[:, None] + 0.5 * along**2 * toward[:, None]
    return (roots[:, None] + lengths[:, None, None] * course).astype(np.float32)


def _in_head(posed: Roots, to_head: np.ndarray) -> Roots:
    normals = unit(posed.normals @ to_head[:3, :3].T)
    return Roots(transform(to_head, posed.points), posed.rest, normals)


def brow_line(choice: FacialHairChoice, along: np.ndarray) -> np.ndarray:
    """Height of the middle of a brow (rest z) by the share of its length, 0 at the nose."""
    # It rises to its highest point at two thirds and falls to the tail.
    rise = np.sin(np.clip(along / 0.66, 0, 1) * np.pi / 2)
    fall = smooth_step(0.62, 1.05, along)
    return BROW_LINE + choice.brow_arch * (rise - 0.9 * fall)


def grow_brows(
    rng: np.random.Generator, choice: FacialHairChoice, head: np.ndarray, skin: PolygonMesh
) -> Strands:
    """Eyebrows on the posed skin."""
    rest = skin.attributes["rest"]
    x, z = np.abs(rest[:, 0]), rest[:, 2]
    near = (x > 0.006) & (x < 0.062) & (z > 0.738) & (z < 0.775) & (rest[:, 1] < -0.09)
    posed = sample_roots(rng, skin, near.astype(float), 14000)
    x, z = np.abs(posed.rest[:, 0]), posed.rest[:, 2]
    along = (x - BROW_START) / (BROW_END - BROW_START)
    across = z - brow_line(choice, along)
    half = choice.brow_width * (0.75 + 0.25 * smooth_step(0, 0.25, along)) * (1 - 0.7 * along**2)
    inside = smooth_step(1.15, 0.55, np.abs(across) / np.maximum(half, 1e-4))
    inside *= smooth_step(-0.05, 0.12, along) * smooth_step(1.05, 0.9, along)
    kept = np.flatnonzero(rng.random(len(posed)) < inside)
    kept = kept[: int(BROW_HAIRS * choice.brow_density)]
    roots = _in_head(posed[kept], np.linalg.inv(head))
    along, across, half = along[kept], across[kept], np.maximum(half[kept], 1e-4)
    side = np.sign(roots.rest[:, 0])
    # Upright at the nose, then outward; both edges lean toward the middle.
    outward = smooth_step(-0.05, 0.35, along)
    upward = (
        0.9 * (1 - outward) + 0.10 - 0.45 * smooth_step(0.55, 1.0, along) - 0.45 * across / half
    )
    flow = roots.along_skin(np.stack([side * (0.25 + outward), 0 * side, upward], axis=1))
    directions = unit(flow + 0.35 * roots.normals + rng.normal(0, 0.13, (len(roots), 3)))
    lengths = rng.uniform(0.0055, 0.0090, len(roots)) * (1 - 0.35 * along)
    bend = 0.3 * np.stack([side, 0 * side, -0.4 + 0 * side], axis=1) - 0.45 * roots.normals
    hairs = bent(roots.points - 0.0003 * roots.normals, directions, bend, lengths, 5)
    return with_color(rng, choice.brow_color, hairs, 5.5e-5).moved(head)


def grow_lashes(
    rng: np.random.Generator, choice: FacialHairChoice, subject: Subject
) -> list[Strands]:
    """Eyelashes along the strips that the body has for them."""
    up = unit(subject.head[:3, 2])
    parts = []
    for eye, side in zip(subject.eyes, "lr"):
        for edge, (part, count) in LASHES.items():
            quads = subject.mesh.faces[subject.mesh.faces_of(f"helper-{side}-{part}")]
            corners = subject.vertices[quads[rng.integers(0, len(quads), count)]]
            reach = np.linalg.norm(corners - eye.center, axis=2)
            order = np.argsort(reach, axis=1)[..., None]
            a, b, c, d = np.moveaxis(np.take_along_axis(corners, order, axis=1), 1, 0)
            # The two outer corners in the order of the two inner ones.
            crossed = ((b - a) * (d - c)).sum(axis=1) < 0
            c, d = np.where(crossed[:, None], d, c), np.where(crossed[:, None], c, d)
            share = rng.random((count, 1))
            start, end = a + share * (b - a), c + share * (d - c)
            lengths = choice.lash_length * np.linalg.norm(end - start, axis=1)
            lengths *= rng.uniform(0.7, 1.1, count)
            directions = unit(unit(end - start) + rng.normal(0, 0.10, (count, 3)))
            curl = (0.55 if edge == "upper" else -0.25) * np.broadcast_to(up, (count, 3))
            hairs = bent(start, directions, curl, lengths, 6)
            color = replace(choice.brow_color, melanin=1.0, gray=0.0)
            parts.append(with_color(rng, color, hairs, 5e-5, tip=0.2))
    return parts


def _beard_flow(roots: Roots) -> np.ndarray:
    """Direction along the skin in which a beard grows, (N, 3)."""
    x, y, z = roots.rest.T
    side = np.sign(x)
    lip = smooth_step(UPPER_LIP - 0.002, UPPER_LIP + 0.003, z) * smooth_step(
        0.034, 0.028, np.abs(x)
    )
    neck = smooth_step(0.628, 0.618, z)
    outward = side * (0.15 + 0.9 * lip * smooth_step(0, 0.008, np.abs(x)))
    forward = 0.15 * smooth_step(-0.11, -0.06, y) - 0.8 * neck
    return roots.along_skin(np.stack([outward, forward, -1 + 0.35 * lip - 0 * y], axis=1))


def grow_beard(
    rng: np.random.Generator,
    choice: FacialHairChoice,
    head: np.ndarray,
    skin: PolygonMesh,
    collision: SignedDistance,
) -> list[Strands]:
    """A beard on the posed skin; an empty list for none."""
    region, _, _, count = BEARDS[choice.beard]
    if not count:
        return []
    to_head = np.linalg.inv(head)
    rest = skin.attributes["rest"]
    near = (rest[:, 2] > 0.59) & (rest[:, 2] < 0.74) & (rest[:, 1] < -0.03)
    rough = np.zeros(len(rest))
    rough[near] = beard_density(rest[near], region) > 0.02
    posed = sample_roots(rng, skin, rough, 2 * count)
    posed = posed[rng.random(len(posed)) < beard_density(posed.rest, region)][:count]
    roots = _in_head(posed, to_head)
    count = len(roots)
    flow = _beard_flow(roots)
    lip = (roots.rest[:, 2] > UPPER_LIP) & (np.abs(roots.rest[:, 0]) < 0.034)
    chin = smooth_step(-0.085, -0.125, roots.rest[:, 1])
    lengths = choice.beard_length * (0.55 + 0.45 * chin)
    # A mustache that reached the mouth would grow into it.
    lengths = np.where(lip, np.minimum(lengths, 0.009), lengths)
    fringe = beard_density(roots.rest, region)
    lengths = lengths * (0.5 + 0.5 * fringe) * rng.uniform(0.7, 1.1, count)
    steep = 0.75 if choice.beard_length < STRAIGHT_BELOW else 0.45
    directions = flow + steep * roots.normals + rng.normal(0, 0.16, (count, 3))
    if choice.beard_length < STRAIGHT_BELOW:
        hairs = bent(roots.points, unit(directions), -0.2 * roots.normals, lengths, 3)
    else:
        hairs = _long_beard(rng, roots, directions, lengths, collision.moved(to_head), to_head)
    thick = 5.5e-5 if choice.beard_length < STRAIGHT_BELOW else 6.8e-5
    return [with_color(rng, choice.beard_color, hairs, thick, tip=0.5).moved(head)]


def beard_shade(choice: FacialHairChoice, rest: np.ndarray) -> np.ndarray:
    """How much of the beard's color the skin below takes, (N,) from 0 to 1.

    Parameters
    ----------
    rest : (N, 3) ndarray
        Rest coordinates of the skin.
    """
    strength = 0.25 if choice.beard_length < STRAIGHT_BELOW else 0.6
    return strength * beard_density(rest, BEARDS[choice.beard][0])


def _long_beard(
    rng: np.random.Generator,
    roots: Roots,
    directions: np.ndarray,
    lengths: np.ndarray,
    field: SignedDistance,
    to_head: np.ndarray,
) -> np.ndarray:
    """Hairs of a beard that hang and bundle, (N, K, 3)."""
    guides = slice(0, 900)
    down = unit(-to_head[:3, 2])
    hug = hugging(field, 0.003 + 0.25 * lengths[guides], 0.35)

    def pull(points: np.ndarray, done: float) -> np.ndarray:
        return 0.12 * down + hug(points, done)

    grown = grow(
        roots.points[guides],
        directions[guides],
        lengths[guides],
        9,
        pull=pull,
        field=field,
        clearance=0.0008,
    )
    mouth = APART_FROM_LIP * (roots.rest[:, 2] > UPPER_LIP)
    features = np.column_stack([roots.points, mouth])
    hairs = interpolated(grown, features[guides], roots.points, features)
    hairs = trimmed(hairs, rng.uniform(0.6, 1.0, len(roots)))
    lock, centers = locks_of(rng, features, 450)
    hairs = clumped(hairs, lock, centers, rng.uniform(0.1, 0.55, len(roots)), 0.9)
    return ruffled(rng, hairs, lengths, 0.03 * lengths + 0.0004)


def grow_facial_hair(
    rng: np.random.Generator,
    choice: FacialHairChoice,
    subject: Subject,
    skin: PolygonMesh,
    collision: SignedDistance,
) -> dict[str, list[Strands]]:
    """All facial hair of a posed subject: ``brows``, ``lashes``, ``beard``."""
    return {
        "brows": [grow_brows(rng, choice, subject.head, skin)],
        "lashes": grow_lashes(rng, choice, subject),
        "beard": grow_beard(rng, choice, subject.head, skin, collision),
    }


def build_facial_hair(
    choice: FacialHairChoice,
    subject: Subject,
    skin: PolygonMesh,
    collision: SignedDistance,
    rng: np.random.Generator,
) -> list:
    """Put brows, lashes and beard into the scene; parameters as in `hair.build_hair`.

    Returns
    -------
    list of bpy.types.Object
    """
    grown = grow_facial_hair(rng, choice, subject, skin, collision)
    colors = {"brows": choice.brow_color, "lashes": choice.brow_color, "beard": choice.beard_color}
    return [
        thing
        for name, strands in grown.items()
        if strands
        for thing in strand_objects(name, strands, hair_material(name, colors[name]))
    ]
