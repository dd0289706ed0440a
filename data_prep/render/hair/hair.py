"""Hair in the scene: Blender's curves and the material of hair."""

from __future__ import annotations

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.hair.growth import grow_hair
from data_prep.render.hair.shaping import HairCap
from data_prep.render.hair.strands import Strands
from data_prep.render.hair.styles import DYES, HairChoice, HairColor
from data_prep.render.people.expression import Subject

RADIAL_ROUGHNESS = 0.42
REFRACTION = 1.55  # of keratin


def hair_material(name: str, color: HairColor):
    """Hair whose pigment is each strand's own (attribute ``melanin``).

    Returns
    -------
    bpy.types.Material
    """
    from data_prep.render.base.blender import NodeTree, rgba

    tree = NodeTree.of_material(name)
    melanin = tree.attribute("melanin")
    if color.tips:
        along = tree.node("ShaderNodeHairInfo").outputs["Intercept"]
        bleached = tree.multiply(tree.ramp(along, 0.25, 0.95), color.tips)
        melanin = tree.multiply(melanin, tree.math("SUBTRACT", 1.0, bleached))
    shader = tree.node(
        "ShaderNodeBsdfHairPrincipled",
        {
            "Melanin": melanin,
            "Melanin Redness": color.redness,
            "Roughness": color.roughness,
            "Radial Roughness": RADIAL_ROUGHNESS,
            "Random Roughness": 0.35,
            "IOR": REFRACTION,
        },
        parametrization="MELANIN",
        model="CHIANG",
    )
    if color.dye:
        shader.inputs["Tint"].default_value = rgba(linear_color(DYES[color.dye]))
    return tree.surface(shader)


def strand_objects(name: str, strands: list[Strands], material) -> list:
    """One curves object for each array of strands."""
    from data_prep.render.base.blender import strands_object

    return [
        strands_object(
            f"{name} {k}",
            part.points,
            part.radii(),
            strand_attributes={"melanin": part.melanin},
            material=material,
        )
        for k, part in enumerate(strands)
    ]


def build_hair(
    choice: HairChoice,
    subject: Subject,
    skin: PolygonMesh,
    collision: SignedDistance,
    rng: np.random.Generator,
    hair_cap: HairCap | None = None,
) -> list:
    """Put somebody's hair into the scene.

    Parameters
    ----------
    skin : PolygonMesh
        The posed skin as it is rendered: triangles with the attributes ``rest``
        and ``normals``.
    collision : SignedDistance
        What hair may not enter: skin, clothes, hands (not the hat).
    hair_cap : callable, optional
        (N, 3) posed points to (N,) bool: what a hat encloses.

    Returns
    -------
    list of bpy.types.Object
    """
    grown = grow_hair(rng, choice, subject.head, skin, collision, hair_cap)
    return strand_objects("hair", grown, hair_material("hair", choice.color))
