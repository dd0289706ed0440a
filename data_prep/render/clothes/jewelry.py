"""Earrings: studs, hoops and drops that hang from the lobes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.geometry import PolygonMesh, tube
from data_prep.render.base.randomness import pick
from data_prep.render.base.vectors import rotation, transform
from data_prep.render.people.expression import Subject
from data_prep.render.people.head_shape import HeadShape
from data_prep.render.people.person import PersonChoice

if TYPE_CHECKING:
    import bpy

WEARERS = {"female": 0.45, "male": 0.05}  # shares of people
KINDS = {  # shares of women, of men
    "stud": (0.34, 0.6),
    "pearl": (0.16, 0.0),
    "hoop": (0.28, 0.4),
    "drop": (0.22, 0.0),
}
RADII = {  # meters: of the ball, or of the ring
    "stud": (0.0015, 0.0030),
    "pearl": (0.0030, 0.0050),
    "hoop": (0.006, 0.026),
    "drop": (0.003, 0.006),
}
METALS = {"d4a94e": 0.45, "d2d5d9": 0.4, "c98f78": 0.15}  # gold, silver, rose gold
STONES = ("1f4f8a", "7a1226", "116a4b", "e9eef2", "14131a", "c9772b")


@dataclass(frozen=True)
class EarringChoice:
    """A pair of earrings, or one.

    Attributes
    ----------
    kind : str
        Key of `KINDS`.
    metal, stone : str
        sRGB codes.
    radius : float
        Radius of the ball, or of the ring, in meters.
    length : float
        Length of a drop, in meters.
    sides : tuple of int
        1 left, -1 right.
    """

    kind: str
    metal: str
    stone: str
    radius: float
    length: float
    sides: tuple[int, ...]


def choose_earrings(rng: np.random.Generator, person: PersonChoice) -> EarringChoice | None:
    """Draw earrings by sex (`WEARERS`); None for none."""
    if rng.random() > WEARERS[person.sex]:
        return None
    column = 0 if person.sex == "female" else 1
    kind = pick(rng, {name: shares[column] for name, shares in KINDS.items()})
    both = person.sex == "female" or rng.random() < 0.4
    return EarringChoice(
        kind=kind,
        metal=pick(rng, METALS),
        stone=STONES[int(rng.integers(len(STONES)))],
        radius=float(rng.uniform(*RADII[kind])),
        length=float(rng.uniform(0.012, 0.045)),
        sides=(1, -1) if both else (int(rng.choice([1, -1])),),
    )


def ball(center: np.ndarray, radius: float) -> PolygonMesh:
    """A sphere."""
    angles = np.linspace(0.02, np.pi - 0.02, 13)
    path = center + np.stack([0 * angles, 0 * angles, -radius * np.cos(angles)], axis=1)
    return tube(path, radius * np.sin(angles), sides=16)


def hang_earring(
    choice: EarringChoice, lobe: np.ndarray, outward: np.ndarray
) -> dict[str, PolygonMesh]:
    """One earring at a lobe.

    Parameters
    ----------
    lobe, outward : (3,) ndarray
        Lower end of the lobe, and the unit direction away from the head there,
        in axes whose z is up.

    Returns
    -------
    dict of str to PolygonMesh
        By material: "metal", "stone".
    """
    face = lobe + 0.0035 * outward + [0, -0.001, 0.003]
    down = np.array([0.0, 0.0, -1.0])
    if choice.kind == "stud":
        return {"metal": ball(face, choice.radius)}
    if choice.kind == "pearl":
        return {"stone": ball(face, choice.radius)}
    if choice.kind == "hoop":
        # It hangs in the plane of the head's side, turned a little to the front.
        angles = np.arange(40) * 2 * np.pi / 40
        ahead = rotation((0, 0, 1), 25.0 * np.sign(outward[0])) @ np.array([0.0, -1.0, 0.0])
        center = lobe + 0.0015 * outward + down * (choice.radius - 0.004)
        ring = center + choice.radius * (
            np.cos(angles)[:, None] * ahead - np.sin(angles)[:, None] * down
        )
        return {"metal": tube(ring, 0.0006 + 0.025 * choice.radius, sides=8, closed=True)}
    hook = face + down * np.linspace(0, choice.length, 8)[:, None]
    return {
        "metal": tube(hook, 0.0004, sides=6),
        "stone": ball(face + down * (choice.length + 0.8 * choice.radius), choice.radius),
    }


def build_earrings(
    choice: EarringChoice, subject: Subject, head: HeadShape
) -> list[bpy.types.Object]:
    """Hang earrings on a subject's ears, in its own axes."""
    from data_prep.render.base.blender import mesh_object, simple_material

    stone_color = "ece6d8" if choice.kind == "pearl" else choice.stone
    materials = {
        "metal": simple_material(
            "earring metal", linear_color(choice.metal), metallic=1.0, roughness=0.15
        ),
        "stone": simple_material(
            "earring stone", linear_color(stone_color), roughness=0.12, coat_weight=0.8
        ),
    }
    objects = []
    for side in choice.sides:
        _, lobe = head.ear_points(side)
        outward = subject.head[:3, 0] / np.linalg.norm(subject.head[:3, 0]) * side
        placed = transform(subject.head, lobe)
        for material, part in hang_earring(choice, placed, outward).items():
            objects.append(
                mesh_object("earring", part.vertices, part.faces, material=materials[material])
            )
    return objects
