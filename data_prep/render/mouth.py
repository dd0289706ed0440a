"""Teeth and tongue."""

from __future__ import annotations

import bpy
import numpy as np

from data_prep.render.blender import simple_material
from data_prep.render.expression import Subject
from data_prep.render.parts import body_part

TONGUE_COLOR = (0.30, 0.08, 0.07)


def teeth_material(subject: Subject) -> bpy.types.Material:
    """Enamel, a little yellower and darker with age."""
    old = float(np.clip((subject.person.years - 20) / 60, 0, 1))
    color = np.array([0.80, 0.74, 0.64]) * [1 - 0.15 * old, 1 - 0.2 * old, 1 - 0.32 * old]
    return simple_material("teeth", color, roughness=0.25)


def build_mouth(subject: Subject) -> list[bpy.types.Object]:
    """Make teeth and tongue, in the subject's axes."""
    teeth = subject.mesh.faces_of("helper-upper-teeth", "helper-lower-teeth")
    tongue = subject.mesh.faces_of("helper-tongue")
    wet = simple_material("tongue", TONGUE_COLOR, roughness=0.35)
    return [
        # Rounding would draw the open edges of the teeth back behind the lips.
        body_part("teeth", subject, teeth, teeth_material(subject), subdivided=False),
        body_part("tongue", subject, tongue, wet),
    ]
