"""Eyes: eyeballs with iris, cornea and veins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.vectors import unit
from data_prep.render.people.expression import Eye, Subject
from data_prep.render.people.person import EYE_COLORS

if TYPE_CHECKING:  # shapes work without Blender
    import bpy

SEGMENTS = 48
# Angles from the gaze, in radians: MakeHuman's eyeballs are larger than real
# ones, so these are smaller.
IRIS = 0.42
CORNEA = 0.36
CORNEA_HEIGHT = 0.035  # of the radius


def eyeball(eye: Eye) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A sphere with a cornea, its poles on the axis of the gaze.

    Returns
    -------
    vertices : (V, 3) float64 ndarray
    faces : (F, 4) int64 ndarray
        Quads; those at the poles have two equal corners' positions.
    angle : (V,) float64 ndarray
        From the gaze, in radians.
    place : (V, 3) float64 ndarray
        On the unit sphere, the gaze along z.
    """
    angle, turn = np.meshgrid(
        np.linspace(0, np.pi, SEGMENTS + 1),
        np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False),
        indexing="ij",
    )
    place = np.stack(
        [np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], axis=-1
    ).reshape(-1, 3)
    angle = angle.ravel()
    right = unit(np.cross([0, 0, 1], eye.gaze))
    axes = np.stack([right, np.cross(eye.gaze, right), eye.gaze])
    bulge = 1 + CORNEA_HEIGHT * np.exp(-((angle / CORNEA) ** 4))
    vertices = eye.center + eye.radius * (bulge[:, None] * place) @ axes
    row, column = np.meshgrid(np.arange(SEGMENTS), np.arange(SEGMENTS), indexing="ij")
    following = (column + 1) % SEGMENTS
    corners = [(row, column), (row + 1, column), (row + 1, following), (row, following)]
    faces = np.stack([r * SEGMENTS + c for r, c in corners], axis=-1).reshape(-1, 4)
    return vertices, faces, angle, place


def eye_material(subject: Subject) -> bpy.types.Material:
    """Sclera with veins, iris with its ring and streaks, pupil, a wet coat."""
    from data_prep.render.base.blender import NodeTree, rgba

    iris_color = linear_color(EYE_COLORS[subject.person.eye_color])
    yellow = float(np.clip((subject.person.years - 30) / 60, 0, 1))
    tree = NodeTree.of_material("eye")
    angle = tree.attribute("angle")
    place = tree.attribute("place", "Vector")
    white = np.array([0.52, 0.475, 0.45]) * [1, 1 - 0.05 * yellow, 1 - 0.14 * yellow]
    veins = tree.multiply(tree.ramp(tree.noise(place, 9, 5), 0.5, 0.75), 0.35)
    sclera = tree.mix(veins, rgba(white), (0.52, 0.27, 0.23, 1))
    sclera = tree.mix(tree.ramp(angle, IRIS + 0.25, 1.35), sclera, (0.42, 0.23, 0.19, 1))
    # Streaks run toward the pupil: noise that hardly changes along the radius.
    streaks = tree.noise(tree.mapping(place, Scale=(1.0, 1.0, 0.1)), 16, 4)
    iris = tree.mix(streaks, rgba(iris_color * 0.6), rgba(iris_color * 1.9))
    inner = tree.ramp(angle, 0.62 * IRIS, 0.42 * IRIS)
    iris = tree.mix(tree.multiply(inner, 0.7), iris, rgba(iris_color * [1.1, 0.8, 0.5]))
    iris = tree.mix(tree.ramp(angle, 0.80 * IRIS, 0.98 * IRIS), iris, rgba(iris_color * 0.15))
    color = tree.mix(tree.ramp(angle, 0.94 * IRIS, 1.06 * IRIS), iris, sclera)
    color = tree.mix(tree.ramp(angle, 0.36 * IRIS, 0.40 * IRIS), (0.004, 0.004, 0.004, 1), color)
    return tree.surface(
        tree.principled(
            base_color=color,
            roughness=0.5,
            specular_ior_level=0.2,
            coat_weight=0.7,
            coat_roughness=0.06,
            coat_ior=1.36,
        )
    )


def build_eyes(subject: Subject) -> list[bpy.types.Object]:
    """Make both eyeballs, in the subject's axes."""
    from data_prep.render.base.blender import mesh_object

    material = eye_material(subject)
    made = []
    for eye in subject.eyes:
        vertices, faces, angle, place = eyeball(eye)
        attributes = {"angle": angle, "place": place}
        made.append(mesh_object("eye", vertices, faces, attributes=attributes, material=material))
    return made
