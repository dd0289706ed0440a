"""What people wear besides clothes: glasses, hats, scarves and earrings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.geometry import vertex_normals
from data_prep.render.clothes.clothing import Clothing
from data_prep.render.clothes.glasses import GlassesChoice, build_glasses, choose_glasses
from data_prep.render.clothes.hats import HatChoice, build_hat, choose_hat, fit_hat, hair_cap
from data_prep.render.clothes.jewelry import EarringChoice, build_earrings, choose_earrings
from data_prep.render.clothes.scarves import (
    ScarfChoice,
    around_neck,
    build_scarf,
    choose_scarf,
    wind_scarf,
)
from data_prep.render.people.expression import Subject
from data_prep.render.people.head_shape import HeadShape
from data_prep.render.people.person import PersonChoice

if TYPE_CHECKING:
    import bpy


@dataclass(frozen=True)
class AccessoriesChoice:
    """What is worn of each kind; None for none."""

    glasses: GlassesChoice | None
    hat: HatChoice | None
    scarf: ScarfChoice | None
    earrings: EarringChoice | None


def choose_accessories(
    rng: np.random.Generator, person: PersonChoice, hair_style: str, outfit: str
) -> AccessoriesChoice:
    """Draw accessories.

    Parameters
    ----------
    hair_style : str
        `HairChoice.style`: no hat on hair that is worn high.
    outfit : str
        `ClothingChoice.outfit`: no scarf over a turtleneck or hood.
    """
    return AccessoriesChoice(
        glasses=choose_glasses(rng, person),
        hat=choose_hat(rng, person, hair_style),
        scarf=choose_scarf(rng, person, outfit),
        earrings=choose_earrings(rng, person),
    )


@dataclass(frozen=True, eq=False)
class Accessories:
    """Accessories in the scene.

    Attributes
    ----------
    objects : list of Object
    points, normals : (M, 3) float64 ndarray
        What hair rests on (scarves), M may be 0.
    hair_cap : callable or None
        Which posed points (N, 3) a hat covers, (N,) bool.
    """

    objects: list[bpy.types.Object]
    points: np.ndarray
    normals: np.ndarray
    hair_cap: Callable[[np.ndarray], np.ndarray] | None


def build_accessories(
    choice: AccessoriesChoice, subject: Subject, clothing: Clothing, rng: np.random.Generator
) -> Accessories:
    """Put on what was chosen, in the subject's own axes."""
    objects: list[bpy.types.Object] = []
    points = normals = np.empty((0, 3))
    cap = None
    if choice.glasses or choice.hat or choice.earrings:
        head = HeadShape(subject)
    if choice.glasses:
        objects += build_glasses(choice.glasses, subject, head)
    if choice.earrings:
        objects += build_earrings(choice.earrings, subject, head)
    if choice.hat:
        hat = fit_hat(rng, choice.hat, head)
        objects += build_hat(choice.hat, subject, hat, rng)
        cap = hair_cap(hat, subject)
    if choice.scarf:
        below = around_neck(subject, clothing.points, clothing.normals)
        scarf = wind_scarf(rng, choice.scarf, subject, below)
        objects += build_scarf(choice.scarf, scarf, rng)
        points, normals = scarf.vertices, vertex_normals(scarf.vertices, scarf.faces)
    return Accessories(objects, points, normals, cap)
