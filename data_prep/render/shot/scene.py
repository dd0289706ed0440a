"""One foreground: everything of a `PortraitChoice` put together and rendered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import bpy
import numpy as np

from data_prep.render.base.blender import fresh_scene, link, surface_arrays
from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.randomness import generator
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import transform
from data_prep.render.clothes.accessories import build_accessories
from data_prep.render.clothes.clothing import build_clothing
from data_prep.render.hair.facial_hair import beard_shade, build_facial_hair
from data_prep.render.hair.hair import build_hair
from data_prep.render.people.expression import Subject
from data_prep.render.people.eyes import build_eyes
from data_prep.render.people.mouth import build_mouth
from data_prep.render.people.scalp import hair_density
from data_prep.render.people.skin import build_skin
from data_prep.render.shot.camera_rig import build_camera
from data_prep.render.shot.light import build_light
from data_prep.render.shot.passes import render_color, render_matte
from data_prep.render.shot.portrait import PortraitChoice
from data_prep.render.shot.quality import Quality
from data_prep.render.shot.staging import Staging

# Box about the head in which hair meets skin and clothes, rest coordinates.
HAIR_LOW, HAIR_HIGH = (-0.26, -0.26, 0.23), (0.26, 0.24, 0.95)

# How much of the color of hair shines through where it grows, by its family.
SCALP_SHADE = {"none": 0.0, "stubble": 0.55}
DENSE_SHADE = 0.75


@dataclass(frozen=True, eq=False)
class Foreground:
    """A rendered subject, before exposure.

    Attributes
    ----------
    color : (H, W, 4) float32 ndarray
        Premultiplied linear RGB and the color pass's own coverage.
    matte : (H, W) float32 ndarray
        Coverage, 0 to 1.
    """

    color: np.ndarray
    matte: np.ndarray


def _hair_shade(subject: Subject, choice: PortraitChoice) -> np.ndarray:
    """How much of the hair's color the skin takes where hair or beard grows, (N,)."""
    hair = choice.hair
    dense = SCALP_SHADE.get(hair.family, DENSE_SHADE)
    shade = dense * hair_density(subject.rest, hair.hairline)
    if hair.color.dye:  # the beard is not dyed
        return shade
    return np.maximum(shade, beard_shade(choice.facial_hair, subject.rest))


def _samples_near(points: np.ndarray, normals: np.ndarray, low: np.ndarray, high: np.ndarray):
    near = ((points > low) & (points < high)).all(axis=1)
    return points[near], normals[near]


def build(choice: PortraitChoice, staging: Staging) -> bpy.types.Scene:
    """Make the scene of a photo."""
    scene = fresh_scene()
    subject = staging.subject

    def stream(concern: str) -> np.random.Generator:
        return generator(choice.seed, choice.number, f"build {concern}")

    clothing = build_clothing(choice.clothing, subject, stream("clothing"))
    worn = build_accessories(choice.accessories, subject, clothing, stream("accessories"))
    skin = build_skin(
        choice.skin,
        subject,
        covered=clothing.covered,
        scalp=_hair_shade(subject, choice),
        scalp_color=tuple(float(c) for c in choice.hair.color.shade()),
    )
    build_eyes(subject)
    build_mouth(subject)
    arrays = surface_arrays(skin)
    surface = PolygonMesh(arrays["vertices"], arrays["triangles"], arrays)
    corners = transform(subject.head, np.array([HAIR_LOW, HAIR_HIGH]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    collision = SignedDistance.around(
        [
            _samples_near(arrays["vertices"], arrays["normals"], low, high),
            _samples_near(clothing.points, clothing.normals, low, high),
            _samples_near(worn.points, worn.normals, low, high),
        ],
        low,
        high,
    )
    build_hair(choice.hair, subject, surface, collision, stream("hair"), worn.hair_cap)
    build_facial_hair(choice.facial_hair, subject, surface, collision, stream("facial hair"))
    root = link(bpy.data.objects.new("subject", None))
    for thing in scene.objects:
        if thing is not root and thing.parent is None:
            thing.parent = root
    root.rotation_euler = (0, 0, math.radians(choice.pose.body_yaw))
    build_camera(choice.camera, staging.view, staging.focus)
    build_light(choice.light, staging.face)
    return scene


def render_foreground(
    choice: PortraitChoice, staging: Staging, quality: Quality, threads: int
) -> Foreground:
    """Build and render a photo's foreground."""
    scene = build(choice, staging)
    color = render_color(scene, quality, threads)
    return Foreground(color, render_matte(scene, quality, threads))
