"""Parts of the posed base mesh as Blender objects."""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

from data_prep.render.base.blender import mesh_object
from data_prep.render.people.expression import Subject


def body_part(
    name: str,
    subject: Subject,
    quads: np.ndarray,
    material: bpy.types.Material,
    attributes: Mapping[str, np.ndarray] | None = None,
    *,
    subdivided: bool = True,
) -> bpy.types.Object:
    """Some quads of the posed body.

    Parameters
    ----------
    quads : (M,) int ndarray
        Indices into ``subject.mesh.faces``.
    attributes : mapping of str to (N,) or (N, 3) ndarray, optional
        By vertex of the whole mesh; ``rest`` is always there.
    subdivided : bool, default True
        Round it off when it is rendered.
    """
    mesh = subject.mesh
    used, faces = np.unique(mesh.faces[quads], return_inverse=True)
    values = {"rest": subject.rest, **(attributes or {})}
    part = mesh_object(
        name,
        subject.vertices[used],
        faces.reshape(-1, 4),
        uv=mesh.uv[mesh.uv_faces[quads].ravel()],
        attributes={key: value[used] for key, value in values.items()},
        material=material,
    )
    if subdivided:
        smooth = part.modifiers.new("subdivision", "SUBSURF")
        smooth.levels, smooth.render_levels = 1, 2
    return part
