"""The Blender camera of a view, and the view of a Blender camera."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from data_prep.render.base.blender import link
from data_prep.render.shot.camera import SENSOR_HEIGHT, CameraChoice, View
from data_prep.render.shot.coverage import Lens


def build_camera(choice: CameraChoice, view: View, focus: np.ndarray):
    """Put the camera into the scene.

    Parameters
    ----------
    focus : (3,) ndarray
        What is sharp, in the scene's axes.

    Returns
    -------
    bpy.types.Object
    """
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit = "VERTICAL"
    camera.sensor_height = SENSOR_HEIGHT * 1000
    camera.lens_unit = "FOV"
    camera.angle = choice.field_of_view
    camera.dof.use_dof = True
    depth = (view.to_world[:3, 3] - focus) @ view.to_world[:3, 2]
    camera.dof.focus_distance = float(depth)
    camera.dof.aperture_fstop = choice.f_number
    placed = link(bpy.data.objects.new("camera", camera))
    placed.matrix_world = Matrix(view.to_world.tolist())
    bpy.context.scene.camera = placed
    return placed


def view_of(camera: bpy.types.Object) -> tuple[View, Lens]:
    """Where a camera of the scene stands, and what its lens is set to.

    Parameters
    ----------
    camera : bpy.types.Object
        As `build_camera` returns it.
    """
    optics = camera.data
    focal = optics.sensor_height / 1000 / 2 / np.tan(optics.angle_y / 2)
    radius = focal / 2 / optics.dof.aperture_fstop if optics.dof.use_dof else 0.0
    view = View(np.array(camera.matrix_world), optics.angle_y)
    return view, Lens(radius, optics.dof.focus_distance)
