"""Teeth and tongue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_prep.render.base.vectors import smooth_step
from data_prep.render.people.expression import Subject

if TYPE_CHECKING:  # what lies where works without Blender
    import bpy

TONGUE_COLOR = (0.30, 0.08, 0.07)
GUM_COLOR = (0.42, 0.13, 0.12, 1.0)
GAP_COLOR = (0.16, 0.08, 0.06, 1.0)

# Where one tooth ends and the next begins: angles in the dental arch from the
# middle, seen from a point behind it, in radians.
ARCH_CENTER = -0.085  # rest y
TOOTH_BORDERS = (0.0, 0.18, 0.365, 0.52, 0.675, 0.87, 1.01, 1.19, 1.38)
UPPER_GUM, LOWER_GUM = (0.6825, 0.6845), (0.6600, 0.6580)  # rest z: begins, is complete


def tooth_number(rest: np.ndarray) -> np.ndarray:
    """Teeth from the middle of the mouth, whole numbers at the borders; (N,)."""
    angle = np.arctan2(np.abs(rest[:, 0]), ARCH_CENTER - rest[:, 1])
    return np.interp(angle, TOOTH_BORDERS, np.arange(len(TOOTH_BORDERS)))


def gum_share(rest: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """0 on a tooth, 1 on the gum; (N,).  `upper` (N,) bool tells the jaws apart."""
    height = rest[:, 2]
    return np.where(upper, smooth_step(*UPPER_GUM, height), smooth_step(*LOWER_GUM, height))


def teeth_material(subject: Subject) -> bpy.types.Material:
    """Enamel with gaps, yellower and darker with age, and the gum."""
    from data_prep.render.base.blender import NodeTree, rgba

    old = float(np.clip((subject.person.years - 20) / 60, 0, 1))
    enamel = np.array([0.92, 0.87, 0.78]) * [1 - 0.15 * old, 1 - 0.2 * old, 1 - 0.32 * old]
    tree = NodeTree.of_material("teeth")
    into = tree.math("FRACT", tree.math("ADD", tree.attribute("tooth"), 0.5))
    from_border = tree.math("ABSOLUTE", tree.math("SUBTRACT", into, 0.5))
    gap = tree.multiply(tree.ramp(from_border, 0.10, 0.02), 0.6)
    color = tree.mix(gap, rgba(enamel), GAP_COLOR)
    color = tree.mix(tree.attribute("gum"), color, GUM_COLOR)
    return tree.surface(tree.principled(base_color=color, roughness=0.25))


def build_mouth(subject: Subject) -> list[bpy.types.Object]:
    """Make teeth and tongue, in the subject's axes."""
    from data_prep.render.base.blender import simple_material
    from data_prep.render.people.parts import body_part

    mesh = subject.mesh
    upper = np.zeros(len(subject.rest), dtype=bool)
    upper[mesh.vertex_groups["helper-upper-teeth"]] = True
    attributes = {"tooth": tooth_number(subject.rest), "gum": gum_share(subject.rest, upper)}
    wet = simple_material("tongue", TONGUE_COLOR, roughness=0.35)
    return [
        # Rounding would draw the open edges of the teeth back behind the lips.
        body_part(
            "teeth",
            subject,
            mesh.faces_of("helper-upper-teeth", "helper-lower-teeth"),
            teeth_material(subject),
            attributes,
            subdivided=False,
        ),
        body_part("tongue", subject, mesh.faces_of("helper-tongue"), wet),
    ]
